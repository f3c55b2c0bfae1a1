// Ends streams whose caller isn't who he was any more: a token that was revoked or has expired, a session that ended, a
// user who was disabled or lost a role. A stream looks when it is woken; without events nobody else would wake it.
#ifndef UMBRA_SERVER_API_STREAM_GUARD_H_
#define UMBRA_SERVER_API_STREAM_GUARD_H_

#include <cstdint>

#include "server/api/agent/stream_set.h"
#include "server/api/door.h"
#include "storage/base/clock.h"
#include "storage/base/threads.h"
#include "storage/base/ticker.h"

namespace umbra::api {

// So long may a stream go on at most.
inline constexpr absl::Duration kStreamGuardPause = absl::Seconds(1);

class StreamGuard {
 public:
  // Door and streams outlive it. Looks once each kStreamGuardPause, until it is destroyed.
  StreamGuard(Door& door, StreamSet& streams, base::Clock& clock, base::Threads& threads = base::SystemThreads());

 private:
  // Wakes all streams when anybody's permissions have changed, or the first of their credentials has expired.
  void Look();

  Door& door_;
  StreamSet& streams_;
  int64_t generation_;  // belongs to the ticker's thread
  base::Ticker ticker_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_STREAM_GUARD_H_
