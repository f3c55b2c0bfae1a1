// The newest events, read from the catalog and put into the API's form once, for all streams that follow them.
#ifndef UMBRA_SERVER_API_EVENT_FEED_H_
#define UMBRA_SERVER_API_EVENT_FEED_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/jobs/event_hub.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/event.pb.h"

namespace umbra::api {

// Newest events that are held: what comes while the slowest of many streams has its turn, a few hundred KiB.
inline constexpr size_t kFeedEventsMax = 512;
// Events of one answer: what a stream holds.
inline constexpr int kFeedPageSize = 100;

// Thread-safe. What it is given outlives it.
class EventFeed {
 public:
  using SharedEvent = std::shared_ptr<const v1::Event>;  // of the feed and of the streams that are sending it

  struct Page {
    std::vector<SharedEvent> events;  // oldest first
    int64_t seen = 0;                 // everything up to this number was looked at: ask for what follows it
  };

  EventFeed(catalog::Catalog& catalog, jobs::EventHub& events) : catalog_(catalog), events_(events) {}

  // What follows `sequence`, about `resource` only when that isn't empty; at most kFeedPageSize. No events: there are
  // no newer ones yet. Who is near the end gets it from memory; one of those who come first reads it, and who is far
  // behind reads for himself.
  absl::StatusOr<Page> After(int64_t sequence, const std::string& resource);

 private:
  absl::Status ReadNewLocked(int64_t newest) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<Page> ReadOld(int64_t sequence, int64_t newest, const std::string& resource);

  catalog::Catalog& catalog_;
  jobs::EventHub& events_;

  // The events are those after `before_`, without a gap, up to `newest_`. Held while they are read (a short read of the
  // catalog): all who wait for it want just that.
  absl::Mutex mu_;
  int64_t before_ ABSL_GUARDED_BY(mu_) = 0;
  int64_t newest_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<SharedEvent> newest_events_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_EVENT_FEED_H_
