#include "agent/link/enrolment.h"

#include <grpcpp/client_context.h>

#include <chrono>
#include <utility>

#include "agent/link/rpc.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/tls/enrolment_token.h"
#include "storage/tls/peer.h"
#include "storage/tls/x509.h"
#include "umbra/agent/v1/enrolment.grpc.pb.h"

namespace umbra::link {
namespace {

constexpr absl::Duration kConnectTimeout = absl::Seconds(10);
constexpr absl::Duration kCallTimeout = absl::Seconds(20);  // the daemon signs and syncs its catalog

absl::Status Explain(const absl::Status& status, const std::string& address) {
  const std::string reason = base::ReasonOf(status);
  std::string_view hint;
  if (reason == "ENROLMENT_TOKEN_INVALID") hint = "; make a new token with: umbra host token";
  if (reason == "AUTHORITY_FINGERPRINT_MISMATCH") hint = "; the token's secret was not sent";
  if (reason == "PEER_UNREACHABLE") hint = "; is umbrad running, and is this its enrolment port?";
  return base::MakeError(status.code(), reason, fmt::format("enrolment at {} failed: {}{}", address, base::MessageOf(status), hint));
}

absl::StatusOr<agent::v1::EnrolResponse> CallEnrol(const std::string& authority_pem, const std::string& address,
                                                   base::Clock& clock, const agent::v1::EnrolRequest& request) {
  const auto stub = agent::v1::EnrolmentService::NewStub(MakeEnrolmentChannel(authority_pem, address));
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(clock.Now() + kCallTimeout));
  agent::v1::EnrolResponse response;
  const absl::Status status = FromRpcStatus(stub->Enrol(&context, request, &response));
  if (status.code() == absl::StatusCode::kUnavailable && base::ReasonOf(status).empty()) {
    return base::MakeError(absl::StatusCode::kUnavailable, "PEER_UNREACHABLE", base::MessageOf(status));
  }
  RETURN_IF_ERROR(status);
  return response;
}

absl::StatusOr<Identity> Trade(base::Clock& clock, const EnrolOptions& options) {
  ASSIGN_OR_RETURN(const tls::EnrolmentToken token, tls::ParseEnrolmentToken(options.token));
  ASSIGN_OR_RETURN(const std::string authority_pem,
                   tls::FetchPinnedAuthority(options.address, token.fingerprint, clock.Now(), kConnectTimeout));
  ASSIGN_OR_RETURN(const std::string key_pem, tls::GenerateKey());
  agent::v1::EnrolRequest request;
  request.set_token_secret(token.secret);
  ASSIGN_OR_RETURN(*request.mutable_certificate_request_pem(), tls::MakeCsr(key_pem, options.host_name.substr(0, 64)));
  request.set_host_name(options.host_name);
  ASSIGN_OR_RETURN(const agent::v1::EnrolResponse response, CallEnrol(authority_pem, options.address, clock, request));
  // The pinned authority stays the root, whatever the answer calls one.
  Identity identity{.host_id = response.host_id(),
                    .daemon_address = response.agent_address(),
                    .key_pem = key_pem,
                    .certificate_pem = response.certificate_pem(),
                    .authority_pem = authority_pem};
  RETURN_IF_ERROR(tls::CheckKeyMatches(identity.certificate_pem, identity.key_pem));
  return identity;
}

}  // namespace

absl::StatusOr<Identity> Enrol(base::Filesystem& files, base::Clock& clock, const EnrolOptions& options) {
  // A data folder that can't be written would use the token up for nothing.
  RETURN_IF_ERROR(base::Annotate(files.MakeDirectories(options.data_dir), "data folder {}", options.data_dir));
  absl::StatusOr<Identity> identity = Trade(clock, options);
  if (!identity.ok()) return Explain(identity.status(), options.address);
  RETURN_IF_ERROR(base::Annotate(SaveIdentity(files, options.data_dir, *identity), "store the new identity"));
  base::Log("link")->info("enrolled host={} daemon={}", identity->host_id, identity->daemon_address);
  return identity;
}

}  // namespace umbra::link
