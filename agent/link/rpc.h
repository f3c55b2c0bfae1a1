// gRPC's statuses and channels in words of the house. For this room only.
#ifndef UMBRA_AGENT_LINK_RPC_H_
#define UMBRA_AGENT_LINK_RPC_H_

#include <grpcpp/channel.h>
#include <grpcpp/support/status.h>

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "agent/link/identity.h"

namespace umbra::link {

// Code and message as they are, the reason from google.rpc.ErrorInfo. A status without one that says UNAVAILABLE comes
// from the transport.
absl::Status FromRpcStatus(const grpc::Status& status);

// A connection of its own to the agent port, with the agent's certificate, trusting only the daemon's authority. Nothing
// is connected yet.
std::shared_ptr<grpc::Channel> MakeChannel(const Identity& identity, const std::string& address);

// The same for the data service: one that is unused for a minute is closed, and opened again by the next call.
std::shared_ptr<grpc::Channel> MakeDataChannel(const Identity& identity, const std::string& address);

// The same to the enrolment port: no certificate of ours.
std::shared_ptr<grpc::Channel> MakeEnrolmentChannel(const std::string& authority_pem, const std::string& address);

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_RPC_H_
