// A clock on which waiting takes no time: AwaitFor gives real threads a moment to make the condition true, and otherwise
// steps the clock by the timeout. For code that backs off or gives up after a while. Its wall can be set without time passing.
#ifndef UMBRA_TESTS_SUPPORT_STEPPING_CLOCK_H_
#define UMBRA_TESTS_SUPPORT_STEPPING_CLOCK_H_

#include <algorithm>
#include <atomic>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::testing {

class SteppingClock final : public base::Clock {
 public:
  absl::Time Now() override {
    return absl::FromUnixSeconds(1'800'000'000) + Monotonic() + absl::Nanoseconds(ahead_.load());
  }
  absl::Duration Monotonic() override { return absl::Nanoseconds(nanoseconds_.load()); }
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override {
    if (mu.AwaitWithTimeout(condition, std::min(timeout, absl::Milliseconds(1)))) return true;
    Advance(timeout);
    return condition.Eval();
  }
  // Time passes.
  void Advance(absl::Duration d) { nanoseconds_ += absl::ToInt64Nanoseconds(d); }
  // Somebody sets the clock; or, between two openings of something, time passes that nobody saw.
  void Jump(absl::Duration d) { ahead_ += absl::ToInt64Nanoseconds(d); }

 private:
  std::atomic<int64_t> nanoseconds_{0};
  std::atomic<int64_t> ahead_{0};
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_STEPPING_CLOCK_H_
