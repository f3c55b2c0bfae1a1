// The open streams of a service, so that no more than some of them are served at a time, and a stopping daemon can end
// them.
#ifndef UMBRA_SERVER_API_AGENT_STREAM_SET_H_
#define UMBRA_SERVER_API_AGENT_STREAM_SET_H_

#include <cstddef>
#include <deque>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace umbra::api {

class Stoppable {
 public:
  virtual ~Stoppable() = default;
  // Makes the stream end soon with `status`. Must not block, nor call back into the set.
  virtual void Stop(const absl::Status& status) = 0;
  // Makes the stream look soon whether there is something for it to do. As Stop.
  virtual void Wake() {}
  // The stream's turn has come: it is one of those that are served at a time. As Stop. Once for each stream, unless it
  // was stopped or removed before.
  virtual void TurnCame() {}
};

// Thread-safe.
class StreamSet {
 public:
  // At most `count_max` streams at a time; 0: no limit. Further `waiting_max` wait for their turn, in the order they
  // came.
  explicit StreamSet(size_t count_max = 0, size_t waiting_max = 0) : count_max_(count_max), waiting_max_(waiting_max) {}

  // UNAVAILABLE / SERVER_STOPPING when stopped, UNAVAILABLE / SERVER_BUSY at the limit: retry later.
  // After OK, Remove must be called before the stream is deleted. TurnCame is called when the stream's turn has come,
  // which may be in this call.
  absl::Status Add(Stoppable* stream);
  void Remove(Stoppable* stream);

  void WakeAll();

  // Stops all streams, refuses new ones, and waits until all are removed (at most kStopTimeout: a peer that doesn't
  // read can't hold the daemon; grpc::Server::Shutdown then cuts it off).
  void StopAll();

 private:
  const size_t count_max_;
  const size_t waiting_max_;
  absl::Mutex mu_;  // also keeps a stream alive while it is told something
  absl::flat_hash_set<Stoppable*> streams_ ABSL_GUARDED_BY(mu_);
  std::deque<Stoppable*> waiting_ ABSL_GUARDED_BY(mu_);
  bool stopped_ ABSL_GUARDED_BY(mu_) = false;
};

inline constexpr absl::Duration kStopTimeout = absl::Seconds(2);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_STREAM_SET_H_
