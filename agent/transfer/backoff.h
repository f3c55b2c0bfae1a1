// How long to wait before trying again: exponential with jitter, so that a fleet doesn't come back all at once.
#ifndef UMBRA_AGENT_TRANSFER_BACKOFF_H_
#define UMBRA_AGENT_TRANSFER_BACKOFF_H_

#include <algorithm>

#include "absl/time/time.h"
#include "storage/base/random.h"

namespace umbra::transfer {

// One thread at a time.
class Backoff {
 public:
  struct Limits {
    absl::Duration first = absl::Milliseconds(500);  // short enough that a restart of the daemon is hardly noticed
    absl::Duration last = absl::Seconds(30);         // long enough that a dead daemon costs nothing
  };

  Backoff(base::Random& random, Limits limits) : random_(random), limits_(limits), ceiling_(limits.first) {}

  // The next wait: uniform in [ceiling/2, ceiling]; the ceiling doubles up to `limits.last`.
  absl::Duration Next() {
    const absl::Duration wait = ceiling_ * (0.5 + 0.5 * random_.Fraction());
    ceiling_ = std::min(ceiling_ * 2, limits_.last);
    return wait;
  }

  // After a success.
  void Reset() { ceiling_ = limits_.first; }

 private:
  base::Random& random_;
  const Limits limits_;
  absl::Duration ceiling_;
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_BACKOFF_H_
