#include "server/api/host_service.h"

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/api/unary.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr char kList[] = "hosts";

}  // namespace

absl::Status HostService::List(const v1::ListHostsRequest& request, v1::ListHostsResponse& response) {
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<catalog::HostId>(request, kList));
  ASSIGN_OR_RETURN(const auto page, catalog_.Read([&](const catalog::Stores& s) { return s.hosts.List(options); }));
  for (const catalog::Host& host : page.items) ToProto(host, agents_.IsOnline(host.id), response.add_hosts());
  response.set_next_page_token(NextPageToken(page.next_key, kList));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* HostService::ListHosts(grpc::CallbackServerContext* context,
                                                 const v1::ListHostsRequest* request, v1::ListHostsResponse* response) {
  return RunUnary(context, executor_, [=, this] { return List(*request, *response); });
}

grpc::ServerUnaryReactor* HostService::GetHost(grpc::CallbackServerContext* context, const v1::GetHostRequest* request,
                                               v1::Host* response) {
  return RunUnary(context, executor_, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::HostId id, ParseHostName(request->name(), "name"));
    ASSIGN_OR_RETURN(const catalog::Host host,
                     catalog_.Read([&](const catalog::Stores& s) { return s.hosts.Get(id); }));
    ToProto(host, agents_.IsOnline(id), response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* HostService::DeleteHost(grpc::CallbackServerContext* context,
                                                  const v1::DeleteHostRequest* request, google::protobuf::Empty*) {
  return RunUnary(context, executor_, [=, this] { return Delete(*request); });
}

absl::Status HostService::Delete(const v1::DeleteHostRequest& request) {
  ASSIGN_OR_RETURN(const catalog::HostId id, ParseHostName(request.name(), "name"));
  RETURN_IF_ERROR(Revoke(id));
  agents_.Disconnect(id, base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "this host was removed"));
  base::Log("api")->info("host removed host={}", id);
  return CancelJobsOf(id);
}

absl::Status HostService::Revoke(const catalog::HostId& id) {
  return catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::Host host, stores.hosts.Get(id));
    RETURN_IF_ERROR(stores.hosts.Revoke(id));
    catalog::Event event;
    event.time = clock_.Now();
    event.type = "HOST_REMOVED";
    event.resource = NameOf(id);
    event.message = fmt::format("{} was removed; its certificate is refused from now on", host.display_name);
    return stores.events.Append(event).status();
  });
}

// Nobody will ever do them.
absl::Status HostService::CancelJobsOf(const catalog::HostId& id) {
  ASSIGN_OR_RETURN(const auto active, engine_.Active());
  for (const catalog::ActiveJob& job : active) {
    if (job.host != id) continue;
    const absl::Status cancelled = engine_.Cancel(job.id).status();
    if (!cancelled.ok() && !absl::IsFailedPrecondition(cancelled)) return cancelled;  // it may have ended by itself
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* HostService::CreateEnrolmentToken(grpc::CallbackServerContext* context,
                                                            const v1::CreateEnrolmentTokenRequest* request,
                                                            v1::EnrolmentToken* response) {
  return RunUnary(context, executor_, [=, this] { return CreateToken(*request, *response); });
}

absl::Status HostService::CreateToken(const v1::CreateEnrolmentTokenRequest& request, v1::EnrolmentToken& response) {
  const absl::Duration ttl = request.has_ttl() ? FromProto(request.ttl()) : absl::ZeroDuration();
  ASSIGN_OR_RETURN(const auth::NewToken token, enrolment_.CreateToken(ttl, request.host_pattern()));
  response.set_token(token.text);
  ToProto(token.expire_time, response.mutable_expire_time());
  response.set_enrolment_address(enrolment_address_);
  return absl::OkStatus();
}

}  // namespace umbra::api
