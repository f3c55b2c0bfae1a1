// Tells the daemon what this host has: at the start, regularly, when asked, and soon after work that changed something.
#ifndef UMBRA_AGENT_RUNNER_INVENTORY_H_
#define UMBRA_AGENT_RUNNER_INVENTORY_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/link/outbox.h"
#include "agent/writers/vss_host.h"
#include "storage/base/clock.h"
#include "storage/base/threads.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::runner {

// Asks every guest's agent, so it takes a moment. An inventory that can't be taken has only `error`.
agent::v1::Inventory TakeInventory(writers::VssHost& host);

// Thread-safe; one thread of its own. Everything outlives it.
class InventoryReporter {
 public:
  struct Options {
    absl::Duration period = absl::Seconds(60);
  };

  InventoryReporter(writers::VssHost& host, link::Outbox& outbox, base::Clock& clock, Options options,
                    base::Threads& threads = base::SystemThreads());
  ~InventoryReporter();

  // Take it now, or once more when it is being taken.
  void Request();

 private:
  void Run();

  writers::VssHost& host_;
  link::Outbox& outbox_;
  base::Clock& clock_;
  const Options options_;
  absl::Mutex mu_;
  bool requested_ ABSL_GUARDED_BY(mu_) = false;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<base::Thread> thread_;
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_INVENTORY_H_
