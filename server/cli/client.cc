#include "server/cli/client.h"

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace umbra::cli {
namespace {

// The detail of this type that the error carries; an empty one: it carries none.
template <typename Detail>
Detail DetailIn(const grpc::Status& status) {
  google::rpc::Status details;
  Detail detail;
  if (!details.ParseFromString(status.error_details())) return detail;
  for (const auto& any : details.details()) {
    if (any.UnpackTo(&detail)) return detail;
  }
  return detail;
}

int ExitCodeFor(grpc::StatusCode code) {
  switch (code) {
    case grpc::StatusCode::INVALID_ARGUMENT:
    case grpc::StatusCode::OUT_OF_RANGE:
      return kExitUsage;
    case grpc::StatusCode::NOT_FOUND:
      return kExitNotFound;
    case grpc::StatusCode::UNAVAILABLE:
      return kExitUnreachable;
    case grpc::StatusCode::FAILED_PRECONDITION:
    case grpc::StatusCode::ABORTED:
    case grpc::StatusCode::ALREADY_EXISTS:
    case grpc::StatusCode::PERMISSION_DENIED:
    case grpc::StatusCode::UNAUTHENTICATED:
      return kExitRefused;
    case grpc::StatusCode::CANCELLED:
      return kExitCancelled;
    case grpc::StatusCode::DATA_LOSS:
      return kExitDamaged;
    default:
      return kExitFailed;
  }
}

}  // namespace

ExitError ToExitError(const grpc::Status& status) {
  std::string reason = DetailIn<google::rpc::ErrorInfo>(status).reason();
  std::string message = status.error_message();
  if (status.error_code() == grpc::StatusCode::UNAVAILABLE && reason.empty()) {
    message = "umbrad can't be reached (" + message + "). Is it running, and is --socket right?";
    reason = "DAEMON_UNREACHABLE";
  }
  const int64_t wait_s = DetailIn<google::rpc::RetryInfo>(status).retry_delay().seconds();
  return {ExitCodeFor(status.error_code()), message, reason, wait_s};
}

Client::Client(const std::string& socket_path) {
  grpc::ChannelArguments arguments;
  arguments.SetMaxReceiveMessageSize(16 * 1024 * 1024);
  arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
  auto channel = grpc::CreateCustomChannel("unix:" + socket_path, grpc::InsecureChannelCredentials(), arguments);
  hosts = v1::HostService::NewStub(channel);
  vms = v1::VirtualMachineService::NewStub(channel);
  writers = v1::WriterService::NewStub(channel);
  file_sets = v1::FileSetService::NewStub(channel);
  jobs = v1::JobService::NewStub(channel);
  points = v1::RecoveryPointService::NewStub(channel);
  repositories = v1::RepositoryService::NewStub(channel);
  keys = v1::RepositoryKeyService::NewStub(channel);
  events = v1::EventService::NewStub(channel);
  policies = v1::PolicyService::NewStub(channel);
  catalog = v1::CatalogService::NewStub(channel);
  logging = v1::LoggingService::NewStub(channel);
  notifications = v1::NotificationService::NewStub(channel);
  users = v1::UserService::NewStub(channel);
  roles = v1::RoleService::NewStub(channel);
  tokens = v1::TokenService::NewStub(channel);
  sessions = v1::SessionService::NewStub(channel);
  audit = v1::AuditService::NewStub(channel);
}

}  // namespace umbra::cli
