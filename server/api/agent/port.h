// Limits of the ports that agents reach.
#ifndef UMBRA_SERVER_API_AGENT_PORT_H_
#define UMBRA_SERVER_API_AGENT_PORT_H_

#include <grpcpp/security/server_credentials.h>
#include <grpcpp/server_builder.h>

#include <memory>
#include <string>

#include "storage/tls/certificate_authority.h"

namespace umbra::api {

// Message sizes, header sizes, streams per connection, keepalive (finds dead peers in about 30 s), and a quota for gRPC's own
// buffers.
void SetAgentPortLimits(grpc::ServerBuilder& builder);
// The same for the enrolment port, where strangers knock: everything is small.
void SetEnrolmentPortLimits(grpc::ServerBuilder& builder);

// TLS 1.2 or newer; a client certificate of our authority is demanded.
std::shared_ptr<grpc::ServerCredentials> AgentPortCredentials(const tls::ServerCertificate& certificate,
                                                              const std::string& authority_pem);
// No client certificate is asked for.
std::shared_ptr<grpc::ServerCredentials> EnrolmentPortCredentials(const tls::ServerCertificate& certificate);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_PORT_H_
