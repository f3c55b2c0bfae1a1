#include "server/api/policy_service.h"

#include <google/protobuf/util/field_mask_util.h>

#include <algorithm>
#include <utility>

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/api/policy_convert.h"
#include "server/policies/coverage.h"
#include "server/policies/preview.h"
#include "server/policies/retention_keeper.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr absl::Duration kPreviewDefault = absl::Hours(24 * 30);
constexpr absl::Duration kPreviewMax = absl::Hours(24 * 366);
constexpr int kPlannedRunsMax = 10'000;
// The names are for a person to check; the count says the rest.
constexpr int kNamesMax = 1000;
constexpr int kDisplayNamesMax = 100;
// What a policy that has no name yet is called meanwhile: no policy can have it.
constexpr char kUnnamed[] = "-";

absl::Status CheckEtag(const catalog::Policy& policy, const std::string& etag) {
  if (etag.empty() || etag == EtagOf(policy)) return absl::OkStatus();
  return base::Error(absl::StatusCode::kAborted, "POLICY_CHANGED", "policy {} was changed since it was read",
                     policy.id);
}

absl::Status AlreadyThere(const catalog::PolicyId& id) {
  return base::Error(absl::StatusCode::kAlreadyExists, "POLICY_EXISTS", "there is a policy {} already", id);
}

// When the due times themselves are others: what was due by the old ones is no promise any more.
bool SameCalendar(const catalog::Policy& a, const catalog::Policy& b) {
  return a.schedules == b.schedules && a.time_zone == b.time_zone && a.windows == b.windows && a.closed == b.closed;
}

absl::StatusOr<v1::Policy> Merged(const v1::Policy& current, const v1::UpdatePolicyRequest& request) {
  const google::protobuf::FieldMask& mask = request.update_mask();
  if (mask.paths().empty() || (mask.paths_size() == 1 && mask.paths(0) == "*")) return request.policy();
  if (!google::protobuf::util::FieldMaskUtil::IsValidFieldMask<v1::Policy>(mask)) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "update_mask: not fields of a policy");
  }
  google::protobuf::util::FieldMaskUtil::MergeOptions options;
  options.set_replace_message_fields(true);
  options.set_replace_repeated_fields(true);
  v1::Policy merged = current;
  google::protobuf::util::FieldMaskUtil::MergeMessageTo(request.policy(), mask, options, &merged);
  return merged;
}

policies::CoverageFilter FilterOf(v1::ListCoverageRequest::Filter filter) {
  switch (filter) {
    case v1::ListCoverageRequest::FILTER_UNPROTECTED:
      return policies::CoverageFilter::kUnprotected;
    case v1::ListCoverageRequest::FILTER_RPO_MISSED:
      return policies::CoverageFilter::kRpoMissed;
    case v1::ListCoverageRequest::FILTER_AT_RISK:
      return policies::CoverageFilter::kAtRisk;
    default:
      return policies::CoverageFilter::kAll;
  }
}

absl::StatusOr<absl::Duration> PeriodOf(const google::protobuf::Duration& said) {
  const absl::Duration period = FromProto(said);
  if (period == absl::ZeroDuration()) return kPreviewDefault;
  if (period > absl::ZeroDuration() && period <= kPreviewMax) return period;
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "period: at most a year");
}

absl::StatusOr<const policies::CompiledPolicy*> FindPolicy(const policies::PolicySet& set, const std::string& name) {
  ASSIGN_OR_RETURN(const catalog::PolicyId id, ParsePolicyName(name, "name"));
  const policies::CompiledPolicy* const policy = set.Find(id);
  if (policy == nullptr) return base::Error(absl::StatusCode::kNotFound, "POLICY_NOT_FOUND", "no policy {}", id);
  return policy;
}

// A virtual machine or file set of the inventory, as a selection sees it; nothing for a machine without a disk, which
// holds nothing to back up.
absl::StatusOr<std::optional<catalog::Subject>> MemberOf(const catalog::Stores& stores, const catalog::VmKey& key) {
  ASSIGN_OR_RETURN(const catalog::Vm vm, stores.vms.Get(key));
  if (vm.disks.empty()) return std::nullopt;
  ASSIGN_OR_RETURN(const catalog::Host host, stores.hosts.Get(key.host));
  std::vector<catalog::Subject> one = {{key, vm.display_name, host.display_name, {}}};
  RETURN_IF_ERROR(stores.labels.Fill(one));
  return std::move(one.front());
}

absl::StatusOr<std::optional<catalog::Subject>> FileSetOf(const catalog::Stores& stores, const catalog::VmKey& key) {
  ASSIGN_OR_RETURN(const auto sets, stores.policies.FileSets());
  const auto found = std::ranges::find(sets, key, &catalog::Subject::key);
  if (found == sets.end()) {
    return base::Error(absl::StatusCode::kNotFound, "FILE_SET_NOT_FOUND", "no file set {}", NameOf(key));
  }
  return *found;
}

}  // namespace

grpc::ServerUnaryReactor* PolicyService::CreatePolicy(Context* context, const v1::CreatePolicyRequest* request,
                                                      v1::Policy* response) {
  return door_.Unary(context, request, response, [=, this] { return Create(*request, *response); });
}

grpc::ServerUnaryReactor* PolicyService::GetPolicy(Context* context, const v1::GetPolicyRequest* request,
                                                   v1::Policy* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::PolicyId id, ParsePolicyName(request->name(), "name"));
    ASSIGN_OR_RETURN(const catalog::Policy policy,
                     catalog_.Read([&](const catalog::Stores& s) { return s.policies.Get(id); }));
    Answer(policy, *response);
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PolicyService::ListPolicies(Context* context, const v1::ListPoliciesRequest* request,
                                                      v1::ListPoliciesResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

grpc::ServerUnaryReactor* PolicyService::UpdatePolicy(Context* context, const v1::UpdatePolicyRequest* request,
                                                      v1::Policy* response) {
  return door_.Unary(context, request, response, [=, this] { return Update(*request, *response); });
}

grpc::ServerUnaryReactor* PolicyService::DeletePolicy(Context* context, const v1::DeletePolicyRequest* request,
                                                      google::protobuf::Empty* response) {
  (void)response;
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::PolicyId id, ParsePolicyName(request->name(), "name"));
    RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) -> absl::Status {
      ASSIGN_OR_RETURN(const catalog::Policy policy, s.policies.Get(id));
      RETURN_IF_ERROR(CheckEtag(policy, request->etag()));
      RETURN_IF_ERROR(s.policies.Delete(id));
      return s.events.Append(EventOf(id, "POLICY_DELETED")).status();
    }));
    scheduler_.Wake();
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PolicyService::PausePolicy(Context* context, const v1::PausePolicyRequest* request,
                                                     v1::Policy* response) {
  return door_.Unary(context, request, response, [=, this] { return SetPaused(request->name(), true, *response); });
}

grpc::ServerUnaryReactor* PolicyService::ResumePolicy(Context* context, const v1::ResumePolicyRequest* request,
                                                      v1::Policy* response) {
  return door_.Unary(context, request, response, [=, this] { return SetPaused(request->name(), false, *response); });
}

grpc::ServerUnaryReactor* PolicyService::RunPolicy(Context* context, const v1::RunPolicyRequest* request,
                                                   v1::RunPolicyResponse* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::PolicyId id, ParsePolicyName(request->name(), "name"));
    ASSIGN_OR_RETURN(const auto jobs, scheduler_.RunNow(id, request->request_id()));
    for (const catalog::JobId& job : jobs) {
      if (response->jobs_size() < kNamesMax) response->add_jobs(NameOf(job));
    }
    response->set_job_count(static_cast<int64_t>(jobs.size()));
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* PolicyService::PreviewSchedule(Context* context, const v1::PreviewScheduleRequest* request,
                                                         v1::PreviewScheduleResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return Schedule(*request, *response); });
}

grpc::ServerUnaryReactor* PolicyService::PreviewRetention(Context* context, const v1::PreviewRetentionRequest* request,
                                                          v1::PreviewRetentionResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return Retention(*request, *response); });
}

grpc::ServerUnaryReactor* PolicyService::PreviewPolicy(Context* context, const v1::PreviewPolicyRequest* request,
                                                       v1::PreviewPolicyResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return Preview(*request, *response); });
}

grpc::ServerUnaryReactor* PolicyService::GetCoverageSummary(Context* context,
                                                            const v1::GetCoverageSummaryRequest* request,
                                                            v1::CoverageSummary* response) {
  return door_.Unary(context, request, response, [=, this] { return Summary(*response); });
}

grpc::ServerUnaryReactor* PolicyService::ListCoverage(Context* context, const v1::ListCoverageRequest* request,
                                                      v1::ListCoverageResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return Coverage(*request, *response); });
}

void PolicyService::Answer(const catalog::Policy& policy, v1::Policy& response) const {
  ToProto(policy, &response);
  const auto compiled = policies::CompiledPolicy::Compile(policy);
  if (policy.paused || !compiled.ok()) return;
  const auto run = compiled->plan().Next(policy.done_time);
  if (run) ToProto(run->start, response.mutable_next_run_time());
}

catalog::Event PolicyService::EventOf(const catalog::PolicyId& id, const std::string& type) const {
  return {.time = clock_.Now(), .type = type, .resource = NameOf(id), .message = NameOf(id)};
}

absl::Status PolicyService::Create(const v1::CreatePolicyRequest& request, v1::Policy& response) {
  ASSIGN_OR_RETURN(const catalog::PolicyId id, CheckPolicyId(request.policy_id()));
  ASSIGN_OR_RETURN(catalog::Policy policy, FromProto(request.policy(), repositories_));
  policy.id = id;
  policy.create_time = policy.update_time = policy.done_time = clock_.Now();
  if (request.validate_only()) {
    const auto found = catalog_.Read([&](const catalog::Stores& s) { return s.policies.Get(id); });
    if (found.ok()) return AlreadyThere(id);
    if (!absl::IsNotFound(found.status())) return found.status();
    Answer(policy, response);
    response.clear_create_time();
    response.clear_update_time();
    response.clear_etag();
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(policy, catalog_.Write([&](catalog::Stores& s) -> absl::StatusOr<catalog::Policy> {
    RETURN_IF_ERROR(s.policies.Insert(policy));
    RETURN_IF_ERROR(s.events.Append(EventOf(id, "POLICY_CREATED")).status());
    return s.policies.Get(id);
  }));
  scheduler_.Wake();
  Answer(policy, response);
  return absl::OkStatus();
}

absl::Status PolicyService::Change(const catalog::PolicyId& id, const std::string& event,
                                   const std::function<absl::Status(catalog::Policy&)>& change, v1::Policy& response) {
  ASSIGN_OR_RETURN(const catalog::Policy policy,
                   catalog_.Write([&](catalog::Stores& s) -> absl::StatusOr<catalog::Policy> {
                     ASSIGN_OR_RETURN(catalog::Policy current, s.policies.Get(id));
                     RETURN_IF_ERROR(change(current));
                     current.update_time = clock_.Now();
                     RETURN_IF_ERROR(s.policies.Update(current));
                     RETURN_IF_ERROR(s.events.Append(EventOf(id, event)).status());
                     return s.policies.Get(id);
                   }));
  scheduler_.Wake();
  Answer(policy, response);
  return absl::OkStatus();
}

absl::Status PolicyService::Apply(const v1::UpdatePolicyRequest& request, catalog::Policy& current) const {
  RETURN_IF_ERROR(CheckEtag(current, request.policy().etag()));
  v1::Policy said;
  ToProto(current, &said);
  ASSIGN_OR_RETURN(const v1::Policy merged, Merged(said, request));
  ASSIGN_OR_RETURN(catalog::Policy updated, FromProto(merged, repositories_));
  updated.id = current.id;
  updated.paused = current.paused;
  updated.create_time = current.create_time;
  updated.update_time = current.update_time;
  updated.last_due_time = current.last_due_time;
  updated.last_run_time = current.last_run_time;
  updated.revision = current.revision;
  updated.done_time = SameCalendar(updated, current) ? current.done_time : clock_.Now();
  current = std::move(updated);
  return absl::OkStatus();
}

absl::Status PolicyService::Update(const v1::UpdatePolicyRequest& request, v1::Policy& response) {
  ASSIGN_OR_RETURN(const catalog::PolicyId id, ParsePolicyName(request.policy().name(), "policy.name"));
  if (request.validate_only()) {
    ASSIGN_OR_RETURN(catalog::Policy policy,
                     catalog_.Read([&](const catalog::Stores& s) { return s.policies.Get(id); }));
    RETURN_IF_ERROR(Apply(request, policy));
    Answer(policy, response);
    return absl::OkStatus();
  }
  return Change(
      id, "POLICY_UPDATED", [&](catalog::Policy& current) { return Apply(request, current); }, response);
}

absl::Status PolicyService::SetPaused(const std::string& name, bool paused, v1::Policy& response) {
  ASSIGN_OR_RETURN(const catalog::PolicyId id, ParsePolicyName(name, "name"));
  const auto change = [&](catalog::Policy& current) {
    if (current.paused && !paused) current.done_time = std::max(current.done_time, clock_.Now());
    current.paused = paused;
    return absl::OkStatus();
  };
  return Change(id, paused ? "POLICY_PAUSED" : "POLICY_RESUMED", change, response);
}

absl::Status PolicyService::KeepSelecting(const std::string& member, std::vector<catalog::Policy>& policies) {
  const bool files = member.find("/fileSets/") != std::string::npos;
  ASSIGN_OR_RETURN(const catalog::VmKey key,
                   files ? ParseFileSetName(member, "member") : ParseVmName(member, "member"));
  using Member = absl::StatusOr<std::optional<catalog::Subject>>;
  ASSIGN_OR_RETURN(const auto subject, catalog_.Read([&](const catalog::Stores& s) -> Member {
    return files ? FileSetOf(s, key) : MemberOf(s, key);
  }));
  const policies::PolicySet set(policies);
  std::erase_if(policies, [&](const catalog::Policy& policy) {
    const policies::CompiledPolicy* const compiled = set.Find(policy.id);
    return !subject || compiled == nullptr || !set.Selects(*compiled, *subject);
  });
  return absl::OkStatus();
}

absl::Status PolicyService::List(const v1::ListPoliciesRequest& request, v1::ListPoliciesResponse& response) {
  const std::string list = request.member().empty() ? "policies" : "policies of " + request.member();
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<std::string>(request, list));
  ASSIGN_OR_RETURN(auto all, catalog_.Read([](const catalog::Stores& s) { return s.policies.All(); }));
  if (!request.member().empty()) RETURN_IF_ERROR(KeepSelecting(request.member(), all));
  for (const catalog::Policy& policy : all) {
    if (options.after_key && policy.id.value <= *options.after_key) continue;
    if (response.policies_size() == options.page_size) {
      const std::string& name = response.policies(response.policies_size() - 1).name();
      const std::optional<std::string> last = name.substr(name.find('/') + 1);
      response.set_next_page_token(NextPageToken(last, list));
      break;
    }
    Answer(policy, *response.add_policies());
  }
  return absl::OkStatus();
}

absl::Status PolicyService::Schedule(const v1::PreviewScheduleRequest& request, v1::PreviewScheduleResponse& response) {
  ASSIGN_OR_RETURN(const auto set, policies::PolicySet::Load(catalog_));
  ASSIGN_OR_RETURN(const policies::CompiledPolicy* policy, FindPolicy(set, request.name()));
  ASSIGN_OR_RETURN(const absl::Duration period, PeriodOf(request.period()));
  return FillSchedule(set, *policy, policy->record().done_time, period, response).status();
}

absl::StatusOr<std::vector<catalog::Subject>> PolicyService::FillSchedule(const policies::PolicySet& set,
                                                                          const policies::CompiledPolicy& policy,
                                                                          absl::Time done, absl::Duration period,
                                                                          v1::PreviewScheduleResponse& response) {
  const absl::Time now = clock_.Now();
  const calendar::Plan& plan = policy.plan();
  for (auto run = plan.Next(std::max(now, done)); run && run->start <= now + period; run = plan.Next(run->due)) {
    if (response.runs_size() == kPlannedRunsMax) {
      response.set_truncated(true);
      break;
    }
    v1::PlannedRun* const planned = response.add_runs();
    ToProto(run->due, planned->mutable_due_time());
    ToProto(run->start, planned->mutable_start_time());
    ToProto(run->start + run->Spread(policy.record().spread), planned->mutable_last_start_time());
    if (run->until) ToProto(*run->until, planned->mutable_not_after());
  }
  ASSIGN_OR_RETURN(auto selected, policies::Select(catalog_, set, policy));
  for (const catalog::Subject& subject : selected) {
    if (response.members_size() < kNamesMax) response.add_members(NameOf(subject.key));
  }
  response.set_member_count(static_cast<int64_t>(selected.size()));
  response.set_job_count(static_cast<int64_t>(policies::GroupMembers(policy.record(), selected).size()));
  return selected;
}

absl::Status PolicyService::Preview(const v1::PreviewPolicyRequest& request, v1::PreviewPolicyResponse& response) {
  ASSIGN_OR_RETURN(const absl::Duration period, PeriodOf(request.period()));
  ASSIGN_OR_RETURN(catalog::Policy policy, FromProto(request.policy(), repositories_));
  policy.id = catalog::PolicyId(kUnnamed);
  if (!request.policy().name().empty()) {
    ASSIGN_OR_RETURN(policy.id, ParsePolicyName(request.policy().name(), "policy.name"));
  }
  ASSIGN_OR_RETURN(auto all, catalog_.Read([](const catalog::Stores& s) { return s.policies.All(); }));
  const policies::PolicySet set = policies::WithPolicy(std::move(all), policy);
  const policies::CompiledPolicy* const compiled = set.Find(policy.id);
  if (compiled == nullptr) return base::Error(absl::StatusCode::kInternal, "INTERNAL", "the policy can't be read");
  const absl::Time now = clock_.Now();
  ASSIGN_OR_RETURN(const auto selected, FillSchedule(set, *compiled, now, period, *response.mutable_schedule()));
  for (const catalog::Subject& subject : selected) {
    if (response.member_display_names_size() == kDisplayNamesMax) break;
    response.add_member_display_names(subject.display_name);
  }
  for (const retention::Verdict& verdict : policies::ExpectedPoints(*compiled, now)) {
    v1::ExpectedRecoveryPoint* const point = response.add_expected_points();
    ToProto(verdict.time, point->mutable_point_time());
    for (const std::string& why : verdict.kept_by) point->add_kept_by(why);
  }
  return absl::OkStatus();
}

absl::Status PolicyService::Summary(v1::CoverageSummary& response) {
  ASSIGN_OR_RETURN(const auto sums, board_.Get());
  response.set_total_count(sums->total);
  response.set_protected_count(sums->protected_count);
  response.set_failing_count(sums->failing);
  response.set_unprotected_count(sums->unprotected);
  response.set_never_count(sums->never);
  response.set_late_count(sums->late);
  for (const policies::FailingVm& vm : sums->newest_failing) {
    v1::FailingVirtualMachine* const out = response.add_failing();
    out->set_virtual_machine(NameOf(vm.key));
    out->set_display_name(vm.display_name);
    out->set_job(NameOf(vm.job));
    out->mutable_error()->set_reason(vm.error.reason);
    out->mutable_error()->set_message(vm.error.message);
  }
  return absl::OkStatus();
}

absl::Status PolicyService::Retention(const v1::PreviewRetentionRequest& request,
                                      v1::PreviewRetentionResponse& response) {
  ASSIGN_OR_RETURN(const auto set, policies::PolicySet::Load(catalog_));
  ASSIGN_OR_RETURN(const policies::CompiledPolicy* policy, FindPolicy(set, request.name()));
  std::optional<retention::RuleSet> instead;
  if (request.has_retention()) {
    RETURN_IF_ERROR(CheckRetention(request.retention()));
    catalog::Policy tried = policy->record();
    tried.retention = FromProto(request.retention());
    ASSIGN_OR_RETURN(const auto compiled, policies::CompiledPolicy::Compile(tried));
    instead = compiled.Rules();
  }
  const std::string list = request.name() + ":previewRetention";
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<catalog::VmKey>(request, list));
  ASSIGN_OR_RETURN(const auto page,
                   catalog_.Read([&](const catalog::Stores& s) { return s.policies.PointSubjects(options); }));
  for (const catalog::Subject& subject : page.items) {
    if (!set.Selects(*policy, subject)) continue;
    ASSIGN_OR_RETURN(const auto verdicts,
                     policies::DecideFor(catalog_, set, subject, clock_.Now(), instead ? &*instead : nullptr));
    for (const retention::Verdict& verdict : verdicts) {
      v1::RetentionVerdict* const out = response.add_verdicts();
      out->set_recovery_point(NameOf(catalog::RecoveryPointId(verdict.id)));
      out->set_member(NameOf(subject.key));
      out->set_display_name(subject.display_name);
      ToProto(verdict.time, out->mutable_point_time());
      for (const std::string& why : verdict.kept_by) out->add_kept_by(why);
    }
  }
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

absl::Status PolicyService::Coverage(const v1::ListCoverageRequest& request, v1::ListCoverageResponse& response) {
  if (!v1::ListCoverageRequest::Filter_IsValid(request.filter())) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "filter: no such value");
  }
  const std::string list = fmt::format("coverage filter={}", static_cast<int>(request.filter()));
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<catalog::VmKey>(request, list));
  ASSIGN_OR_RETURN(const auto set, policies::PolicySet::Load(catalog_));
  ASSIGN_OR_RETURN(const auto page,
                   policies::ListCoverage(catalog_, set, FilterOf(request.filter()), clock_.Now(), options));
  for (const policies::CoverageEntry& entry : page.items) {
    v1::Coverage* const out = response.add_coverage();
    out->set_virtual_machine(NameOf(entry.subject.key));
    out->set_display_name(entry.subject.display_name);
    out->set_host_display_name(entry.subject.host_name);
    for (const catalog::PolicyId& id : entry.policies) out->add_policies(NameOf(id));
    if (entry.rpo) ToProto(*entry.rpo, out->mutable_rpo());
    if (entry.last_good) ToProto(*entry.last_good, out->mutable_last_good_time());
    out->set_rpo_missed(entry.rpo_missed);
  }
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

}  // namespace umbra::api
