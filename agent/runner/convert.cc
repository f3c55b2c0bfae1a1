#include "agent/runner/convert.h"

#include <algorithm>
#include <utility>

#include "agent/vss/errors.h"
#include "storage/base/status.h"
#include "storage/base/utf8.h"

namespace umbra::runner {
namespace {

// Kinds of documents, as umbra.store.v1.ManifestDocument lists them.
constexpr char kConfiguration[] = "vm.configuration";
constexpr char kWriterMetadata[] = "vss.writer-metadata";
constexpr char kBackupComponents[] = "vss.backup-components";
constexpr char kChildWriterMetadata[] = "vss.child.writer-metadata";
constexpr char kChildBackupComponents[] = "vss.child.backup-components";

// The store takes a document of up to 1 MiB, and not much more in all. No restore needs the guest's documents (R1), so
// beyond this they aren't worth a backup.
constexpr size_t kChildDocumentsBytesMax = 1 << 20;
constexpr int kFrozenWritersMax = 512;  // of the protocol

v1::VirtualMachineState ToProto(hypervisor::VmState state) {
  switch (state) {
    case hypervisor::VmState::kRunning:
      return v1::VIRTUAL_MACHINE_STATE_RUNNING;
    case hypervisor::VmState::kPaused:
      return v1::VIRTUAL_MACHINE_STATE_PAUSED;
    case hypervisor::VmState::kSaved:
      return v1::VIRTUAL_MACHINE_STATE_SAVED;
    case hypervisor::VmState::kOff:
      return v1::VIRTUAL_MACHINE_STATE_OFF;
    case hypervisor::VmState::kCrashed:
      return v1::VIRTUAL_MACHINE_STATE_CRASHED;
    case hypervisor::VmState::kUnknown:
      break;
  }
  return v1::VIRTUAL_MACHINE_STATE_UNSPECIFIED;
}

void AddDocument(const char* kind, const std::string& content, store::v1::Manifest& manifest) {
  store::v1::ManifestDocument* document = manifest.add_documents();
  document->set_kind(kind);
  document->set_content(content);
}

v1::GuestAgent::State ToProto(hypervisor::GuestAgentState state) {
  switch (state) {
    case hypervisor::GuestAgentState::kRunning:
      return v1::GuestAgent::STATE_RUNNING;
    case hypervisor::GuestAgentState::kNotResponding:
      return v1::GuestAgent::STATE_NOT_RESPONDING;
    case hypervisor::GuestAgentState::kNotConfigured:
      return v1::GuestAgent::STATE_NOT_CONFIGURED;
    case hypervisor::GuestAgentState::kGuestOff:
      return v1::GuestAgent::STATE_GUEST_OFF;
    case hypervisor::GuestAgentState::kUnknown:
      break;
  }
  return v1::GuestAgent::STATE_UNSPECIFIED;
}

}  // namespace

google::protobuf::Duration ToProto(absl::Duration duration) {
  google::protobuf::Duration proto;
  proto.set_seconds(absl::ToInt64Seconds(duration));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration - absl::Seconds(proto.seconds()))));
  return proto;
}

google::protobuf::Timestamp ToProto(absl::Time time) {
  google::protobuf::Timestamp proto;
  proto.set_seconds(absl::ToUnixSeconds(time));
  proto.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(proto.seconds()))));
  return proto;
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

v1::JobProgress ToProto(const transfer::TransferFigures& figures) {
  v1::JobProgress proto;
  proto.set_done_bytes(static_cast<int64_t>(figures.done_bytes));
  proto.set_total_bytes(static_cast<int64_t>(figures.total_bytes));
  proto.set_read_bytes(static_cast<int64_t>(figures.read_bytes));
  proto.set_new_bytes(static_cast<int64_t>(figures.new_bytes));
  proto.set_stored_bytes(static_cast<int64_t>(figures.stored_bytes));
  proto.set_rate_bytes_per_second(static_cast<int64_t>(figures.rate_bytes_per_second));
  if (figures.eta) *proto.mutable_eta() = ToProto(*figures.eta);
  for (const transfer::DiskFigures& disk : figures.disks) {
    v1::DiskProgress* d = proto.add_disks();
    d->set_virtual_machine(disk.vm_uuid);
    d->set_disk(disk.disk);
    d->set_done_bytes(static_cast<int64_t>(disk.done_bytes));
    d->set_total_bytes(static_cast<int64_t>(disk.total_bytes));
    d->set_read_mode(static_cast<v1::DiskProgress::ReadMode>(disk.read.mode));
    d->set_full_read_reason(disk.read.full_reason);
    d->set_full_read_message(disk.read.full_message);
    d->set_changed_bytes(static_cast<int64_t>(disk.read.changed_bytes));
  }
  return proto;
}

v1::BackupMechanism ToProto(writers::BackupMechanism mechanism) {
  switch (mechanism) {
    case writers::BackupMechanism::kSavedState:
      return v1::BACKUP_MECHANISM_SAVED_STATE;
    case writers::BackupMechanism::kChildSnapshot:
      return v1::BACKUP_MECHANISM_CHILD_SNAPSHOT;
    case writers::BackupMechanism::kCrashConsistent:
      return v1::BACKUP_MECHANISM_CRASH_CONSISTENT;
    case writers::BackupMechanism::kOffline:
      return v1::BACKUP_MECHANISM_OFFLINE;
  }
  return v1::BACKUP_MECHANISM_UNSPECIFIED;
}

v1::Checkpoint ToProto(const hypervisor::OwnCheckpoint& checkpoint) {
  const bool external = checkpoint.kind == hypervisor::CheckpointKind::kExternal;
  v1::Checkpoint proto;
  proto.set_name(checkpoint.name);
  proto.set_parent(checkpoint.parent);
  proto.set_kind(external ? v1::Checkpoint::KIND_EXTERNAL : v1::Checkpoint::KIND_INTERNAL);
  proto.set_has_memory(checkpoint.has_memory);
  proto.set_current(checkpoint.current);
  *proto.mutable_create_time() = ToProto(checkpoint.create_time);
  return proto;
}

v1::VirtualMachine ToProto(const writers::VmDescription& description) {
  const hypervisor::VmInfo& vm = description.vm;
  v1::VirtualMachine proto;
  proto.set_name(vm.uuid);
  proto.set_uuid(vm.uuid);
  proto.set_display_name(vm.name);
  proto.set_state(ToProto(vm.state));
  proto.set_memory_bytes(static_cast<int64_t>(vm.memory_bytes));
  for (const hypervisor::Disk& disk : writers::IncludedDisks(vm)) {
    v1::VirtualDisk* d = proto.add_disks();
    d->set_name(disk.name);
    d->set_path(disk.path);
    d->set_format(disk.format);
    d->set_capacity_bytes(static_cast<int64_t>(disk.capacity_bytes));
    d->set_allocated_bytes(static_cast<int64_t>(disk.allocated_bytes));
  }
  for (const writers::ExcludedDisk& disk : description.excluded_disks) {
    v1::ExcludedDisk* d = proto.add_excluded_disks();
    d->set_name(disk.name);
    d->set_reason(disk.reason);
    d->set_message(disk.message);
  }
  proto.mutable_guest_agent()->set_state(ToProto(description.agent.state));
  proto.mutable_guest_agent()->set_version(description.agent.version);
  // One that is off or saved isn't saved first: it is read as it is.
  const bool offline = vm.state == hypervisor::VmState::kOff || vm.state == hypervisor::VmState::kSaved;
  proto.set_mechanism(offline ? v1::BACKUP_MECHANISM_OFFLINE : ToProto(description.choice.mechanism));
  proto.set_mechanism_reason(description.choice.reason());
  proto.set_mechanism_message(description.choice.message());
  if (const auto& resource = description.cluster_resource; resource.has_value()) {
    proto.mutable_cluster_resource()->set_resource(resource->id);
    proto.mutable_cluster_resource()->set_state(std::string(NameOf(resource->state)));
    proto.mutable_cluster_resource()->set_node(resource->node);
  }
  for (const hypervisor::OwnCheckpoint& checkpoint : vm.checkpoints) *proto.add_checkpoints() = ToProto(checkpoint);
  for (const writers::Obstacle& obstacle : description.choice.obstacles) {
    v1::MechanismObstacle* o = proto.add_mechanism_obstacles();
    o->set_reason(obstacle.reason);
    o->set_message(obstacle.message);
  }
  return proto;
}

v1::Writer ToProto(const vss::WriterStatus& writer) {
  v1::Writer proto;
  proto.set_name(writer.identity.writer_id.ToString());
  proto.set_display_name(writer.identity.name);
  proto.set_writer_id(writer.identity.writer_id.ToString());
  proto.set_instance_id(writer.identity.instance_id.ToString());
  proto.set_state(std::string(vss::NameOf(writer.state)));
  if (!writer.failure.ok()) {
    proto.set_last_failure_code(static_cast<uint32_t>(vss::CodeOf(writer.failure)));
    proto.set_last_failure(
        fmt::format("{}: {}", vss::Describe(vss::CodeOf(writer.failure)), base::MessageOf(writer.failure)));
  }
  proto.set_component_count(writer.component_count);
  return proto;
}

void AddFrozenWriters(const std::vector<vss::WriterStatus>& writers, const std::string& vm_uuid,
                      agent::v1::AssignmentResult* result) {
  for (const vss::WriterStatus& writer : writers) {
    if (!writer.freeze.has_value() || result->writers_size() >= kFrozenWritersMax) continue;
    v1::JobWriter* const out = result->add_writers();
    out->set_display_name(writer.identity.name);
    out->set_virtual_machine(vm_uuid);
    *out->mutable_freeze_time() = ToProto(writer.freeze->freeze);
    if (writer.freeze->frozen) *out->mutable_frozen_time() = ToProto(*writer.freeze->frozen);
    if (writer.freeze->thaw) *out->mutable_thaw_time() = ToProto(*writer.freeze->thaw);
    if (writer.freeze->thawed) *out->mutable_thawed_time() = ToProto(*writer.freeze->thawed);
    if (!writer.failure.ok()) *out->mutable_error() = ToJobMessage(writer.failure);
  }
  const auto before = [](const v1::JobWriter& a, const v1::JobWriter& b) {
    return std::pair(a.freeze_time().seconds(), a.freeze_time().nanos()) <
           std::pair(b.freeze_time().seconds(), b.freeze_time().nanos());
  };
  std::stable_sort(result->mutable_writers()->begin(), result->mutable_writers()->end(), before);
}

v1::JobMessage ToJobMessage(const absl::Status& status) {
  v1::JobMessage message;
  message.set_reason(base::ReasonOf(status));
  if (message.reason().empty()) message.set_reason(absl::IsCancelled(status) ? "CANCELLED" : "INTERNAL");
  message.set_message(base::ValidUtf8(base::MessageOf(status)));
  return message;
}

hypervisor::Checkpoint FromProto(const store::v1::ChangeTracking& tracking) {
  hypervisor::Checkpoint checkpoint{tracking.checkpoint(), {}};
  for (const store::v1::TrackedDisk& disk : tracking.disks()) {
    checkpoint.disks.push_back({disk.name(), disk.generation(), static_cast<uint64_t>(disk.capacity_bytes())});
  }
  return checkpoint;
}

store::v1::ChangeTracking ToProto(const hypervisor::Checkpoint& checkpoint) {
  store::v1::ChangeTracking tracking;
  tracking.set_checkpoint(checkpoint.name);
  for (const hypervisor::TrackedDisk& disk : checkpoint.disks) {
    store::v1::TrackedDisk* d = tracking.add_disks();
    d->set_name(disk.name);
    d->set_generation(disk.generation);
    d->set_capacity_bytes(static_cast<int64_t>(disk.capacity_bytes));
  }
  return tracking;
}

store::v1::Manifest ToManifest(const writers::VmSnapshot& snapshot, const vss::BackupDocuments& documents,
                               const DiskReads& reads, uint64_t read_bytes) {
  store::v1::Manifest manifest;
  manifest.set_vm_uuid(snapshot.vm.uuid);
  manifest.set_vm_display_name(snapshot.vm.name);
  *manifest.mutable_point_time() = ToProto(snapshot.point_time);
  manifest.set_mechanism(ToProto(snapshot.mechanism));
  manifest.set_mechanism_reason(snapshot.mechanism_reason);
  *manifest.mutable_freeze_duration() = ToProto(snapshot.freeze_duration);
  *manifest.mutable_downtime() = ToProto(snapshot.downtime);
  for (const writers::Obstacle& obstacle : snapshot.obstacles) {
    store::v1::ManifestObstacle* o = manifest.add_obstacles();
    o->set_reason(obstacle.reason);
    o->set_message(obstacle.message);
  }
  for (const hypervisor::Disk& disk : snapshot.disks) {
    store::v1::ManifestDisk* d = manifest.add_disks();
    d->set_name(disk.name);
    d->set_capacity_bytes(static_cast<int64_t>(disk.capacity_bytes));
    d->set_format(disk.format);
    d->set_path(disk.path);
    const auto read = reads.find(disk.name);
    if (read == reads.end()) continue;
    d->set_read_mode(static_cast<int32_t>(read->second.read.mode));
    d->set_full_read_reason(read->second.read.full_reason);
    d->set_changed_bytes(static_cast<int64_t>(read->second.read.changed_bytes));
    if (!read->second.base_recovery_point_id.empty())
      manifest.set_base_recovery_point_id(read->second.base_recovery_point_id);
  }
  if (!snapshot.checkpoint.name.empty()) *manifest.mutable_tracking() = ToProto(snapshot.checkpoint);
  if (snapshot.state_bytes > 0) {
    store::v1::ManifestDisk* d = manifest.add_disks();
    d->set_name(kMemoryStateName);
    d->set_capacity_bytes(static_cast<int64_t>(snapshot.state_bytes));
    d->set_format(hypervisor::kStateFileFormat);
    d->set_kind(store::v1::ManifestDisk::KIND_MEMORY_STATE);
  }
  for (const writers::ExcludedDisk& disk : snapshot.excluded_disks) {
    store::v1::ManifestExcludedDisk* d = manifest.add_excluded_disks();
    d->set_name(disk.name);
    d->set_reason(disk.reason);
    d->set_message(disk.message);
  }
  AddDocument(kConfiguration, snapshot.configuration, manifest);
  AddVssDocuments(documents, manifest);
  const vss::BackupDocuments& child = snapshot.child_documents;
  size_t child_bytes = child.backup_components.size();
  for (const std::string& metadata : child.writer_metadata) child_bytes += metadata.size();
  if (child_bytes > 0 && child_bytes <= kChildDocumentsBytesMax) {
    for (const std::string& metadata : child.writer_metadata) AddDocument(kChildWriterMetadata, metadata, manifest);
    AddDocument(kChildBackupComponents, child.backup_components, manifest);
  }
  manifest.set_read_bytes(static_cast<int64_t>(read_bytes));
  return manifest;
}

void AddVssDocuments(const vss::BackupDocuments& documents, store::v1::Manifest& manifest) {
  for (const std::string& metadata : documents.writer_metadata) AddDocument(kWriterMetadata, metadata, manifest);
  AddDocument(kBackupComponents, documents.backup_components, manifest);
}

v1::FileSet ToProto(const writers::FileSet& set) {
  v1::FileSet proto;
  proto.set_name(set.name);
  proto.set_display_name(set.caption);
  for (const base::FolderSelection& folder : set.folders) {
    v1::FileSet::Folder* f = proto.add_folders();
    f->set_path(folder.folder);
    f->set_filespec(folder.filespec);
    f->set_recursive(folder.recursive);
    for (const std::string& exclude : folder.excludes) f->add_excludes(exclude);
  }
  proto.set_has_freeze_hook(!set.freeze.arguments.empty());
  return proto;
}

vss::BackupDocuments ToBackupDocuments(const agent::v1::RestoreAssignment& work) {
  vss::BackupDocuments documents;
  for (const agent::v1::RecoveryPointDocument& document : work.documents()) {
    if (document.kind() == kWriterMetadata) documents.writer_metadata.push_back(document.content());
    if (document.kind() == kBackupComponents) documents.backup_components = document.content();
  }
  return documents;
}

}  // namespace umbra::runner
