// Bytes a second, on the injected clock: a token bucket that holds what a second gives. It says how long to wait and
// leaves the waiting to who asked.
#ifndef UMBRA_STORAGE_BASE_TOKEN_BUCKET_H_
#define UMBRA_STORAGE_BASE_TOKEN_BUCKET_H_

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::base {

// What wasn't used for so long may be used at once. Longer: a pause is followed by a burst that others feel.
inline constexpr absl::Duration kTokenBucketBurst = absl::Seconds(1);

// Thread-safe. The clock outlives it.
class TokenBucket {
 public:
  // 0: no limit.
  TokenBucket(Clock& clock, int64_t bytes_per_second) : clock_(clock), bytes_per_second_(bytes_per_second) {}

  // Takes `bytes`; returns how long to wait before going on, zero: not at all; never more than `wait_max`, with which
  // the rate may be exceeded. Those who come are served in turn. More bytes than the bucket holds are paid for after
  // they went.
  absl::Duration Take(int64_t bytes, absl::Duration wait_max = absl::InfiniteDuration()) ABSL_LOCKS_EXCLUDED(mu_);

  // From now on; what is owed is paid at the new rate, what somebody was told to wait stays. 0: no limit.
  void SetRate(int64_t bytes_per_second) ABSL_LOCKS_EXCLUDED(mu_);
  int64_t rate() const ABSL_LOCKS_EXCLUDED(mu_);
  // All waits that were asked for, added up.
  absl::Duration waited() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  Clock& clock_;
  mutable absl::Mutex mu_;
  int64_t bytes_per_second_ ABSL_GUARDED_BY(mu_);
  // When everything that was taken is paid for.
  absl::Duration paid_at_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();
  absl::Duration waited_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_TOKEN_BUCKET_H_
