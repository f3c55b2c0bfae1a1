#include "server/api/host_service.h"

#include "server/api/convert.h"
#include "server/api/labels.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/policies/expression.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr size_t kDrainNoteSizeMax = 256;

}  // namespace

absl::Status HostService::List(const v1::ListHostsRequest& request, v1::ListHostsResponse& response) {
  const std::string list = request.filter().empty() ? "hosts" : "hosts with " + request.filter();
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<catalog::HostId>(request, list));
  ASSIGN_OR_RETURN(const policies::Expression filter, policies::Expression::Parse(request.filter()));
  ASSIGN_OR_RETURN(const auto page, catalog_.Read([&](const catalog::Stores& s) { return s.hosts.List(options); }));
  for (const catalog::Host& host : page.items) {
    const catalog::Subject subject{{host.id, ""}, host.display_name, host.display_name, host.labels};
    if (filter.empty() || filter.Matches(subject)) RETURN_IF_ERROR(Fill(host, *response.add_hosts()));
  }
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* HostService::ListHosts(grpc::CallbackServerContext* context,
                                                 const v1::ListHostsRequest* request, v1::ListHostsResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

grpc::ServerUnaryReactor* HostService::GetHost(grpc::CallbackServerContext* context, const v1::GetHostRequest* request,
                                               v1::Host* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::HostId id, ParseHostName(request->name(), "name"));
    ASSIGN_OR_RETURN(const catalog::Host host,
                     catalog_.Read([&](const catalog::Stores& s) { return s.hosts.Get(id); }));
    return Fill(host, *response);
  });
}

absl::Status HostService::Fill(const catalog::Host& host, v1::Host& out) {
  const std::optional<dispatch::AgentFacts> agent = agents_.Find(host.id);
  ToProto(host, agent.has_value(), &out);
  if (agent) {
    out.set_agent_problem_reason(agent->problem_reason);
    out.set_agent_problem(agent->problem);
  }
  ASSIGN_OR_RETURN(const int working, engine_.WorkingOn(host.id));
  out.set_working_job_count(working);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* HostService::DrainHost(grpc::CallbackServerContext* context,
                                                 const v1::DrainHostRequest* request, v1::Host* response) {
  return door_.Unary(context, request, response, [=, this] { return SetDrained(request->name(), true, request->note(), *response); });
}

grpc::ServerUnaryReactor* HostService::UndrainHost(grpc::CallbackServerContext* context,
                                                   const v1::UndrainHostRequest* request, v1::Host* response) {
  return door_.Unary(context, request, response, [=, this] { return SetDrained(request->name(), false, "", *response); });
}

absl::Status HostService::SetDrained(const std::string& name, bool drained, const std::string& note,
                                     v1::Host& response) {
  ASSIGN_OR_RETURN(const catalog::HostId id, ParseHostName(name, "name"));
  if (note.size() > kDrainNoteSizeMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "note: at most {} characters",
                       kDrainNoteSizeMax);
  }
  catalog::Host host;
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(host, stores.hosts.Get(id));
    const bool changed = host.drained != drained;
    host.drained = drained;
    host.drain_note = note;
    RETURN_IF_ERROR(stores.hosts.Update(host));
    ASSIGN_OR_RETURN(host, stores.hosts.Get(id));
    if (!changed) return absl::OkStatus();
    catalog::Event event;
    event.time = clock_.Now();
    event.type = drained ? "HOST_DRAINED" : "HOST_UNDRAINED";
    event.resource = NameOf(id);
    event.message = fmt::format("{} {}{}{}", host.display_name, drained ? "gets no new work" : "gets work again",
                                note.empty() ? "" : ": ", note);
    return stores.events.Append(event).status();
  }));
  engine_.SetDrained(id, drained);
  return Fill(host, response);
}

grpc::ServerUnaryReactor* HostService::SetHostLabels(grpc::CallbackServerContext* context,
                                                     const v1::SetHostLabelsRequest* request, v1::Host* response) {
  return door_.Unary(context, request, response, [=, this] { return SetLabels(*request, *response); });
}

absl::Status HostService::SetLabels(const v1::SetHostLabelsRequest& request, v1::Host& response) {
  ASSIGN_OR_RETURN(const catalog::HostId id, ParseHostName(request.name(), "name"));
  catalog::Host host;
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(host, stores.hosts.Get(id));
    ASSIGN_OR_RETURN(const catalog::Labels labels, ChangedLabels(host.labels, request.set(), request.remove()));
    if (labels == host.labels) return absl::OkStatus();
    RETURN_IF_ERROR(stores.labels.Set({id, ""}, labels));
    RETURN_IF_ERROR(stores.hosts.Update(host));  // a change of the record, which its etag tells
    ASSIGN_OR_RETURN(host, stores.hosts.Get(id));
    return stores.events.Append(LabelsEvent(NameOf(id), host.display_name, labels, clock_.Now())).status();
  }));
  return Fill(host, response);
}

grpc::ServerUnaryReactor* HostService::DeleteHost(grpc::CallbackServerContext* context,
                                                  const v1::DeleteHostRequest* request, google::protobuf::Empty* response) {
  return door_.Unary(context, request, response, [=, this] { return Delete(*request); });
}

absl::Status HostService::Delete(const v1::DeleteHostRequest& request) {
  ASSIGN_OR_RETURN(const catalog::HostId id, ParseHostName(request.name(), "name"));
  ASSIGN_OR_RETURN(const int working, engine_.WorkingOn(id));
  if (working > 0 && !request.force()) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "HOST_HAS_WORK",
                       "its agent works on {} jobs; drain the host and wait for them, or force the removal", working);
  }
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
  ASSIGN_OR_RETURN(const std::vector<catalog::JobId> jobs, engine_.JobsOf(id));
  for (const catalog::JobId& job : jobs) {
    const absl::Status cancelled = engine_.Cancel(job).status();
    if (!cancelled.ok() && !absl::IsFailedPrecondition(cancelled)) return cancelled;  // it may have ended by itself
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* HostService::CreateEnrolmentToken(grpc::CallbackServerContext* context,
                                                            const v1::CreateEnrolmentTokenRequest* request,
                                                            v1::EnrolmentToken* response) {
  return door_.Unary(context, request, response, [=, this] { return CreateToken(*request, *response); });
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
