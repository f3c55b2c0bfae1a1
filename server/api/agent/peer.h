// Who is at the other end of a call.
#ifndef UMBRA_SERVER_API_AGENT_PEER_H_
#define UMBRA_SERVER_API_AGENT_PEER_H_

#include <grpcpp/server_context.h>

#include <string>

namespace umbra::api {

// The client certificate that TLS verified for this call, PEM; empty when there is none. For auth::AuthenticateHost.
std::string CertificateOf(const grpc::CallbackServerContext& context);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_PEER_H_
