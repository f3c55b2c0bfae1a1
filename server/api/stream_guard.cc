#include "server/api/stream_guard.h"

namespace umbra::api {

StreamGuard::StreamGuard(Door& door, StreamSet& streams, base::Clock& clock, base::Threads& threads)
    : door_(door), streams_(streams), generation_(door.generation()), ticker_(clock, threads, [this] {
        Look();
        return kStreamGuardPause;
      }) {
  ticker_.Start();
}

void StreamGuard::Look() {
  const int64_t generation = door_.generation();
  const bool expired = door_.TakeExpired();
  if (generation == generation_ && !expired) return;
  generation_ = generation;
  streams_.WakeAll();
}

}  // namespace umbra::api
