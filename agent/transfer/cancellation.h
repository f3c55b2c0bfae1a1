// How one assignment is told to stop: one token, handed to everything that works or waits for it.
#ifndef UMBRA_AGENT_TRANSFER_CANCELLATION_H_
#define UMBRA_AGENT_TRANSFER_CANCELLATION_H_

#include <cstdint>
#include <functional>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::transfer {

// Thread-safe. Cancelled once, for good.
class Cancellation {
 public:
  // The first call counts: `why` (not OK) is what Check returns from now on. Runs the callbacks on this thread.
  void Cancel(absl::Status why);

  // OK, or why it was cancelled.
  absl::Status Check() const;

  // Waits for `duration`; returns early, with the reason, when cancelled.
  absl::Status Wait(base::Clock& clock, absl::Duration duration) const;

  // Runs `callback` when cancelled (at once when that has happened) until the guard ends. The callback may not block
  // and may not touch this object; the guard's destructor waits for a running one.
  class Guard {
   public:
    Guard(Cancellation& owner, std::function<void()> callback);
    ~Guard();
    Guard(const Guard&) = delete;
    Guard& operator=(const Guard&) = delete;

   private:
    Cancellation& owner_;
    uint64_t key_ = 0;
  };

 private:
  mutable absl::Mutex mu_;
  absl::Status why_ ABSL_GUARDED_BY(mu_);
  uint64_t next_key_ ABSL_GUARDED_BY(mu_) = 1;
  std::map<uint64_t, std::function<void()>> callbacks_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_CANCELLATION_H_
