#include "server/api/agent/enrolment_service.h"

#include <algorithm>

#include "server/api/agent/rpc_status.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"

namespace umbra::api {

bool FailureLimit::MayTry() {
  absl::MutexLock lock(&mu_);
  RefillLocked();
  return left_ >= 1;
}

void FailureLimit::Failed() {
  absl::MutexLock lock(&mu_);
  RefillLocked();
  left_ = std::max(0.0, left_ - 1);
}

void FailureLimit::RefillLocked() {
  const absl::Duration now = clock_.Monotonic();
  left_ = std::min(kFailuresPerSecondMax, left_ + kFailuresPerSecondMax * absl::ToDoubleSeconds(now - filled_at_));
  filled_at_ = now;
}

grpc::ServerUnaryReactor* EnrolmentService::Enrol(grpc::CallbackServerContext* context,
                                                  const agent::v1::EnrolRequest* request,
                                                  agent::v1::EnrolResponse* response) {
  grpc::ServerUnaryReactor* const reactor = context->DefaultReactor();
  executor_.Submit([this, reactor, context, request, response] {
    const absl::Status status = DoEnrol(*request, *response);
    if (!status.ok()) {
      base::Log("api")->warn("enrolment refused address={} error={}", context->peer(), base::Describe(status));
    }
    reactor->Finish(ToRpcStatus(status));
  });
  return reactor;
}

absl::Status EnrolmentService::DoEnrol(const agent::v1::EnrolRequest& request, agent::v1::EnrolResponse& response) {
  if (!failures_.MayTry()) {
    return base::Error(absl::StatusCode::kResourceExhausted, "SERVER_BUSY", "too many enrolments failed; try again in a while");
  }
  if (request.certificate_request_pem().size() > tls::kCsrSizeMax) {
    failures_.Failed();
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "certificate_request_pem: larger than {} bytes",
                       tls::kCsrSizeMax);
  }
  auto enrolled = enrolment_.Enrol(request.token_secret(), request.certificate_request_pem(), request.host_name());
  if (!enrolled.ok()) {
    failures_.Failed();
    return enrolled.status();
  }
  agents_.Disconnect(enrolled->id, base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED",
                                               "this host was enrolled again; the certificate before is refused"));
  response.set_host_id(enrolled->id.value);
  response.set_certificate_pem(enrolled->certificate_pem);
  response.set_ca_pem(enrolment_.authority_pem());
  response.set_agent_address(agent_address_);
  return absl::OkStatus();
}

}  // namespace umbra::api
