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
    if (with_waits <= absl::ZeroDuration()) return;
    waiting_ += (absl::FDivDuration(took - computed, with_waits) - waiting_) * kWeight;
  }

  // Lately more than a seventh of the time went by waiting for a processor.
  bool contended() const { return waiting_ > kContended; }

 private:
  static constexpr double kWeight = 0.1;  // the last ten or twenty chunks count: some milliseconds
  static constexpr double kContended = 0.15;

  double waiting_ = 0;  // 0 .. 1, a moving average
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_PROCESSOR_SHARE_H_
