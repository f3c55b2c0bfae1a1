#include "server/api/job_request.h"

#include <algorithm>
#include <set>
#include <string>
#include <utility>

#include "server/api/convert.h"
#include "server/api/names.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::api {
namespace {

using base::Invalid;
using catalog::Stores;

// Text that ends up in a hypervisor's configuration or in a path.
bool HasControlCharacter(const std::string& text) {
  return std::any_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

bool IsHookName(const std::string& name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  };
  return name.size() <= kHookNameSizeMax && !name.starts_with('.') && std::ranges::all_of(name, plain);
}

class SpecReader {
 public:
  SpecReader(const Stores& stores, const maintenance::RepositorySet& repositories)
      : stores_(stores), repositories_(repositories) {}

  absl::StatusOr<catalog::JobSpec> Read(const v1::Job& job) const {
    switch (job.spec_case()) {
      case v1::Job::kBackup:
        return Backup(job.backup());
      case v1::Job::kRestore:
        return Restore(job.restore());
      case v1::Job::kVerify:
        return Verify(job.verify());
      case v1::Job::kPrune:
        return Prune(job.prune());
      case v1::Job::SPEC_NOT_SET:
        break;
    }
    return Invalid("job: one of backup, restore, verify, prune is needed");
  }

 private:
  absl::StatusOr<catalog::JobSpec> Backup(const v1::BackupSpec& from) const {
    catalog::BackupSpec spec;
    ASSIGN_OR_RETURN(spec.vms, Vms(from));
    RETURN_IF_ERROR(AddFileSets(from, spec.vms));
    ASSIGN_OR_RETURN(spec.repository, Repository(from.repository(), "backup.repository"));
    spec.allow_crash_consistent = from.allow_crash_consistent();
    if (!v1::BackupSpec::MechanismPreference_IsValid(from.mechanism_preference())) {
      return Invalid("backup.mechanism_preference: no such value");
    }
    spec.child_snapshot_only = from.mechanism_preference() == v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY;
    spec.forbid_saved_state = from.forbid_saved_state();
    spec.full_read = from.full_read();
    ASSIGN_OR_RETURN(spec.hooks, ToHooks(from.hooks(), "backup.hooks"));
    if (spec.child_snapshot_only && spec.allow_crash_consistent) {
      return Invalid("backup.allow_crash_consistent: contradicts a preference for child snapshot only");
    }
    spec.freeze_timeout = from.has_freeze_timeout() ? FromProto(from.freeze_timeout()) : absl::ZeroDuration();
    if (spec.freeze_timeout == absl::ZeroDuration()) spec.freeze_timeout = kFreezeTimeoutDefault;
    if (spec.freeze_timeout < absl::ZeroDuration() || spec.freeze_timeout > kFreezeTimeoutMax) {
      return Invalid("backup.freeze_timeout: must be between 0 and {}", absl::FormatDuration(kFreezeTimeoutMax));
    }
    return spec;
  }

  absl::StatusOr<std::vector<catalog::VmKey>> Vms(const v1::BackupSpec& from) const {
    if (from.virtual_machines().empty() && from.file_sets().empty()) {
      return Invalid("backup.virtual_machines: at least one is needed, or one of file_sets");
    }
    if (from.virtual_machines_size() + from.file_sets_size() > kVmsPerBackupMax) {
      return Invalid("backup.virtual_machines: at most {} in one backup, with file_sets", kVmsPerBackupMax);
    }
    std::vector<catalog::VmKey> vms;
    std::set<std::string> seen;
    for (const std::string& name : from.virtual_machines()) {
      ASSIGN_OR_RETURN(catalog::VmKey key, ParseVmName(name, "backup.virtual_machines"));
      if (!seen.insert(name).second) return Invalid("backup.virtual_machines: {} is there twice", name);
      if (!vms.empty() && vms.front().host != key.host) {
        return Invalid("backup.virtual_machines: all must be on one host; make a backup for each host");
      }
      ASSIGN_OR_RETURN(const catalog::Vm vm, stores_.vms.Get(key));
      if (vm.disks.empty()) {
        return base::Error(absl::StatusCode::kFailedPrecondition, "NO_DISKS", "{} has no disk that can be backed up{}",
                           vm.display_name, vm.excluded_disks.empty() ? "" : ": " + vm.excluded_disks.front().message);
      }
      vms.push_back(std::move(key));
    }
    return vms;
  }

  absl::Status AddFileSets(const v1::BackupSpec& from, std::vector<catalog::VmKey>& keys) const {
    std::set<std::string> seen;
    for (const std::string& name : from.file_sets()) {
      ASSIGN_OR_RETURN(catalog::VmKey key, ParseFileSetName(name, "backup.file_sets"));
      if (!seen.insert(name).second) return Invalid("backup.file_sets: {} is there twice", name);
      if (!keys.empty() && keys.front().host != key.host) {
        return Invalid("backup.file_sets: all must be on one host, that of the virtual machines; make a backup for each host");
      }
      RETURN_IF_ERROR(stores_.file_sets.Get(key).status());
      keys.push_back(std::move(key));
    }
    return absl::OkStatus();
  }

  // Files go to a folder that the caller names, and nothing of a virtual machine means anything.
  static absl::Status Files(const v1::RestoreSpec& from, catalog::RestoreSpec& spec) {
    if (spec.mode != catalog::RestoreMode::kNew) {
      return Invalid("restore.mode: the files of a file set are restored to a folder, which is MODE_NEW");
    }
    const bool of_vms = !from.display_name().empty() || from.power_on() || from.resume_state() || from.take_cluster_offline();
    if (of_vms) return Invalid("restore.display_name, power_on, resume_state, take_cluster_offline: only for virtual machines");
    RETURN_IF_ERROR(Folder(from.target_folder()));
    if (from.target_folder().empty()) return Invalid("restore.target_folder: needed for the files of a file set");
    if (from.path().size() > kFolderSizeMax) return Invalid("restore.path: at most {} bytes", kFolderSizeMax);
    spec.target_folder = from.target_folder();
    spec.path = from.path();
    spec.overwrite = from.overwrite();
    return absl::OkStatus();
  }

  static absl::Status Folder(const std::string& folder) {
    if (!folder.empty() && (folder.front() != '/' || folder.size() > kFolderSizeMax || HasControlCharacter(folder))) {
      return Invalid("restore.target_folder: must be an absolute path of at most {} bytes", kFolderSizeMax);
    }
    return absl::OkStatus();
  }

  absl::StatusOr<catalog::JobSpec> Restore(const v1::RestoreSpec& from) const {
    catalog::RestoreSpec spec;
    ASSIGN_OR_RETURN(spec.recovery_point, ParseRecoveryPointName(from.recovery_point(), "restore.recovery_point"));
    if (!v1::RestoreSpec::Mode_IsValid(from.mode()) || from.mode() == v1::RestoreSpec::MODE_UNSPECIFIED) {
      return Invalid("restore.mode: must be MODE_NEW or MODE_IN_PLACE");
    }
    ASSIGN_OR_RETURN(const catalog::RecoveryPoint point, VisiblePoint(spec.recovery_point));
    RETURN_IF_ERROR(repositories_.Find(point.repository).status());
    spec.repository = point.repository;
    spec.mode = static_cast<catalog::RestoreMode>(from.mode());
    spec.target_host = point.vm.host;
    if (!from.target_host().empty()) {
      ASSIGN_OR_RETURN(spec.target_host, ParseHostName(from.target_host(), "restore.target_host"));
    }
    RETURN_IF_ERROR(stores_.hosts.Get(spec.target_host).status());
    if (filetree::FileSetOf(point.vm.uuid).has_value()) {
      RETURN_IF_ERROR(Files(from, spec));
      return spec;
    }
    if (!from.path().empty() || from.overwrite()) return Invalid("restore.path, overwrite: only for the files of a file set");
    RETURN_IF_ERROR(NameAndPlace(from, point, spec));
    spec.power_on = from.power_on();
    spec.resume_state = from.resume_state();
    spec.take_cluster_offline = from.take_cluster_offline();
    if (spec.take_cluster_offline && spec.mode != catalog::RestoreMode::kInPlace) {
      return Invalid("restore.take_cluster_offline: only with MODE_IN_PLACE, since a new virtual machine is no resource of a cluster");
    }
    RETURN_IF_ERROR(CheckResume(point, spec));
    return spec;
  }

  // Memory belongs to a virtual machine of that name and uuid, and to no other.
  static absl::Status CheckResume(const catalog::RecoveryPoint& point, const catalog::RestoreSpec& spec) {
    if (!spec.resume_state) return absl::OkStatus();
    if (spec.mode != catalog::RestoreMode::kInPlace) {
      return Invalid("restore.resume_state: only with MODE_IN_PLACE, since saved memory belongs to the name and uuid of {}",
                     point.vm_display_name);
    }
    if (point.state_bytes > 0) return absl::OkStatus();
    return base::Error(absl::StatusCode::kFailedPrecondition, "STATE_NOT_FOUND",
                       "{} holds no memory; restore it without resuming, and it boots from its disks", NameOf(point.id));
  }

  static absl::Status NameAndPlace(const v1::RestoreSpec& from, const catalog::RecoveryPoint& point,
                                   catalog::RestoreSpec& spec) {
    spec.display_name = from.display_name();
    spec.target_folder = from.target_folder();
    if (spec.mode == catalog::RestoreMode::kInPlace) {
      if (!spec.display_name.empty()) return Invalid("restore.display_name: only with MODE_NEW");
      if (spec.target_host != point.vm.host) {
        return Invalid("restore.target_host: MODE_IN_PLACE is only possible on the host of the backup");
      }
      spec.replaced_vm = point.vm;
    } else if (spec.display_name.empty()) {
      spec.display_name = point.vm_display_name + "-restored";
    }
    if (spec.display_name.size() > kDisplayNameSizeMax || HasControlCharacter(spec.display_name) ||
        spec.display_name.find('/') != std::string::npos) {
      return Invalid("restore.display_name: at most {} bytes, no '/', no control characters", kDisplayNameSizeMax);
    }
    return Folder(spec.target_folder);
  }

  absl::StatusOr<catalog::RecoveryPoint> VisiblePoint(const catalog::RecoveryPointId& id) const {
    ASSIGN_OR_RETURN(catalog::RecoveryPoint point, stores_.recovery_points.Get(id));
    if (!point.protection.remove_time) return point;
    return base::Error(absl::StatusCode::kNotFound, "RECOVERY_POINT_NOT_FOUND",
                       "{} is removed; undelete it first: umbra recovery-point undelete {}", NameOf(id), id);
  }

  absl::StatusOr<catalog::JobSpec> Prune(const v1::PruneSpec& from) const {
    catalog::PruneSpec spec;
    ASSIGN_OR_RETURN(spec.repository, Repository(from.repository(), "prune.repository"));
    spec.dry_run = from.dry_run();
    return spec;
  }

  absl::StatusOr<catalog::JobSpec> Verify(const v1::VerifySpec& from) const {
    catalog::VerifySpec spec;
    if (!v1::VerifySpec::Level_IsValid(from.level())) return Invalid("verify.level: no such value");
    spec.level = static_cast<catalog::VerifyLevel>(from.level());
    if (from.has_time_budget()) spec.time_budget = FromProto(from.time_budget());
    spec.byte_budget = from.byte_budget();
    if (spec.time_budget < absl::ZeroDuration() || spec.byte_budget < 0) {
      return Invalid("verify.time_budget, verify.byte_budget: must not be negative");
    }
    if (spec.level == catalog::VerifyLevel::kUnspecified) {
      spec.level = from.recovery_point().empty() ? catalog::VerifyLevel::kFull : catalog::VerifyLevel::kDisks;
    }
    if (!from.recovery_point().empty() && spec.level != catalog::VerifyLevel::kDisks) {
      return Invalid("verify.level: a recovery point is verified by reading its disks, at LEVEL_DISKS");
    }
    if (from.recovery_point().empty()) {
      ASSIGN_OR_RETURN(spec.repository, Repository(from.repository(), "verify.repository"));
      return spec;
    }
    ASSIGN_OR_RETURN(spec.recovery_point, ParseRecoveryPointName(from.recovery_point(), "verify.recovery_point"));
    ASSIGN_OR_RETURN(const catalog::RecoveryPoint point, VisiblePoint(spec.recovery_point));
    ASSIGN_OR_RETURN(
        spec.repository,
        Repository(from.repository().empty() ? NameOf(point.repository) : from.repository(), "verify.repository"));
    if (spec.repository != point.repository) {
      return Invalid("verify.recovery_point: is in {}, not in {}", NameOf(point.repository), from.repository());
    }
    return spec;
  }

  absl::StatusOr<catalog::RepositoryId> Repository(const std::string& name, std::string_view field) const {
    catalog::RepositoryId id;
    if (!name.empty()) {
      ASSIGN_OR_RETURN(id, ParseRepositoryName(name, field));
    }
    ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, repositories_.Find(id));
    return repository->id;
  }

  const Stores& stores_;
  const maintenance::RepositorySet& repositories_;
};

}  // namespace

absl::StatusOr<catalog::JobSpec> ToSpec(const v1::Job& job, catalog::Catalog& catalog,
                                        const maintenance::RepositorySet& repositories) {
  return catalog.Read([&](const Stores& stores) { return SpecReader(stores, repositories).Read(job); });
}

absl::StatusOr<catalog::JobTerms> ToTerms(const v1::Job& job) {
  catalog::JobTerms terms;
  terms.priority = job.priority();
  if (job.has_due_time()) terms.due_time = FromProto(job.due_time());
  if (job.has_not_after()) terms.not_after = FromProto(job.not_after());
  terms.retries_max = job.retry().max_retries();
  if (job.retry().has_backoff() && job.retry().backoff().ByteSizeLong() > 0) {
    terms.retry_backoff = FromProto(job.retry().backoff());
  }
  if (job.upload_bytes_per_second() != 0 && !job.has_backup()) {
    return Invalid("upload_bytes_per_second: only a backup uploads");
  }
  terms.upload_bytes_per_second = job.upload_bytes_per_second();
  return terms;
}

absl::StatusOr<catalog::BackupHooks> ToHooks(const v1::BackupHooks& from, std::string_view field) {
  for (const auto& [name, what] : {std::pair(from.pre(), "pre"), std::pair(from.post(), "post")}) {
    if (IsHookName(name)) continue;
    return Invalid("{}.{}: the name of a program in the host's folder of hooks, 1 to {} of a-z, A-Z, 0-9 and . _ -, not . first",
                   field, what, kHookNameSizeMax);
  }
  if (from.ignore_pre_failure() && from.pre().empty()) return Invalid("{}.ignore_pre_failure: there is no pre hook", field);
  return catalog::BackupHooks{from.pre(), from.post(), from.ignore_pre_failure()};
}

}  // namespace umbra::api
