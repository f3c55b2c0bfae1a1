#include "server/api/event_feed.h"

#include <algorithm>
#include <utility>

#include "server/api/convert.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

EventFeed::SharedEvent ToShared(const catalog::Event& event) {
  auto shared = std::make_shared<v1::Event>();
  ToProto(event, shared.get());
  return shared;
}

}  // namespace

absl::StatusOr<EventFeed::Page> EventFeed::After(int64_t sequence, const std::string& resource) {
  const int64_t newest = events_.Newest();
  if (sequence >= newest) return Page{{}, sequence};
  {
    absl::MutexLock lock(&mu_);
    if (newest > newest_) RETURN_IF_ERROR(ReadNewLocked(newest));
    if (sequence >= before_) {
      Page page{{}, newest_};
      // The numbers have no gaps.
      for (size_t i = static_cast<size_t>(sequence - before_); i < newest_events_.size(); ++i) {
        const SharedEvent& event = newest_events_[i];
        if (!resource.empty() && event->resource() != resource) continue;
        page.events.push_back(event);
        if (page.events.size() < kFeedPageSize) continue;
        page.seen = event->sequence();
        break;
      }
      return page;
    }
  }
  return ReadOld(sequence, newest, resource);
}

absl::Status EventFeed::ReadNewLocked(int64_t newest) {
  // What lies further back than is held, is for those who want it to read.
  const int64_t oldest_wanted = newest - static_cast<int64_t>(kFeedEventsMax);
  if (newest_ < oldest_wanted) {
    newest_events_.clear();
    before_ = newest_ = oldest_wanted;
  }
  while (newest_ < newest) {
    const catalog::ListOptions<int64_t> options{kFeedPageSize, newest_};
    ASSIGN_OR_RETURN(const auto page,
                     catalog_.Read([&](const catalog::Stores& s) { return s.events.List("", options); }));
    if (page.items.empty()) return base::Error(absl::StatusCode::kInternal, "INTERNAL", "event {} is missing", newest);
    // Pruned ones: nobody can have them.
    if (page.items.front().sequence != newest_ + 1) {
      newest_events_.clear();
      before_ = page.items.front().sequence - 1;
    }
    for (const catalog::Event& event : page.items) newest_events_.push_back(ToShared(event));
    newest_ = page.items.back().sequence;
  }
  while (newest_events_.size() > kFeedEventsMax) {
    newest_events_.pop_front();
    ++before_;
  }
  return absl::OkStatus();
}

absl::StatusOr<EventFeed::Page> EventFeed::ReadOld(int64_t sequence, int64_t newest, const std::string& resource) {
  const catalog::ListOptions<int64_t> options{kFeedPageSize, sequence};
  ASSIGN_OR_RETURN(const auto read,
                   catalog_.Read([&](const catalog::Stores& s) { return s.events.List(resource, options); }));
  Page page{{}, sequence};
  for (const catalog::Event& event : read.items) page.events.push_back(ToShared(event));
  if (!page.events.empty()) page.seen = page.events.back()->sequence();
  // That was all there is up to the number that was the newest before.
  if (page.events.size() < kFeedPageSize) page.seen = std::max(page.seen, newest);
  return page;
}

}  // namespace umbra::api
