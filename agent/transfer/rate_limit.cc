#include "agent/transfer/rate_limit.h"

#include <algorithm>

namespace umbra::transfer {

absl::Status RateLimit::Take(int64_t bytes, const Cancellation& cancellation) {
  if (bytes_per_second_ <= 0) return absl::OkStatus();
  absl::Duration wait;
  {
    absl::MutexLock lock(&mu_);
    const absl::Duration now = clock_.Monotonic();
    const absl::Duration from = std::max(paid_at_, now - kRateLimitBurst);
    wait = from - now;
    paid_at_ = from + absl::Seconds(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
  }
  return wait > absl::ZeroDuration() ? cancellation.Wait(clock_, wait) : absl::OkStatus();
}

}  // namespace umbra::transfer
