#include "agent/writers/vm_backup.h"

#include <algorithm>
#include <utility>

#include "agent/journal/crash_points.h"
#include "agent/providers/checkpoint_provider.h"
#include "agent/vss/file_sets.h"
#include "agent/writers/component_options.h"
#include "agent/writers/file_set_writer.h"
#include "agent/writers/hyperv_components.h"
#include "agent/writers/hyperv_writer.h"
#include "storage/base/crash_point.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::writers {
namespace {

using base::Invalid;

constexpr size_t kOwnerTagLengthMax = 40;

absl::Status Check(const VmBackupOptions& options) {
  const auto& uuids = options.vm_uuids;
  const auto& sets = options.file_sets;
  if (uuids.empty() && sets.empty()) return Invalid("no virtual machine and no file set is named");
  if (uuids.size() + sets.size() > static_cast<size_t>(vss::kMaxVolumesPerSet)) {
    return vss::Error(vss::Code::kMaximumNumberOfVolumesReached, "a set holds at most {} virtual machines and file sets",
                      vss::kMaxVolumesPerSet);
  }
  for (auto it = uuids.begin(); it != uuids.end(); ++it) {
    if (!vss::Guid::Parse(*it).has_value()) return Invalid("\"{}\" is no uuid", *it);
    if (std::find(uuids.begin(), it, *it) != it) return Invalid("{} is named twice", *it);
  }
  for (auto it = sets.begin(); it != sets.end(); ++it) {
    if (std::find(sets.begin(), it, *it) != it) return Invalid("file set {} is named twice", *it);
  }
  const std::string& tag = options.owner_tag;
  const bool plain = tag.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
  if (tag.empty() || tag.size() > kOwnerTagLengthMax || !plain) return Invalid("owner tag \"{}\"", tag);
  return absl::OkStatus();
}

}  // namespace

VmBackup::VmBackup(std::unique_ptr<vss::Session> session, HypervWriter& writer, providers::CheckpointProvider& provider,
                   providers::FolderProvider* folders, base::Filesystem& files, VmBackupOptions options)
    : requester_(std::move(session), vss::BackupSettings{}),
      writer_(writer),
      provider_(provider),
      folders_(folders),
      files_(files),
      options_(std::move(options)) {}

VmBackup::~VmBackup() = default;

absl::Status VmBackup::GatherAndSelect() {
  RETURN_IF_ERROR(Check(options_));
  ASSIGN_OR_RETURN(const auto metadata, requester_.Gather());
  const auto hyperv = std::find_if(metadata.begin(), metadata.end(),
                                   [](const vss::WriterMetadata& m) { return m.writer_id == kHypervWriterId; });
  if (hyperv == metadata.end() && !options_.vm_uuids.empty()) {
    return base::Error(absl::StatusCode::kUnavailable, "HYPERVISOR_UNAVAILABLE",
                       "{} doesn't answer: the hypervisor can't be asked", kHypervWriterName);
  }
  for (const vss::WriterMetadata& m : metadata) {
    if (m.writer_id == kFileSetWriterId) file_sets_ = m;
  }
  BackupOptions told;
  told.mechanism = options_.mechanism;
  told.freeze_timeout = options_.freeze_timeout;
  told.owner_tag = options_.owner_tag;
  std::vector<vss::ComponentChoice> choices;
  for (const std::string& uuid : options_.vm_uuids) {
    const auto base =
        std::find_if(options_.bases.begin(), options_.bases.end(), [&](const auto& b) { return b.first == uuid; });
    told.base = base == options_.bases.end() ? hypervisor::Checkpoint() : base->second;
    const vss::ComponentId id = ComponentIdOf(uuid);
    if (hyperv->Find(id.logical_path, id.name) == nullptr) {
      return base::Error(absl::StatusCode::kNotFound, "VM_NOT_FOUND", "no virtual machine {} on this host", uuid);
    }
    choices.push_back({id, Print(told)});
  }
  for (const std::string& name : options_.file_sets) choices.push_back({FileSetWriter::ComponentOf(name), ""});
  return requester_.Select(choices);
}

absl::Status VmBackup::Prepare() {
  if (!selected_) {
    if (const absl::Status selected = GatherAndSelect(); !selected.ok()) {
      Abort().IgnoreError();
      return selected;
    }
    selected_ = true;
  }
  return requester_.Prepare();
}

// A pattern may match nothing; a file that is named must be in the copy, unless the set excludes it.
absl::Status VmBackup::CheckFileSet(const std::string& name) {
  const vss::Component* component = file_sets_.Find("", name);
  if (component == nullptr) return vss::Error(vss::Code::kUnexpected, "the set was made without file set {}", name);
  vss::Component named = *component;
  std::erase_if(named.files, [this](const vss::FileSet& set) {
    return vss::HasWildcard(set.filespec) ||
           std::any_of(file_sets_.exclude_files.begin(), file_sets_.exclude_files.end(),
                       [&](const vss::FileSet& excluded) {
                         return vss::Contains(excluded, set.path, set.filespec, /*ignore_case=*/false);
                       });
  });
  if (named.files.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const providers::FolderProvider::Copy copy, FileSetCopy(name));
  vss::ExpandOptions options;
  options.read_at = [&copy](const std::string& folder) {
    const auto source = std::find(copy.sources.begin(), copy.sources.end(), folder);
    return source == copy.sources.end() ? folder : copy.folders[source - copy.sources.begin()];
  };
  return base::Annotate(vss::ExpandFiles(files_, named, file_sets_.exclude_files, {}, options).status(), "file set {}",
                        name);
}

absl::StatusOr<std::vector<VmSnapshot>> VmBackup::Collect() {
  for (const std::string& name : options_.file_sets) RETURN_IF_ERROR(CheckFileSet(name));
  if (options_.vm_uuids.empty()) return std::vector<VmSnapshot>();
  ASSIGN_OR_RETURN(const std::vector<CapturedVm> captured, writer_.Captured(requester_.session_id()));
  std::vector<VmSnapshot> snapshots;
  for (const std::string& uuid : options_.vm_uuids) {
    const std::string own = VmUuidOf(uuid);
    const auto vm =
        std::find_if(captured.begin(), captured.end(), [&](const CapturedVm& c) { return c.vm.uuid == own; });
    if (vm == captured.end()) return vss::Error(vss::Code::kUnexpected, "the set was made without {}", uuid);
    VmSnapshot snapshot;
    snapshot.vm = vm->vm;
    snapshot.mechanism = vm->plan.mechanism;
    snapshot.mechanism_reason = vm->plan.reason;
    snapshot.mechanism_message = vm->plan.message;
    snapshot.obstacles = vm->plan.obstacles;
    snapshot.freeze_duration = vm->figures.freeze_duration;
    snapshot.downtime = vm->figures.downtime;
    snapshot.state_bytes = vm->state.size_bytes;
    ASSIGN_OR_RETURN(snapshot.point_time, provider_.PointTime(set_id_, own));
    ASSIGN_OR_RETURN(snapshot.checkpoint, provider_.CheckpointOf(set_id_, own));
    snapshot.child_documents = vm->figures.child_documents;
    snapshot.guest_writers = vm->figures.guest_writers;
    snapshot.configuration = vm->configuration;
    snapshot.disks = IncludedDisks(vm->vm);
    snapshot.excluded_disks = vm->excluded_disks;
    snapshots.push_back(std::move(snapshot));
  }
  return snapshots;
}

absl::StatusOr<std::vector<VmSnapshot>> VmBackup::Snapshot() {
  ASSIGN_OR_RETURN(const vss::SnapshotSet set, requester_.Snapshot());
  set_id_ = set.set_id;
  absl::StatusOr<std::vector<VmSnapshot>> snapshots = Collect();
  if (!snapshots.ok()) Abort().IgnoreError();
  base::CrashPoint(journal::kCrashSetMade);
  return snapshots;
}

absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> VmBackup::OpenDisk(const std::string& vm_uuid,
                                                                            const std::string& disk_name) {
  return provider_.OpenDisk(set_id_, VmUuidOf(vm_uuid), disk_name);
}

absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> VmBackup::OpenState(const std::string& vm_uuid) {
  return writer_.OpenState(requester_.session_id(), VmUuidOf(vm_uuid));
}

absl::Status VmBackup::Health(const std::string& vm_uuid) {
  return provider_.Health(set_id_, VmUuidOf(vm_uuid));
}

absl::StatusOr<providers::FolderProvider::Copy> VmBackup::FileSetCopy(const std::string& name) const {
  if (folders_ == nullptr) return vss::Error(vss::Code::kObjectNotFound, "no file sets are configured");
  return folders_->CopyOf(set_id_, providers::FolderProvider::VolumeOf(name));
}

absl::Status VmBackup::SetFileSetSucceeded(const std::string& name, bool succeeded) {
  return requester_.SetBackupSucceeded(FileSetWriter::ComponentOf(name), succeeded);
}

absl::Status VmBackup::SetSucceeded(const std::string& vm_uuid, bool succeeded) {
  return requester_.SetBackupSucceeded(ComponentIdOf(vm_uuid), succeeded);
}

absl::StatusOr<vss::BackupDocuments> VmBackup::Documents() {
  return requester_.Documents();
}

absl::Status VmBackup::CommitFollows() {
  return provider_.CommitFollows(set_id_);
}

absl::Status VmBackup::Complete() {
  provider_.Committed(set_id_);
  base::CrashPoint(journal::kCrashBeforeComplete);
  return requester_.Complete();
}

absl::Status VmBackup::Abort() {
  return requester_.Abort();
}

}  // namespace umbra::writers
