// Messages of streams as server-sent events.
#ifndef UMBRA_SERVER_REST_EVENT_FRAMES_H_
#define UMBRA_SERVER_REST_EVENT_FRAMES_H_

#include <google/protobuf/descriptor.h>

#include <cstddef>
#include <deque>
#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"

namespace umbra::rest {

// Thread-safe. Keeps what was printed last: of an event that thousands of streams are told, the JSON is made once.
class EventFrames {
 public:
  // At most `count_max` frames of messages of at most `bytes_max` bytes are kept.
  explicit EventFrames(size_t count_max = 256, size_t bytes_max = 4096)
      : count_max_(count_max), bytes_max_(bytes_max) {}

  // The event, whole, with its number as id, of a message of `type` that is serialized in `bytes`.
  std::shared_ptr<const std::string> Of(const google::protobuf::Descriptor& type, std::string bytes)
      ABSL_LOCKS_EXCLUDED(mu_);

  size_t kept_count() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Key = std::pair<const google::protobuf::Descriptor*, std::string>;
  using Frame = std::shared_ptr<const std::string>;  // of this and of whoever is sending it

  const size_t count_max_;
  const size_t bytes_max_;
  mutable absl::Mutex mu_;  // both have the same keys
  absl::flat_hash_map<Key, Frame> frames_ ABSL_GUARDED_BY(mu_);
  std::deque<Key> oldest_first_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_EVENT_FRAMES_H_
