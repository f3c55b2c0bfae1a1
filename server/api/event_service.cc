#include "server/api/event_service.h"

#include <deque>
#include <iterator>
#include <memory>
#include <utility>

#include "server/api/convert.h"
#include "server/api/paging.h"
#include "server/api/watch_stream.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

// Longer than any resource name.
constexpr size_t kResourceSizeMax = 512;
constexpr int64_t kOnlyNewEvents = -1;

absl::Status CheckResource(const std::string& resource) {
  if (resource.size() <= kResourceSizeMax) return absl::OkStatus();
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "resource: longer than {} characters",
                     kResourceSizeMax);
}

// Events after a number, then new ones: each page begins where the last one ended, so that none is missed and none
// comes twice, however the wake-ups fall.
class EventSource final : public WatchSource<v1::Event> {
 public:
  EventSource(EventFeed& feed, jobs::EventHub& events, const v1::WatchEventsRequest& request)
      : feed_(feed), events_(events), resource_(request.resource()), last_seen_(request.after_sequence()) {
    if (last_seen_ == kOnlyNewEvents) last_seen_ = events_.Newest();
  }

  void Subscribe(std::function<void()> wake) override { subscription_ = events_.Subscribe(std::move(wake)); }

  NextStep<v1::Event> Next() override {
    if (last_seen_ < 0) {
      return End{base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                             "after_sequence: must be -1, 0 or a sequence number")};
    }
    if (const absl::Status fine = CheckResource(resource_); !fine.ok()) return End{fine};
    if (page_.empty()) {
      if (const absl::Status read = ReadPage(); !read.ok()) return End{read};
    }
    if (page_.empty()) return NothingNew{};
    v1::Event event = *page_.front();
    page_.pop_front();
    return event;
  }

 private:
  absl::Status ReadPage() {
    ASSIGN_OR_RETURN(EventFeed::Page page, feed_.After(last_seen_, resource_));
    last_seen_ = page.seen;
    page_.assign(std::make_move_iterator(page.events.begin()), std::make_move_iterator(page.events.end()));
    return absl::OkStatus();
  }

  EventFeed& feed_;
  jobs::EventHub& events_;
  const std::string resource_;
  int64_t last_seen_;
  std::deque<EventFeed::SharedEvent> page_;
  jobs::Subscription subscription_;
};

}  // namespace

grpc::ServerUnaryReactor* EventService::ListEvents(grpc::CallbackServerContext* context,
                                                   const v1::ListEventsRequest* request,
                                                   v1::ListEventsResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

absl::Status EventService::List(const v1::ListEventsRequest& request, v1::ListEventsResponse& response) {
  RETURN_IF_ERROR(CheckResource(request.resource()));
  const std::string list = "events of " + request.resource();
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<int64_t>(request, list));
  ASSIGN_OR_RETURN(const auto page,
                   catalog_.Read([&](const catalog::Stores& s) { return s.events.List(request.resource(), options); }));
  for (const catalog::Event& event : page.items) ToProto(event, response.add_events());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

grpc::ServerWriteReactor<v1::Event>* EventService::WatchEvents(grpc::CallbackServerContext* context,
                                                               const v1::WatchEventsRequest* request) {
  return door_.Watch<v1::WatchEventsRequest, v1::Event>(
      context, request, std::make_unique<EventSource>(feed_, events_, *request), streams_, absl::ZeroDuration());
}

}  // namespace umbra::api
