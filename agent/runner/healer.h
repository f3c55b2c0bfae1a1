// Puts back what a predecessor of this agent left when it died, and keeps at it while a hypervisor or a guest doesn't answer.
#ifndef UMBRA_AGENT_RUNNER_HEALER_H_
#define UMBRA_AGENT_RUNNER_HEALER_H_

#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/runner/runner.h"

namespace umbra::runner {

// One thread at a time. Everything outlives it.
class Healer {
 public:
  Healer(writers::VssHost& host, hypervisor::Hypervisor& hypervisor, base::Filesystem& files, base::Clock& clock,
         std::string restore_ledger_folder);
  ~Healer();

  // Heals once, before the first assignment; what can't be healed yet is tried again in the background. Blocks up to
  // about a minute while somebody doesn't answer.
  void Start();

 private:
  // True when nothing is left to heal.
  bool HealOnce();
  void Run();

  writers::VssHost& host_;
  hypervisor::Hypervisor& hypervisor_;
  base::Filesystem& files_;
  base::Clock& clock_;
  const std::string restore_ledger_folder_;

  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_HEALER_H_
