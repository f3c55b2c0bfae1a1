// The connection to umbrad, and how its errors end the program.
#ifndef UMBRA_SERVER_CLI_CLIENT_H_
#define UMBRA_SERVER_CLI_CLIENT_H_

#include <grpcpp/grpcpp.h>

#include <memory>
#include <string>

#include "umbra/v1/catalog.grpc.pb.h"
#include "umbra/v1/event.grpc.pb.h"
#include "umbra/v1/file_set.grpc.pb.h"
#include "umbra/v1/host.grpc.pb.h"
#include "umbra/v1/identity.grpc.pb.h"
#include "umbra/v1/job.grpc.pb.h"
#include "umbra/v1/logging.grpc.pb.h"
#include "umbra/v1/notification.grpc.pb.h"
#include "umbra/v1/policy.grpc.pb.h"
#include "umbra/v1/recovery_point.grpc.pb.h"
#include "umbra/v1/repository.grpc.pb.h"
#include "umbra/v1/repository_key.grpc.pb.h"
#include "umbra/v1/virtual_machine.grpc.pb.h"
#include "umbra/v1/writer.grpc.pb.h"

namespace umbra::cli {

// Exit codes are part of the interface for scripts (umbra --help lists them).
enum ExitCode : int {
  kExitOk = 0,
  kExitFailed = 1,
  kExitUsage = 2,
  kExitNotFound = 3,
  kExitUnreachable = 4,
  kExitRefused = 5,
  kExitCancelled = 6,
  kExitDamaged = 7,
};

struct ExitError {
  int code;
  std::string message;
  std::string reason;  // stable; empty when there is none
  int64_t retry_after_s = 0;  // how long to wait before the next try; 0: the error doesn't say
};

// The error of a call as the end of the program.
ExitError ToExitError(const grpc::Status& status);

class Client {
 public:
  explicit Client(const std::string& socket_path);

  std::unique_ptr<v1::HostService::Stub> hosts;
  std::unique_ptr<v1::VirtualMachineService::Stub> vms;
  std::unique_ptr<v1::WriterService::Stub> writers;
  std::unique_ptr<v1::FileSetService::Stub> file_sets;
  std::unique_ptr<v1::JobService::Stub> jobs;
  std::unique_ptr<v1::RecoveryPointService::Stub> points;
  std::unique_ptr<v1::RepositoryService::Stub> repositories;
  std::unique_ptr<v1::RepositoryKeyService::Stub> keys;
  std::unique_ptr<v1::EventService::Stub> events;
  std::unique_ptr<v1::PolicyService::Stub> policies;
  std::unique_ptr<v1::CatalogService::Stub> catalog;
  std::unique_ptr<v1::LoggingService::Stub> logging;
  std::unique_ptr<v1::NotificationService::Stub> notifications;
  std::unique_ptr<v1::UserService::Stub> users;
  std::unique_ptr<v1::RoleService::Stub> roles;
  std::unique_ptr<v1::TokenService::Stub> tokens;
  std::unique_ptr<v1::SessionService::Stub> sessions;
  std::unique_ptr<v1::AuditService::Stub> audit;
};

// Calls `method` of `stub` and returns the answer; throws ExitError. Waits at most a minute.
template <typename Stub, typename Request, typename Response>
Response Call(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*),
              const Request& request) {
  grpc::ClientContext context;
  gpr_timespec deadline = gpr_time_add(gpr_now(GPR_CLOCK_MONOTONIC), gpr_time_from_seconds(60, GPR_TIMESPAN));
  context.set_deadline(deadline);
  Response response;
  if (grpc::Status status = (stub.*method)(&context, request, &response); !status.ok()) throw ToExitError(status);
  return response;
}

// All pages of a list, at most `limit` resources (0: all), each given to `each`.
template <typename Stub, typename Request, typename Response, typename Resources, typename Each>
void ForEach(Stub& stub, grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&, Response*), Request request,
             const Resources& (Response::*resources)() const, int limit, Each each) {
  int count = 0;
  do {
    const Response page = Call(stub, method, request);
    for (const auto& resource : (page.*resources)()) {
      if (limit > 0 && count++ >= limit) return;
      each(resource);
    }
    request.set_page_token(page.next_page_token());
  } while (!request.page_token().empty());
}

}  // namespace umbra::cli

#endif  // UMBRA_SERVER_CLI_CLIENT_H_
