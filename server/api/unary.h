// Unary calls: gRPC's thread hands the work to the executor and is free again.
#ifndef UMBRA_SERVER_API_UNARY_H_
#define UMBRA_SERVER_API_UNARY_H_

#include <grpcpp/server_context.h>
#include <grpcpp/support/server_callback.h>

#include <utility>

#include "server/api/agent/executor.h"
#include "server/api/agent/rpc_status.h"

namespace umbra::api {

// Runs `work`, which returns an absl::Status, on the executor and answers with its result. What the call lent (request,
// response) stays valid until then, also when the caller has gone.
template <typename Work>
grpc::ServerUnaryReactor* RunUnary(grpc::CallbackServerContext* context, Executor& executor, Work work) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  executor.Submit([reactor, work = std::move(work)] { reactor->Finish(ToRpcStatus(work())); });
  return reactor;
}

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_UNARY_H_
