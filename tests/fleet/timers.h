// What is to be done later, on one thread for the whole fleet.
#ifndef UMBRA_TESTS_FLEET_TIMERS_H_
#define UMBRA_TESTS_FLEET_TIMERS_H_

#include <algorithm>
#include <functional>
#include <map>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::fleet {

// Thread-safe.
class Timers {
 public:
  explicit Timers(base::Clock& clock) : clock_(clock), thread_([this] { Run(); }) {}
  // What isn't due yet is dropped.
  ~Timers() {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }

  // `work` must not block; it may be run before After returns.
  void After(absl::Duration wait, std::function<void()> work) {
    absl::MutexLock lock(&mu_);
    due_.emplace(clock_.Monotonic() + wait, std::move(work));
  }

 private:
  void Run() {
    while (true) {
      std::function<void()> work;
      {
        absl::MutexLock lock(&mu_);
        const auto look = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
          return stopping_ || (!due_.empty() && due_.begin()->first <= clock_.Monotonic());
        };
        const bool waits = !due_.empty() && !stopping_;
        const absl::Duration wait = waits ? due_.begin()->first - clock_.Monotonic() : absl::Seconds(1);
        // An earlier one that comes meanwhile is seen when the lock is released; this bounds the wait for the first
        // one.
        if (wait > absl::ZeroDuration())
          clock_.AwaitFor(mu_, absl::Condition(&look), std::min(wait, absl::Milliseconds(20)));
        if (stopping_) return;
        if (due_.empty() || due_.begin()->first > clock_.Monotonic()) continue;
        work = std::move(due_.begin()->second);
        due_.erase(due_.begin());
      }
      work();
    }
  }

  base::Clock& clock_;
  absl::Mutex mu_;
  std::multimap<absl::Duration, std::function<void()>> due_ ABSL_GUARDED_BY(mu_);
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;  // last: it uses the rest
};

}  // namespace umbra::fleet

#endif  // UMBRA_TESTS_FLEET_TIMERS_H_
