// Errors of the house on the wire: status code and message, and in the details google.rpc.ErrorInfo {reason, domain}
// and, when the error says how long to wait (base::WithRetryAfter), google.rpc.RetryInfo.
#ifndef UMBRA_SERVER_API_AGENT_RPC_STATUS_H_
#define UMBRA_SERVER_API_AGENT_RPC_STATUS_H_

#include <grpcpp/support/status.h>

#include "absl/status/status.h"

namespace umbra::api {

// ErrorInfo.domain of everything that umbrad says.
inline constexpr char kErrorDomain[] = "umbra";

grpc::Status ToRpcStatus(const absl::Status& status);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_RPC_STATUS_H_
