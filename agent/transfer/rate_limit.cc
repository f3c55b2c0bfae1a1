#include "agent/transfer/rate_limit.h"

namespace umbra::transfer {

absl::Status RateLimit::Take(int64_t bytes, const Cancellation& cancellation) {
  const absl::Duration wait = bucket_.Take(bytes);
  return wait > absl::ZeroDuration() ? cancellation.Wait(clock_, wait) : absl::OkStatus();
}

}  // namespace umbra::transfer
