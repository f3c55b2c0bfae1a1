// A thread that runs one writer's or provider's calls, one after another, so that a caller can stop waiting for one
// that hangs.
#ifndef UMBRA_AGENT_VSS_LANE_H_
#define UMBRA_AGENT_VSS_LANE_H_

#include <deque>
#include <functional>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/threads.h"

namespace umbra::vss {

// Thread-safe.
class Lane {
 public:
  // What was posted. `work` must own (or outlive the lane with) everything that it uses, because it may run after its
  // poster has gone.
  class Call {
   private:
    friend class Lane;
    std::function<absl::Status()> work;
    bool must_run = false;
    bool started = false;
    bool done = false;
    absl::Status result;
    absl::Duration finished;
  };
  // How a call ended.
  struct Outcome {
    absl::Status result;
    absl::Duration finished;  // monotonic
  };
  // Shared by the waiting caller and the lane's thread; whoever goes last frees it.
  using CallPtr = std::shared_ptr<Call>;

  // Both outlive the lane.
  explicit Lane(base::Clock& clock, base::Threads& threads = base::SystemThreads());
  ~Lane();  // runs what must run, drops the rest, waits for the thread
  Lane(const Lane&) = delete;
  Lane& operator=(const Lane&) = delete;

  // Runs `work` after everything posted before. An exception becomes INTERNAL.
  CallPtr Post(std::function<absl::Status()> work, bool must_run = false);

  // True with what became of the work; false when it isn't finished after `timeout`.
  bool Await(const CallPtr& call, absl::Duration timeout, Outcome* outcome);

  // Nobody waits for `call` any more: it is dropped when it hasn't begun, unless it must run.
  void Abandon(const CallPtr& call);

  bool IsDone(const CallPtr& call) const;

 private:
  void Run();

  base::Clock& clock_;
  base::Threads& threads_;
  mutable absl::Mutex mu_;
  std::deque<CallPtr> queue_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<base::Thread> thread_;  // last: starts when the rest is ready
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_LANE_H_
