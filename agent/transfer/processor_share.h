// Whether threads that compute get the processors that they ask for.
#ifndef UMBRA_AGENT_TRANSFER_PROCESSOR_SHARE_H_
#define UMBRA_AGENT_TRANSFER_PROCESSOR_SHARE_H_

#include "absl/time/time.h"

namespace umbra::transfer {

// Not thread-safe.
class ProcessorShare {
 public:
  // A stretch of work that waited for nothing but a processor: what it computed, how long it took, and that with the
  // wait for other things that came after it. Who mostly waits for those doesn't need more of a processor.
  void Add(absl::Duration computed, absl::Duration took, absl::Duration with_waits) {
    waited_ = waited_ * kKeep + (took - computed);
    time_ = time_ * kKeep + with_waits;
  }

  // Lately more than a seventh of the time went by waiting for a processor.
  bool contended() const { return waited_ > time_ * kContended; }

 private:
  static constexpr double kKeep =
      0.98;  // the last fifty chunks count: some tens of milliseconds, or several turns of a scheduler
  static constexpr double kContended = 0.15;

  // Sums that fade.
  absl::Duration waited_;
  absl::Duration time_;
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_PROCESSOR_SHARE_H_
