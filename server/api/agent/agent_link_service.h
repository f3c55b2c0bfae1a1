// The control link over gRPC: carries messages between an agent's stream and the dispatcher, and decides nothing.
#ifndef UMBRA_SERVER_API_AGENT_AGENT_LINK_SERVICE_H_
#define UMBRA_SERVER_API_AGENT_AGENT_LINK_SERVICE_H_

#include "server/api/agent/executor.h"
#include "server/api/agent/stream_set.h"
#include "server/dispatch/dispatcher.h"
#include "umbra/agent/v1/agent_link.grpc.pb.h"

namespace umbra::api {

// Needs a server that demands client certificates. A stream whose certificate belongs to no enrolled host, or was
// revoked, ends with UNAUTHENTICATED / UNAUTHENTICATED.
class AgentLinkService final
    : public agent::v1::AgentLinkService::WithRawCallbackMethod_Connect<agent::v1::AgentLinkService::Service> {
 public:
  // Both outlive the service, and the service outlives its server.
  AgentLinkService(catalog::Catalog& catalog, dispatch::Dispatcher& dispatcher)
      : catalog_(catalog), dispatcher_(dispatcher) {}

  // Ends every stream with UNAVAILABLE and refuses new ones; returns when all have ended. Call it before
  // grpc::Server::Shutdown, which would wait for them.
  void Stop();

 private:
  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Connect(grpc::CallbackServerContext* context) override;

  catalog::Catalog& catalog_;
  dispatch::Dispatcher& dispatcher_;
  StreamSet streams_;
  Executor executor_{1};  // looks certificates up; last, because its tasks use the rest
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_AGENT_LINK_SERVICE_H_
