// Runs the daemon's assignments, each on a thread of its own, whether or not the link is up.
#ifndef UMBRA_AGENT_RUNNER_JOB_RUNNER_H_
#define UMBRA_AGENT_RUNNER_JOB_RUNNER_H_

#include <map>
#include <memory>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "agent/link/control_link.h"
#include "agent/runner/inventory.h"
#include "agent/runner/runner.h"
#include "agent/transfer/cancellation.h"

namespace umbra::runner {

// Thread-safe. Every assignment that is taken on ends with exactly one result in the outbox.
class JobRunner final : public link::LinkHandler {
 public:
  // Everything outlives the runner.
  JobRunner(RunnerContext context, InventoryReporter& inventory);
  // Shutdown with AGENT_RESTARTED.
  ~JobRunner() override;

  // Takes nothing on any more, cancels what runs with `why`, and waits until everything is put back and every result is
  // in the outbox. A freeze or a commit that is under way is waited for.
  void Shutdown(const absl::Status& why);

  // LinkHandler.
  std::vector<agent::v1::AssignmentId> Running() override;
  void OnConnected(const agent::v1::Welcome& welcome) override;
  void OnAssignment(const agent::v1::Assignment& assignment) override;
  void OnCancel(const agent::v1::AssignmentId& id) override;
  void OnRefreshInventory() override;
  void OnLeaseExpired() override;

 private:
  struct Task {
    agent::v1::Assignment assignment;
    transfer::Cancellation cancellation;
    std::unique_ptr<base::Thread> thread;
    bool ended = false;
  };

  void Execute(Task& task);
  absl::Status Work(Task& task, agent::v1::AssignmentResult* result);
  void CancelAll(const absl::Status& why);
  void ReapLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const RunnerContext context_;
  InventoryReporter& inventory_;

  absl::Mutex mu_;
  bool shut_down_ ABSL_GUARDED_BY(mu_) = false;
  std::map<link::AssignmentKey, std::unique_ptr<Task>> tasks_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_JOB_RUNNER_H_
