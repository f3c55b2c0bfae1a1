// Time, injected. Nothing outside storage/base reads a clock or sleeps by itself (tests/tidy checks).
#ifndef UMBRA_STORAGE_BASE_CLOCK_H_
#define UMBRA_STORAGE_BASE_CLOCK_H_

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace umbra::base {

// Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;

  // Wall-clock time; may jump when a person or NTP sets it.
  virtual absl::Time Now() = 0;

  // Time since an arbitrary start; never goes backwards. Use it for durations and deadlines inside the process.
  virtual absl::Duration Monotonic() = 0;

  // Waits, with `mu` held on entry and exit, until `condition` is true or `timeout` has passed on the monotonic clock.
  // Returns the condition's value.
  virtual bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) = 0;

  // Blocks the calling thread for `duration`.
  void Sleep(absl::Duration duration);
};

// The machine's clocks.
class SystemClock final : public Clock {
 public:
  absl::Time Now() override;
  absl::Duration Monotonic() override;
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override;
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_CLOCK_H_
