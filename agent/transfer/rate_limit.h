// Bytes a second, on the injected clock: a token bucket at which a job waits.
#ifndef UMBRA_AGENT_TRANSFER_RATE_LIMIT_H_
#define UMBRA_AGENT_TRANSFER_RATE_LIMIT_H_

#include <cstdint>

#include "absl/status/status.h"
#include "agent/transfer/cancellation.h"
#include "storage/base/clock.h"
#include "storage/base/token_bucket.h"

namespace umbra::transfer {

// Thread-safe. The clock outlives it.
class RateLimit {
 public:
  // 0: no limit.
  RateLimit(base::Clock& clock, int64_t bytes_per_second) : clock_(clock), bucket_(clock, bytes_per_second) {}

  // Waits until `bytes` may be sent; those who come are served in turn. More bytes than the bucket holds are paid for
  // after they went. Fails as soon as `cancellation` says so.
  absl::Status Take(int64_t bytes, const Cancellation& cancellation);

 private:
  base::Clock& clock_;
  base::TokenBucket bucket_;
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_RATE_LIMIT_H_
