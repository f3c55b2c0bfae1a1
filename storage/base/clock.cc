#include "storage/base/clock.h"

#include <chrono>

#include "absl/time/clock.h"

namespace umbra::base {

void Clock::Sleep(absl::Duration duration) {
  absl::Mutex mu;
  absl::MutexLock lock(&mu);
  bool never = false;
  AwaitFor(mu, absl::Condition(&never), duration);
}

absl::Time SystemClock::Now() { return absl::Now(); }

absl::Duration SystemClock::Monotonic() {
  return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
}

bool SystemClock::AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout) {
  return mu.AwaitWithTimeout(condition, timeout);
}

}  // namespace umbra::base
