// umbra.v1.EventService: the numbered log of what happened.
#ifndef UMBRA_SERVER_API_EVENT_SERVICE_H_
#define UMBRA_SERVER_API_EVENT_SERVICE_H_

#include "absl/status/status.h"
#include "server/api/agent/stream_set.h"
#include "server/api/door.h"
#include "server/api/event_feed.h"
#include "server/jobs/event_hub.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/event.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it, `streams` until all streams have ended.
class EventService final : public v1::EventService::CallbackService {
 public:
  EventService(Door& door, catalog::Catalog& catalog, jobs::EventHub& events, StreamSet& streams)
      : door_(door), catalog_(catalog), events_(events), streams_(streams), feed_(catalog, events) {}

 private:
  grpc::ServerUnaryReactor* ListEvents(grpc::CallbackServerContext* context, const v1::ListEventsRequest* request,
                                       v1::ListEventsResponse* response) override;
  grpc::ServerWriteReactor<v1::Event>* WatchEvents(grpc::CallbackServerContext* context,
                                                   const v1::WatchEventsRequest* request) override;
  absl::Status List(const v1::ListEventsRequest& request, v1::ListEventsResponse& response);

  Door& door_;
  catalog::Catalog& catalog_;
  jobs::EventHub& events_;
  StreamSet& streams_;
  EventFeed feed_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_EVENT_SERVICE_H_
