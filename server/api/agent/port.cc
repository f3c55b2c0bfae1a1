#include "server/api/agent/port.h"

#include <grpc/grpc.h>
#include <grpcpp/resource_quota.h>

#include "server/api/agent/wire.h"

namespace umbra::api {
namespace {

constexpr int kMetadataSizeMax = 16 * 1024;  // our clients send a few hundred bytes
constexpr int kStreamsPerConnectionMax = 64;
constexpr int kKeepaliveMs = 20'000;
constexpr int kKeepaliveTimeoutMs = 10'000;
constexpr int kPeerPingIntervalMinMs = 5'000;  // agents may ask as well, but not flood
constexpr int kEnrolmentMessageSizeMax = 64 * 1024;
// Received but not yet taken bytes of all connections together; a part of the daemon's 256 MiB.
constexpr size_t kTransportBytesMax = 64 * 1024 * 1024;

void SetLimits(grpc::ServerBuilder& builder, const char* name, size_t buffer_bytes, int message_size_max) {
  grpc::ResourceQuota quota(name);
  quota.Resize(buffer_bytes);
  builder.SetResourceQuota(quota);
  builder.SetMaxReceiveMessageSize(message_size_max);
  builder.AddChannelArgument(GRPC_ARG_MAX_METADATA_SIZE, kMetadataSizeMax);
  builder.AddChannelArgument(GRPC_ARG_MAX_CONCURRENT_STREAMS, kStreamsPerConnectionMax);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIME_MS, kKeepaliveMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_TIMEOUT_MS, kKeepaliveTimeoutMs);
  builder.AddChannelArgument(GRPC_ARG_KEEPALIVE_PERMIT_WITHOUT_CALLS, 1);
  builder.AddChannelArgument(GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, kPeerPingIntervalMinMs);
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);  // a second daemon on the port is a mistake
}

}  // namespace

void SetAgentPortLimits(grpc::ServerBuilder& builder) {
  SetLimits(builder, "agent-port", kTransportBytesMax, kReceiveMessageSizeMax);
}

void SetEnrolmentPortLimits(grpc::ServerBuilder& builder) {
  SetLimits(builder, "enrolment-port", kTransportBytesMax / 16, kEnrolmentMessageSizeMax);
}

std::shared_ptr<grpc::ServerCredentials> AgentPortCredentials(const tls::ServerCertificate& certificate,
                                                              const std::string& authority_pem) {
  grpc::SslServerCredentialsOptions options(GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY);
  options.pem_root_certs = authority_pem;
  options.pem_key_cert_pairs.push_back({certificate.key_pem, certificate.chain_pem});
  return grpc::SslServerCredentials(options);
}

std::shared_ptr<grpc::ServerCredentials> EnrolmentPortCredentials(const tls::ServerCertificate& certificate) {
  grpc::SslServerCredentialsOptions options(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  options.pem_key_cert_pairs.push_back({certificate.key_pem, certificate.chain_pem});
  return grpc::SslServerCredentials(options);
}

}  // namespace umbra::api
