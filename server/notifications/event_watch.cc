#include "server/notifications/event_watch.h"

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

constexpr std::string_view kBackupPrefix = "failure:backup:";
constexpr std::string_view kUpkeepPrefix = "failure:upkeep:";
constexpr std::string_view kJobs = "jobs/";
constexpr std::string_view kPoints = "recoveryPoints/";

std::string BackupKey(const catalog::VmKey& key) {
  return fmt::format("{}{}", kBackupPrefix, SubjectOf(key));
}

std::string UpkeepKey(const catalog::Job& job) {
  return fmt::format("{}{}:repositories/{}", kUpkeepPrefix, catalog::NameOf(catalog::KindOf(job.spec)),
                     catalog::RepositoryOf(job.spec));
}

// A machine that is no longer known is called by its id.
std::string TitleOf(const catalog::Stores& stores, const catalog::VmKey& key) {
  const auto vm = stores.vms.Get(key);
  if (vm.ok()) return vm->display_name;
  const auto files = stores.file_sets.Get(key);
  return files.ok() ? files->display_name : key.uuid;
}

// Of a whole repository: what one recovery point's verification finds says nothing of the others.
bool IsUpkeep(const catalog::Job& job) {
  if (const auto* verify = std::get_if<catalog::VerifySpec>(&job.spec)) return verify->recovery_point.empty();
  const auto* prune = std::get_if<catalog::PruneSpec>(&job.spec);
  return prune != nullptr && !prune->dry_run;
}

}  // namespace

EventWatch::EventWatch(const OpenConditions& open) {
  for (const auto& [key, condition] : open) {
    open_keys_.push_back(key);
    backups_failed_ = backups_failed_ || key.starts_with(kBackupPrefix);
    upkeep_failed_ = upkeep_failed_ || key.starts_with(kUpkeepPrefix);
  }
}

absl::Status EventWatch::Read(const catalog::Stores& stores, const catalog::Event& event,
                              std::vector<Change>& changes) {
  if (event.type == "JOB_STATE_CHANGED") return OnJob(stores, event, changes);
  if (event.type == "RECOVERY_POINT_CREATED") return OnPoint(stores, event, changes);
  if (event.type == "HOST_REMOVED") OnHostRemoved(event.resource, changes);
  return absl::OkStatus();
}

absl::Status EventWatch::OnJob(const catalog::Stores& stores, const catalog::Event& event,
                               std::vector<Change>& changes) {
  const bool failed = event.severity == catalog::Severity::kError;
  if (!event.resource.starts_with(kJobs) || (!failed && !upkeep_failed_)) return absl::OkStatus();
  const auto job = stores.jobs.Get(catalog::JobId(event.resource.substr(kJobs.size())));
  if (absl::IsNotFound(job.status())) {
    if (failed) {
      changes.push_back({Change::Kind::kOnce, NoticeTopic::kFailure, "failure:" + event.resource, event.resource,
                         "a job", event.message});
    }
    return absl::OkStatus();
  }
  RETURN_IF_ERROR(job.status());
  if (failed) return OnFailedJob(stores, *job, changes);
  if (job->state == catalog::JobState::kSucceeded && IsUpkeep(*job)) {
    changes.push_back({.kind = Change::Kind::kEnd,
                       .key = UpkeepKey(*job),
                       .message = fmt::format("{} succeeded", catalog::NameOf(catalog::KindOf(job->spec)))});
  }
  return absl::OkStatus();
}

absl::Status EventWatch::OnFailedJob(const catalog::Stores& stores, const catalog::Job& job,
                                     std::vector<Change>& changes) {
  const std::string_view kind = catalog::NameOf(catalog::KindOf(job.spec));
  const std::string message =
      fmt::format("{} failed: {} ({}), jobs/{}", kind, job.error.message, job.error.reason, job.id);
  if (const auto* backup = std::get_if<catalog::BackupSpec>(&job.spec)) {
    backups_failed_ = true;
    for (const catalog::VmKey& key : backup->vms) {
      open_keys_.push_back(BackupKey(key));
      changes.push_back(
          {Change::Kind::kBegin, NoticeTopic::kFailure, BackupKey(key), SubjectOf(key), TitleOf(stores, key), message});
    }
    return absl::OkStatus();
  }
  if (IsUpkeep(job)) {
    upkeep_failed_ = true;
    const std::string repository = fmt::format("repositories/{}", catalog::RepositoryOf(job.spec));
    changes.push_back({Change::Kind::kBegin, NoticeTopic::kFailure, UpkeepKey(job), repository,
                       fmt::format("repository {}", catalog::RepositoryOf(job.spec)), message});
    return absl::OkStatus();
  }
  const std::string name = fmt::format("jobs/{}", job.id);
  changes.push_back(
      {Change::Kind::kOnce, NoticeTopic::kFailure, "failure:" + name, name, fmt::format("a {}", kind), message});
  return absl::OkStatus();
}

absl::Status EventWatch::OnPoint(const catalog::Stores& stores, const catalog::Event& event,
                                 std::vector<Change>& changes) {
  if (!backups_failed_ || !event.resource.starts_with(kPoints)) return absl::OkStatus();
  const auto point = stores.recovery_points.Get(catalog::RecoveryPointId(event.resource.substr(kPoints.size())));
  if (absl::IsNotFound(point.status())) return absl::OkStatus();
  RETURN_IF_ERROR(point.status());
  changes.push_back({.kind = Change::Kind::kEnd,
                     .key = BackupKey(point->vm),
                     .message = fmt::format("it was backed up again, {}", event.resource)});
  return absl::OkStatus();
}

void EventWatch::OnHostRemoved(const std::string& host, std::vector<Change>& changes) {
  // Keys end with their subject.
  for (const std::string& key : open_keys_) {
    const size_t at = key.find(host);
    if (at == std::string::npos) continue;
    const size_t end = at + host.size();
    if (end == key.size() || key[end] == '/') changes.push_back({.kind = Change::Kind::kForget, .key = key});
  }
}

}  // namespace umbra::notifications
