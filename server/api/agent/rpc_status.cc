#include "server/api/agent/rpc_status.h"

#include <string>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "storage/base/retry_after.h"
#include "storage/base/status.h"

namespace umbra::api {

grpc::Status ToRpcStatus(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const auto code = static_cast<grpc::StatusCode>(status.code());  // the numbers are the same by definition
  const std::string reason = base::ReasonOf(status);
  const auto retry_after = base::RetryAfterOf(status);
  if (reason.empty() && !retry_after) return {code, base::MessageOf(status)};
  google::rpc::Status details;
  details.set_code(code);
  details.set_message(base::MessageOf(status));
  if (!reason.empty()) {
    google::rpc::ErrorInfo info;
    info.set_reason(reason);
    info.set_domain(kErrorDomain);
    details.add_details()->PackFrom(info);
  }
  if (retry_after) {
    google::rpc::RetryInfo info;
    info.mutable_retry_delay()->set_seconds(absl::ToInt64Seconds(*retry_after));
    details.add_details()->PackFrom(info);
  }
  return {code, base::MessageOf(status), details.SerializeAsString()};
}

}  // namespace umbra::api
