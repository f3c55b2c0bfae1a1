#include "server/api/policy_convert.h"

#include <algorithm>
#include <utility>

#include "server/api/convert.h"
#include "server/api/job_request.h"
#include "server/api/names.h"
#include "server/jobs/job_engine.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

using base::Invalid;

constexpr size_t kPolicyIdSizeMax = 63;
constexpr size_t kDescriptionSizeMax = 1024;
// Selections by hand; more is an expression.
constexpr int kMembersMax = 1000;
constexpr int kSchedulesMax = 32;
constexpr int kWindowsMax = 64;
constexpr int kClosedMax = 256;
constexpr int kRetentionCountMax = 100'000;
constexpr absl::Duration kSpreadMax = absl::Hours(24);
constexpr absl::Duration kKeepMax = absl::Hours(24 * 366 * 100);

absl::Status CheckDuration(const google::protobuf::Duration& duration, absl::Duration max, std::string_view field) {
  const absl::Duration value = FromProto(duration);
  if (value >= absl::ZeroDuration() && value <= max) return absl::OkStatus();
  return Invalid("policy.{}: must be between 0 and {}", field, absl::FormatDuration(max));
}

absl::StatusOr<catalog::PolicySelection> Selection(const v1::PolicySelection& from) {
  catalog::PolicySelection selection;
  if (from.members_size() > kMembersMax || from.hosts_size() > kMembersMax) {
    return Invalid("policy.selection: at most {} members, and as many hosts; an expression selects more", kMembersMax);
  }
  for (const std::string& name : from.members()) {
    const bool files = name.find("/fileSets/") != std::string::npos;
    ASSIGN_OR_RETURN(const catalog::VmKey key, files ? ParseFileSetName(name, "policy.selection.members")
                                                     : ParseVmName(name, "policy.selection.members"));
    selection.members.push_back(key);
  }
  for (const std::string& name : from.hosts()) {
    ASSIGN_OR_RETURN(const catalog::HostId host, ParseHostName(name, "policy.selection.hosts"));
    selection.hosts.push_back(host);
  }
  selection.expression = from.expression();
  selection.everything_else = from.everything_else();
  selection.exclude = from.exclude();
  if (selection.members.empty() && selection.hosts.empty() && selection.expression.empty() &&
      !selection.everything_else) {
    return Invalid("policy.selection: selects nothing; name members, hosts, an expression, or everything_else");
  }
  return selection;
}

absl::Status ReadHow(const v1::Policy& from, catalog::Policy& policy) {
  if (!v1::BackupSpec::MechanismPreference_IsValid(from.mechanism_preference())) {
    return Invalid("policy.mechanism_preference: no such value");
  }
  policy.child_snapshot_only = from.mechanism_preference() == v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY;
  policy.forbid_saved_state = from.forbid_saved_state();
  policy.allow_crash_consistent = from.allow_crash_consistent();
  if (policy.child_snapshot_only && policy.allow_crash_consistent) {
    return Invalid("policy.allow_crash_consistent: contradicts a preference for child snapshot only");
  }
  RETURN_IF_ERROR(CheckDuration(from.freeze_timeout(), kFreezeTimeoutMax, "freeze_timeout"));
  policy.freeze_timeout = FromProto(from.freeze_timeout());
  if (policy.freeze_timeout == absl::ZeroDuration()) policy.freeze_timeout = kFreezeTimeoutDefault;
  if (!v1::Policy::Grouping_IsValid(from.grouping())) return Invalid("policy.grouping: no such value");
  policy.grouping = from.grouping() == v1::Policy::GROUPING_HOST ? catalog::PolicyGrouping::kHost
                                                                 : catalog::PolicyGrouping::kVirtualMachine;
  policy.retries_max = from.retry().max_retries();
  policy.retry_backoff = FromProto(from.retry().backoff());
  if (policy.retry_backoff == absl::ZeroDuration()) policy.retry_backoff = catalog::kRetryBackoffDefault;
  policy.priority = from.priority();
  policy.upload_bytes_per_second = from.upload_bytes_per_second();
  policy.jobs_max = from.concurrency().jobs();
  policy.host_jobs_max = from.concurrency().jobs_per_host();
  policy.weight = from.weight() == 0 ? 1 : from.weight();
  ASSIGN_OR_RETURN(policy.hooks, ToHooks(from.hooks(), "policy.hooks"));
  return jobs::CheckTerms({.priority = policy.priority,
                           .retries_max = policy.retries_max,
                           .retry_backoff = policy.retry_backoff,
                           .upload_bytes_per_second = policy.upload_bytes_per_second,
                           .policy_jobs_max = policy.jobs_max,
                           .policy_host_jobs_max = policy.host_jobs_max,
                           .policy_weight = policy.weight});
}

void FillRetention(const catalog::PolicyRetention& retention, v1::PolicyRetention* out) {
  out->set_last(retention.last);
  out->set_hourly(retention.hourly);
  out->set_daily(retention.daily);
  out->set_weekly(retention.weekly);
  out->set_monthly(retention.monthly);
  out->set_yearly(retention.yearly);
  if (retention.within > absl::ZeroDuration()) ToProto(retention.within, out->mutable_within());
}

}  // namespace

absl::StatusOr<catalog::PolicyId> CheckPolicyId(const std::string& id) {
  const bool good =
      !id.empty() && id.size() <= kPolicyIdSizeMax && id.front() != '-' &&
      std::ranges::all_of(id, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  if (!good) return Invalid("policy_id: 1 to {} of a-z, 0-9 and -, not - first", kPolicyIdSizeMax);
  return catalog::PolicyId(id);
}

absl::Status CheckRetention(const v1::PolicyRetention& r) {
  for (const int32_t count : {r.last(), r.hourly(), r.daily(), r.weekly(), r.monthly(), r.yearly()}) {
    if (count < 0 || count > kRetentionCountMax) {
      return Invalid("policy.retention: counts must be between 0 and {}", kRetentionCountMax);
    }
  }
  return CheckDuration(r.within(), kKeepMax, "retention.within");
}

catalog::PolicyRetention FromProto(const v1::PolicyRetention& r) {
  return {r.last(), r.hourly(), r.daily(), r.weekly(), r.monthly(), r.yearly(), FromProto(r.within())};
}

absl::StatusOr<catalog::Policy> FromProto(const v1::Policy& from, const maintenance::RepositorySet& repositories) {
  catalog::Policy policy;
  if (from.description().size() > kDescriptionSizeMax) {
    return Invalid("policy.description: at most {} bytes", kDescriptionSizeMax);
  }
  policy.description = from.description();
  ASSIGN_OR_RETURN(policy.selection, Selection(from.selection()));
  if (from.schedules_size() > kSchedulesMax) return Invalid("policy.schedules: at most {}", kSchedulesMax);
  if (from.windows_size() > kWindowsMax) return Invalid("policy.windows: at most {}", kWindowsMax);
  if (from.closed_size() > kClosedMax) return Invalid("policy.closed: at most {}", kClosedMax);
  policy.schedules.assign(from.schedules().begin(), from.schedules().end());
  policy.windows.assign(from.windows().begin(), from.windows().end());
  policy.closed.assign(from.closed().begin(), from.closed().end());
  policy.time_zone = from.time_zone();
  RETURN_IF_ERROR(CheckDuration(from.spread(), kSpreadMax, "spread"));
  policy.spread = FromProto(from.spread());
  policy.skip_missed = from.skip_missed();
  catalog::RepositoryId repository;
  if (!from.repository().empty()) {
    ASSIGN_OR_RETURN(repository, ParseRepositoryName(from.repository(), "policy.repository"));
  }
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* open, repositories.Find(repository));
  policy.repository = open->id;
  RETURN_IF_ERROR(ReadHow(from, policy));
  RETURN_IF_ERROR(CheckRetention(from.retention()));
  policy.retention = FromProto(from.retention());
  RETURN_IF_ERROR(CheckDuration(from.rpo(), kKeepMax, "rpo"));
  policy.rpo = FromProto(from.rpo());
  RETURN_IF_ERROR(policies::CompiledPolicy::Compile(policy).status());
  return policy;
}

std::string EtagOf(const catalog::Policy& policy) {
  return std::to_string(policy.revision);
}

void ToProto(const catalog::Policy& policy, v1::Policy* out) {
  out->set_name(NameOf(policy.id));
  out->set_description(policy.description);
  v1::PolicySelection* const selection = out->mutable_selection();
  for (const catalog::VmKey& key : policy.selection.members) selection->add_members(NameOf(key));
  for (const catalog::HostId& host : policy.selection.hosts) selection->add_hosts(NameOf(host));
  selection->set_expression(policy.selection.expression);
  selection->set_everything_else(policy.selection.everything_else);
  selection->set_exclude(policy.selection.exclude);
  for (const std::string& text : policy.schedules) out->add_schedules(text);
  for (const std::string& text : policy.windows) out->add_windows(text);
  for (const std::string& text : policy.closed) out->add_closed(text);
  out->set_time_zone(policy.time_zone);
  if (policy.spread > absl::ZeroDuration()) ToProto(policy.spread, out->mutable_spread());
  out->set_skip_missed(policy.skip_missed);
  out->set_repository(NameOf(policy.repository));
  out->set_mechanism_preference(policy.child_snapshot_only ? v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY
                                                           : v1::BackupSpec::MECHANISM_PREFERENCE_AUTO);
  out->set_forbid_saved_state(policy.forbid_saved_state);
  out->set_allow_crash_consistent(policy.allow_crash_consistent);
  ToProto(policy.freeze_timeout, out->mutable_freeze_timeout());
  out->set_grouping(policy.grouping == catalog::PolicyGrouping::kHost ? v1::Policy::GROUPING_HOST
                                                                      : v1::Policy::GROUPING_VIRTUAL_MACHINE);
  if (policy.retries_max > 0) {
    out->mutable_retry()->set_max_retries(policy.retries_max);
    ToProto(policy.retry_backoff, out->mutable_retry()->mutable_backoff());
  }
  out->set_priority(policy.priority);
  out->set_weight(policy.weight);
  out->set_upload_bytes_per_second(policy.upload_bytes_per_second);
  if (policy.jobs_max > 0 || policy.host_jobs_max > 0) {
    out->mutable_concurrency()->set_jobs(policy.jobs_max);
    out->mutable_concurrency()->set_jobs_per_host(policy.host_jobs_max);
  }
  if (policy.hooks != catalog::BackupHooks()) ToProto(policy.hooks, out->mutable_hooks());
  if (policy.retention != catalog::PolicyRetention()) FillRetention(policy.retention, out->mutable_retention());
  if (policy.rpo > absl::ZeroDuration()) ToProto(policy.rpo, out->mutable_rpo());
  out->set_paused(policy.paused);
  ToProto(policy.create_time, out->mutable_create_time());
  ToProto(policy.update_time, out->mutable_update_time());
  if (policy.last_due_time) ToProto(*policy.last_due_time, out->mutable_last_due_time());
  if (policy.last_run_time) ToProto(*policy.last_run_time, out->mutable_last_run_time());
  out->set_etag(EtagOf(policy));
}

}  // namespace umbra::api
