#include "agent/link/rpc.h"

#include <grpcpp/create_channel.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/support/channel_arguments.h>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "storage/base/status.h"
#include "storage/tls/x509.h"

namespace umbra::link {
namespace {

// A message of the store holds at most 4 MiB of chunks; the rest is for field headers.
constexpr int kReceiveMessageSizeMax = 4 * 1024 * 1024 + 64 * 1024;
// A dead peer is noticed after 30 s, well inside a lease. The daemon allows one ping in 10 s.
constexpr int kKeepaliveTimeMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
// Our own back-off decides when to try again; gRPC's must not sit on top of it.
constexpr int kReconnectBackoffMs = 500;
// gRPC takes its smallest back-off as the time that one attempt may take, TLS included. A daemon that all agents of a
// fleet come back to at once needs seconds for their handshakes; who gives up on his makes it begin anew.
constexpr int kAttemptMs = 20'000;
constexpr int kIdleMs = 60'000;

grpc::ChannelArguments Arguments() {
  grpc::ChannelArguments arguments;
  arguments.SetSslTargetNameOverride(std::string(tls::kServerName));
  arguments.SetMaxReceiveMessageSize(kReceiveMessageSizeMax);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveTimeMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  arguments.SetInt(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  arguments.SetInt(GRPC_ARG_HTTP2_MAX_PINGS_WITHOUT_DATA, 0);
  arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, kReconnectBackoffMs);
  arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, kAttemptMs);
  arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, kReconnectBackoffMs);
  arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);  // one TCP connection for each channel
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  return arguments;
}

std::shared_ptr<grpc::ChannelCredentials> CredentialsOf(const Identity& identity) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = identity.authority_pem;
  options.pem_private_key = identity.key_pem;
  options.pem_cert_chain = identity.certificate_pem;
  return grpc::SslCredentials(options);
}

}  // namespace

absl::Status FromRpcStatus(const grpc::Status& status) {
  if (status.ok()) return absl::OkStatus();
  std::string reason;
  google::rpc::Status details;
  if (details.ParseFromString(status.error_details())) {
    for (const google::protobuf::Any& detail : details.details()) {
      google::rpc::ErrorInfo info;
      if (detail.UnpackTo(&info)) reason = info.reason();
    }
  }
  auto code = static_cast<absl::StatusCode>(status.error_code());
  // A daemon that stops cuts off what is under way; to us that is a lost connection. Who cancelled a call itself knows it.
  if (code == absl::StatusCode::kCancelled && reason.empty()) code = absl::StatusCode::kUnavailable;
  return base::MakeError(code, reason, status.error_message());
}

std::shared_ptr<grpc::Channel> MakeChannel(const Identity& identity, const std::string& address) {
  return grpc::CreateCustomChannel(address, CredentialsOf(identity), Arguments());
}

std::shared_ptr<grpc::Channel> MakeDataChannel(const Identity& identity, const std::string& address) {
  grpc::ChannelArguments arguments = Arguments();
  arguments.SetInt(GRPC_ARG_CLIENT_IDLE_TIMEOUT_MS, kIdleMs);
  return grpc::CreateCustomChannel(address, CredentialsOf(identity), arguments);
}

std::shared_ptr<grpc::Channel> MakeEnrolmentChannel(const std::string& authority_pem, const std::string& address) {
  grpc::SslCredentialsOptions options;
  options.pem_root_certs = authority_pem;
  return grpc::CreateCustomChannel(address, grpc::SslCredentials(options), Arguments());
}

}  // namespace umbra::link
