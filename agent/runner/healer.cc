#include "agent/runner/healer.h"

#include <string>
#include <vector>

#include "agent/runner/file_set_restore_runner.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {

Healer::Healer(writers::VssHost& host, hypervisor::Hypervisor& hypervisor, RestoreLedgers& ledgers, base::Clock& clock,
               absl::Duration period, base::Threads& threads, BackupHooks* hooks)
    : host_(host),
      hypervisor_(hypervisor),
      ledgers_(ledgers),
      clock_(clock),
      period_(period),
      threads_(threads),
      hooks_(hooks) {}

Healer::~Healer() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  thread_.reset();
}

void Healer::Start() {
  HealOnce();  // first: it finishes restores whose files are complete, and those files are then in use
  const auto removed = RestoreLedger::Heal(ledgers_.machines(), hypervisor_);
  if (!removed.ok()) {
    base::Log("runner")->warn("partial restores not removed, next start tries again error=\"{}\"", base::Describe(removed.status()));
  } else {
    for (const std::string& path : *removed) base::Log("runner")->warn("partial restore removed path={}", path);
  }
  const auto folders = HealFileRestores(ledgers_.folders());
  if (!folders.ok()) {
    base::Log("runner")->warn("partial restores of files not removed, next start tries again error=\"{}\"", base::Describe(folders.status()));
  } else {
    for (const std::string& path : *folders) base::Log("runner")->warn("partial restore of files removed path={}", path);
  }
  HealHooks();  // when the host is as it was
  thread_ = threads_.Start([this] { Run(); });
}

void Healer::HealHooks() {
  if (hooks_ == nullptr) return;
  const auto actions = hooks_->Heal();
  if (!actions.ok()) return base::Log("runner")->error("post hooks not healed error=\"{}\"", base::Describe(actions.status()));
  for (const std::string& action : *actions) base::Log("runner")->warn("healed: {}", action);
}

void Healer::HealOnce() {
  const absl::StatusOr<journal::HealReport> report = host_.Heal();
  if (!report.ok()) base::Log("runner")->error("healing failed error=\"{}\"", base::Describe(report.status()));
}

void Healer::Run() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (clock_.AwaitFor(mu_, absl::Condition(&stop_), period_)) return;
    }
    HealOnce();
  }
}

}  // namespace umbra::runner
