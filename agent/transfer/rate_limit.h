// Bytes a second, on the injected clock: a token bucket that holds what a second gives.
#ifndef UMBRA_AGENT_TRANSFER_RATE_LIMIT_H_
#define UMBRA_AGENT_TRANSFER_RATE_LIMIT_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/transfer/cancellation.h"
#include "storage/base/clock.h"

namespace umbra::transfer {

// What wasn't used for so long may be used at once. Longer: a pause of the reading is followed by a burst that others
// feel.
inline constexpr absl::Duration kRateLimitBurst = absl::Seconds(1);

// Thread-safe. The clock outlives it.
class RateLimit {
 public:
  // 0: no limit.
  RateLimit(base::Clock& clock, int64_t bytes_per_second) : clock_(clock), bytes_per_second_(bytes_per_second) {}

  // Waits until `bytes` may be sent; those who come are served in turn. More bytes than the bucket holds are paid for
  // after they went. Fails as soon as `cancellation` says so.
  absl::Status Take(int64_t bytes, const Cancellation& cancellation) ABSL_LOCKS_EXCLUDED(mu_);

 private:
  base::Clock& clock_;
  const int64_t bytes_per_second_;
  absl::Mutex mu_;
  // When everything that was taken is paid for.
  absl::Duration paid_at_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_RATE_LIMIT_H_
