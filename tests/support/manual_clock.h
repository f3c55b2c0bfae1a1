// A clock that stands still until the test moves it, beside real threads and real connections. Starts at the machine's time,
// so that certificates made with it are valid for TLS.
#ifndef UMBRA_TESTS_SUPPORT_MANUAL_CLOCK_H_
#define UMBRA_TESTS_SUPPORT_MANUAL_CLOCK_H_

#include <atomic>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::testing {

class ManualClock final : public base::Clock {
 public:
  absl::Time Now() override { return start_ + Monotonic(); }
  absl::Duration Monotonic() override { return absl::Nanoseconds(nanoseconds_.load()); }
  // Looks for a moved clock every few milliseconds of real time.
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override {
    const absl::Duration deadline = Monotonic() + timeout;
    while (!mu.AwaitWithTimeout(condition, absl::Milliseconds(2))) {
      if (Monotonic() >= deadline) return condition.Eval();
    }
    return true;
  }
  void Advance(absl::Duration d) { nanoseconds_ += absl::ToInt64Nanoseconds(d); }

 private:
  const absl::Time start_ = absl::Now();
  std::atomic<int64_t> nanoseconds_{0};
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_MANUAL_CLOCK_H_
