#include "server/notifications/rate_limit.h"

#include <algorithm>

namespace umbra::notifications {

RateLimit::RateLimit(int per_hour)
    : interval_(absl::Hours(1) / std::max(per_hour, 1)), burst_(std::max(per_hour / 4, 1)) {}

absl::Time RateLimit::Sane(absl::Time used_to, absl::Time now) const {
  return std::min(used_to, now + interval_ * burst_);
}

absl::Time RateLimit::AllowedFrom(absl::Time used_to, absl::Time now) const {
  return Sane(used_to, now) - interval_ * (burst_ - 1);
}

absl::Time RateLimit::Use(absl::Time used_to, absl::Time now) const {
  return std::max(Sane(used_to, now), now) + interval_;
}

}  // namespace umbra::notifications
