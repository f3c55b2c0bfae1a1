#include "storage/catalog/records.h"

namespace umbra::catalog {

std::string_view NameOf(JobKind kind) {
  switch (kind) {
    case JobKind::kBackup:
      return "backup";
    case JobKind::kRestore:
      return "restore";
    case JobKind::kVerify:
      return "verify";
    case JobKind::kPrune:
      return "prune";
  }
  return "unknown";
}

std::string_view NameOf(JobState state) {
  switch (state) {
    case JobState::kNone:
      return "none";
    case JobState::kQueued:
      return "queued";
    case JobState::kDispatching:
      return "dispatching";
    case JobState::kRunning:
      return "running";
    case JobState::kCommitting:
      return "committing";
    case JobState::kSucceeded:
      return "succeeded";
    case JobState::kFailed:
      return "failed";
    case JobState::kCancelled:
      return "cancelled";
    case JobState::kCancelling:
      return "cancelling";
  }
  return "unknown";
}

std::string_view NameOf(JobPhase phase) {
  switch (phase) {
    case JobPhase::kNone:
      return "none";
    case JobPhase::kGathering:
      return "gathering";
    case JobPhase::kPreparing:
      return "preparing";
    case JobPhase::kFreezing:
      return "freezing";
    case JobPhase::kSnapshot:
      return "snapshot";
    case JobPhase::kTransferring:
      return "transferring";
    case JobPhase::kCompleting:
      return "completing";
  }
  return "unknown";
}

JobKind KindOf(const JobSpec& spec) {
  return static_cast<JobKind>(spec.index() + 1);
}

RepositoryId RepositoryOf(const JobSpec& spec) {
  return std::visit([](const auto& of_kind) { return of_kind.repository; }, spec);
}

HostId HostOf(const JobSpec& spec) {
  if (const auto* backup = std::get_if<BackupSpec>(&spec)) {
    return backup->vms.empty() ? HostId() : backup->vms.front().host;
  }
  if (const auto* restore = std::get_if<RestoreSpec>(&spec)) return restore->target_host;
  return HostId();
}

std::vector<VmKey> VmsOf(const JobSpec& spec) {
  if (const auto* backup = std::get_if<BackupSpec>(&spec)) return backup->vms;
  const auto* restore = std::get_if<RestoreSpec>(&spec);
  if (restore != nullptr && !restore->replaced_vm.empty()) return {restore->replaced_vm};
  return {};
}

}  // namespace umbra::catalog
