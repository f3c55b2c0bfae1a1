#include "agent/runner/inventory.h"

#include <utility>

#include "agent/runner/convert.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {

agent::v1::Inventory TakeInventory(writers::VssHost& host) {
  agent::v1::Inventory inventory;
  const absl::StatusOr<std::vector<writers::VmDescription>> vms = host.DescribeVms();
  if (!vms.ok()) {
    base::Log("runner")->warn("inventory not taken error=\"{}\"", base::Describe(vms.status()));
    inventory.set_error(base::Describe(vms.status()));
    return inventory;
  }
  for (const writers::VmDescription& vm : *vms) *inventory.add_virtual_machines() = ToProto(vm);
  for (const vss::WriterStatus& writer : host.Writers()) *inventory.add_writers() = ToProto(writer);
  for (const writers::FileSet& set : host.file_sets()) *inventory.add_file_sets() = ToProto(set);
  return inventory;
}

InventoryReporter::InventoryReporter(writers::VssHost& host, link::Outbox& outbox, base::Clock& clock, Options options,
                                     base::Threads& threads)
    : host_(host), outbox_(outbox), clock_(clock), options_(options) {
  thread_ = threads.Start([this] { Run(); });
}

InventoryReporter::~InventoryReporter() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  thread_.reset();
}

void InventoryReporter::Request() {
  absl::MutexLock lock(&mu_);
  requested_ = true;
}

void InventoryReporter::Run() {
  const auto woken = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return requested_ || stop_; };
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      clock_.AwaitFor(mu_, absl::Condition(&woken), options_.period);
      if (stop_) return;
      requested_ = false;
    }
    outbox_.SetInventory(TakeInventory(host_));
  }
}

}  // namespace umbra::runner
