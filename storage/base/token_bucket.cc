#include "storage/base/token_bucket.h"

#include <algorithm>

namespace umbra::base {

absl::Duration TokenBucket::Take(int64_t bytes, absl::Duration wait_max) {
  absl::MutexLock lock(&mu_);
  if (bytes_per_second_ <= 0) return absl::ZeroDuration();
  const absl::Duration now = clock_.Monotonic();
  const absl::Duration from = std::max(paid_at_, now - kTokenBucketBurst);
  paid_at_ = from + absl::Seconds(static_cast<double>(bytes) / static_cast<double>(bytes_per_second_));
  const absl::Duration wait = std::clamp(from - now, absl::ZeroDuration(), wait_max);
  waited_ += wait;
  return wait;
}

void TokenBucket::SetRate(int64_t bytes_per_second) {
  absl::MutexLock lock(&mu_);
  const absl::Duration now = clock_.Monotonic();
  if (bytes_per_second <= 0 || bytes_per_second_ <= 0) {
    paid_at_ = -absl::InfiniteDuration();
  } else if (paid_at_ > now) {
    paid_at_ =
        now + (paid_at_ - now) * (static_cast<double>(bytes_per_second_) / static_cast<double>(bytes_per_second));
  }
  bytes_per_second_ = bytes_per_second;
}

int64_t TokenBucket::rate() const {
  absl::MutexLock lock(&mu_);
  return bytes_per_second_;
}

absl::Duration TokenBucket::waited() const {
  absl::MutexLock lock(&mu_);
  return waited_;
}

}  // namespace umbra::base
