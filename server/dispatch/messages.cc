#include "server/dispatch/messages.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <optional>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "storage/filetree/subject.h"

namespace umbra::dispatch {
namespace {

namespace link = agent::v1;
namespace api = umbra::v1;

// Texts from an agent end up in rows and lists: long enough for any path, short enough for any list.
constexpr size_t kTextSizeMax = 4096;
constexpr size_t kUuidSize = 36;

std::string Text(const std::string& text) {
  if (text.size() <= kTextSizeMax) return text;
  size_t end = kTextSizeMax;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;  // not inside a UTF-8 character
  return text.substr(0, end);
}

int64_t Count(int64_t value) { return std::max<int64_t>(value, 0); }

absl::Duration FromProto(const google::protobuf::Duration& d) {
  return std::max(absl::ZeroDuration(), absl::Seconds(d.seconds()) + absl::Nanoseconds(d.nanos()));
}

absl::Time FromProto(const google::protobuf::Timestamp& t) {
  return absl::FromUnixSeconds(t.seconds()) + absl::Nanoseconds(t.nanos());
}

std::optional<absl::Time> FromProto(bool has, const google::protobuf::Timestamp& t) {
  return has ? std::optional(FromProto(t)) : std::nullopt;
}

void ToProto(absl::Duration from, google::protobuf::Duration& to) {
  const int64_t seconds = absl::IDivDuration(from, absl::Seconds(1), &from);
  to.set_seconds(seconds);
  to.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(from)));
}

void ToProto(absl::Time from, google::protobuf::Timestamp& to) {
  const int64_t seconds = absl::ToUnixSeconds(from);
  to.set_seconds(seconds);
  to.set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(from - absl::FromUnixSeconds(seconds))));
}

template <typename To, typename From>
To Known(From value, bool valid) {
  return valid ? static_cast<To>(value) : To{};
}

bool IsUuid(const std::string& text) {
  return text.size() == kUuidSize && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || c == '-';
         });
}

catalog::JobProgress FromFigures(const catalog::HostId& host, const api::JobProgress& from) {
  catalog::JobProgress to;
  to.done_bytes = Count(from.done_bytes());
  to.total_bytes = Count(from.total_bytes());
  to.read_bytes = Count(from.read_bytes());
  to.new_bytes = Count(from.new_bytes());
  to.stored_bytes = Count(from.stored_bytes());
  to.rate_bytes_per_second = Count(from.rate_bytes_per_second());
  if (from.has_eta()) to.eta = FromProto(from.eta());
  for (const api::DiskProgress& disk : from.disks()) {
    to.disks.push_back(
        {.vm = {host, Text(disk.virtual_machine())},
         .disk = Text(disk.disk()),
         .done_bytes = Count(disk.done_bytes()),
         .total_bytes = Count(disk.total_bytes()),
         .read_mode = Known<catalog::ReadMode>(disk.read_mode(), api::DiskProgress::ReadMode_IsValid(disk.read_mode())),
         .full_read_reason = Text(disk.full_read_reason()),
         .full_read_message = Text(disk.full_read_message()),
         .changed_bytes = Count(disk.changed_bytes())});
  }
  return to;
}

catalog::ExcludedDisk FromExcluded(const api::ExcludedDisk& from) {
  return {.name = Text(from.name()), .reason = Text(from.reason()), .message = Text(from.message())};
}

// There are eight conditions today.
constexpr size_t kObstaclesMax = 32;
// A person makes tens of them; a program that never deletes its own, more than anybody looks at.
constexpr size_t kCheckpointsMax = 256;

catalog::Obstacle FromObstacle(const api::MechanismObstacle& from) {
  return {.reason = Text(from.reason()), .message = Text(from.message())};
}

catalog::VmCheckpoint FromCheckpoint(const api::Checkpoint& from) {
  return {.name = Text(from.name()),
          .parent = Text(from.parent()),
          .kind = Known<catalog::CheckpointKind>(from.kind(), api::Checkpoint::Kind_IsValid(from.kind())),
          .has_memory = from.has_memory(),
          .current = from.current(),
          .create_time = absl::FromUnixSeconds(from.create_time().seconds())};
}

catalog::Vm FromVm(const catalog::HostId& host, const std::string& uuid, const api::VirtualMachine& from, absl::Time now) {
  catalog::Vm to;
  to.key = {host, uuid};
  to.display_name = Text(from.display_name());
  to.state = Known<catalog::VmState>(from.state(), api::VirtualMachineState_IsValid(from.state()));
  to.memory_bytes = Count(from.memory_bytes());
  to.guest_agent_state = Known<catalog::GuestAgentState>(from.guest_agent().state(),
                                                         api::GuestAgent::State_IsValid(from.guest_agent().state()));
  to.guest_agent_version = Text(from.guest_agent().version());
  to.mechanism = Known<catalog::BackupMechanism>(from.mechanism(), api::BackupMechanism_IsValid(from.mechanism()));
  to.mechanism_reason = Text(from.mechanism_reason());
  to.mechanism_message = Text(from.mechanism_message());
  const api::ClusterResource& cluster = from.cluster_resource();
  to.cluster = {.resource = Text(cluster.resource()), .state = Text(cluster.state()), .node = Text(cluster.node())};
  absl::flat_hash_set<std::string> names;
  for (const api::VirtualDisk& disk : from.disks()) {
    if (!names.insert(disk.name()).second) continue;
    to.disks.push_back({.name = Text(disk.name()),
                        .path = Text(disk.path()),
                        .format = Text(disk.format()),
                        .capacity_bytes = Count(disk.capacity_bytes()),
                        .allocated_bytes = Count(disk.allocated_bytes())});
  }
  for (const api::ExcludedDisk& disk : from.excluded_disks()) {
    if (names.insert(disk.name()).second) to.excluded_disks.push_back(FromExcluded(disk));
  }
  for (const api::MechanismObstacle& obstacle : from.mechanism_obstacles()) {
    if (to.obstacles.size() < kObstaclesMax) to.obstacles.push_back(FromObstacle(obstacle));
  }
  for (const api::Checkpoint& checkpoint : from.checkpoints()) {
    if (to.checkpoints.size() < kCheckpointsMax) to.checkpoints.push_back(FromCheckpoint(checkpoint));
  }
  to.update_time = now;
  return to;
}

// More than a configuration file can hold.
constexpr int kFileSetPartsMax = 10'000;
constexpr size_t kFileSetNameMax = 40;

bool IsFileSetName(const std::string& text) {
  return !text.empty() && text.size() <= kFileSetNameMax &&
         text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789-") == std::string::npos;
}

catalog::FileSet FromFileSet(const catalog::HostId& host, const api::FileSet& from, absl::Time now) {
  catalog::FileSet to;
  to.key = {host, filetree::SubjectOfFileSet(from.name())};
  to.display_name = Text(from.display_name());
  to.has_freeze_hook = from.has_freeze_hook();
  to.update_time = now;
  int parts = 0;
  for (const api::FileSet::Folder& folder : from.folders()) {
    if (++parts > kFileSetPartsMax) break;
    catalog::FileSetFolder& f = to.folders.emplace_back();
    f.path = Text(folder.path());
    f.filespec = Text(folder.filespec());
    f.recursive = folder.recursive();
    for (const std::string& exclude : folder.excludes()) {
      if (++parts <= kFileSetPartsMax) f.excludes.push_back(Text(exclude));
    }
  }
  return to;
}

catalog::Writer FromWriter(const api::Writer& from) {
  return {.writer_id = Text(from.writer_id().empty() ? from.name() : from.writer_id()),
          .instance_id = Text(from.instance_id()),
          .display_name = Text(from.display_name()),
          .state = Text(from.state()),
          .last_failure_code = from.last_failure_code(),
          .last_failure = Text(from.last_failure()),
          .component_count = std::max(from.component_count(), 0)};
}

void ToBackup(const catalog::BackupSpec& spec, link::BackupAssignment& to) {
  for (const catalog::VmKey& vm : spec.vms) {
    if (const auto file_set = filetree::FileSetOf(vm.uuid); file_set.has_value()) {
      to.add_file_sets(*file_set);
    } else {
      to.add_virtual_machines(vm.uuid);
    }
  }
  to.set_repository(spec.repository.value);
  to.set_allow_crash_consistent(spec.allow_crash_consistent);
  ToProto(spec.freeze_timeout, *to.mutable_freeze_timeout());
  to.set_child_snapshot_only(spec.child_snapshot_only);
  to.set_forbid_saved_state(spec.forbid_saved_state);
  to.set_full_read(spec.full_read);
  if (spec.hooks == catalog::BackupHooks()) return;
  to.mutable_hooks()->set_pre(spec.hooks.pre);
  to.mutable_hooks()->set_post(spec.hooks.post);
  to.mutable_hooks()->set_ignore_pre_failure(spec.hooks.ignore_pre_failure);
}

void ToPoint(const catalog::RecoveryPoint& from, api::RecoveryPoint& to) {
  to.set_name("recoveryPoints/" + from.id.value);
  const auto file_set = filetree::FileSetOf(from.vm.uuid);
  if (file_set.has_value()) {
    to.set_file_set(fmt::format("hosts/{}/fileSets/{}", from.vm.host, *file_set));
    if (!from.disks.empty()) {
      to.mutable_files()->set_size_bytes(from.disks.front().capacity_bytes);
      to.mutable_files()->set_data_bytes(from.disks.front().data_bytes);
    }
  } else {
    to.set_virtual_machine(fmt::format("hosts/{}/virtualMachines/{}", from.vm.host, from.vm.uuid));
  }
  to.set_virtual_machine_display_name(from.vm_display_name);
  to.set_repository("repositories/" + from.repository.value);
  to.set_job("jobs/" + from.job.value);
  ToProto(from.point_time, *to.mutable_point_time());
  ToProto(from.create_time, *to.mutable_create_time());
  to.set_mechanism(static_cast<api::BackupMechanism>(from.mechanism));
  to.set_mechanism_reason(from.mechanism_reason);
  ToProto(from.freeze_duration, *to.mutable_freeze_duration());
  for (const catalog::RecoveryPointDisk& disk : from.disks) {
    api::RecoveryPointDisk& d = *to.add_disks();
    d.set_name(disk.name);
    d.set_capacity_bytes(disk.capacity_bytes);
    d.set_data_bytes(disk.data_bytes);
    d.set_format(disk.format);
    d.set_path(disk.path);
  }
  for (const catalog::ExcludedDisk& disk : from.excluded_disks) {
    api::ExcludedDisk& d = *to.add_excluded_disks();
    d.set_name(disk.name);
    d.set_reason(disk.reason);
    d.set_message(disk.message);
  }
  ToProto(from.downtime, *to.mutable_downtime());
  if (from.state_bytes > 0) {
    to.mutable_memory()->set_size_bytes(from.state_bytes);
    to.mutable_memory()->set_data_bytes(from.state_data_bytes);
  }
  to.set_read_bytes(from.read_bytes);
  to.set_stored_bytes(from.stored_bytes);
  to.set_configuration(from.configuration);
}

void ToRestore(const catalog::RestoreSpec& spec, const std::optional<catalog::RecoveryPoint>& point,
               link::RestoreAssignment& to) {
  to.set_recovery_point_id(spec.recovery_point.value);
  to.set_repository(spec.repository.value);
  to.set_mode(static_cast<api::RestoreSpec::Mode>(spec.mode));
  to.set_display_name(spec.display_name);
  to.set_target_folder(spec.target_folder);
  to.set_power_on(spec.power_on);
  to.set_resume_state(spec.resume_state);
  to.set_take_cluster_offline(spec.take_cluster_offline);
  to.set_path(spec.path);
  to.set_overwrite(spec.overwrite);
  if (!point) return;
  ToPoint(*point, *to.mutable_recovery_point());
  for (const catalog::Document& document : point->documents) {
    link::RecoveryPointDocument& d = *to.add_documents();
    d.set_kind(document.kind);
    d.set_content(document.content);
  }
}

std::vector<catalog::JobWriter> FromWriters(const catalog::HostId& host, const link::AssignmentResult& result) {
  std::vector<catalog::JobWriter> writers;
  for (const api::JobWriter& from : result.writers()) {
    if (writers.size() == catalog::kJobWritersMax) break;
    if (!from.has_freeze_time()) continue;
    catalog::JobWriter& to = writers.emplace_back();
    to.display_name = Text(from.display_name());
    if (!from.virtual_machine().empty()) to.vm = {host, Text(from.virtual_machine())};
    to.freeze_time = FromProto(from.freeze_time());
    to.frozen_time = FromProto(from.has_frozen_time(), from.frozen_time());
    to.thaw_time = FromProto(from.has_thaw_time(), from.thaw_time());
    to.thawed_time = FromProto(from.has_thawed_time(), from.thawed_time());
    to.error = FromMessage(from.error());
  }
  return writers;
}

}  // namespace

AssignmentKey KeyOf(const link::AssignmentId& id) { return {catalog::JobId(id.job_id()), id.attempt()}; }

void SetKey(const AssignmentKey& key, link::AssignmentId& id) {
  id.set_job_id(key.job.value);
  id.set_attempt(key.attempt);
}

Assignment ToEntry(const catalog::Job& job, const catalog::HostId& host) {
  Assignment to;
  to.key = {job.id, job.attempt};
  to.host = host;
  to.kind = catalog::KindOf(job.spec);
  if (const auto* backup = std::get_if<catalog::BackupSpec>(&job.spec)) {
    to.repository = backup->repository;
    for (const catalog::VmKey& vm : backup->vms) to.vm_uuids.push_back(vm.uuid);
  } else if (const auto* restore = std::get_if<catalog::RestoreSpec>(&job.spec)) {
    to.repository = restore->repository;
    to.recovery_point = restore->recovery_point;
  }
  return to;
}

link::DaemonMessage ToAssignmentMessage(const catalog::Job& job, const std::optional<catalog::RecoveryPoint>& point) {
  link::DaemonMessage message;
  link::Assignment& to = *message.mutable_assignment();
  SetKey({job.id, job.attempt}, *to.mutable_id());
  if (const auto* backup = std::get_if<catalog::BackupSpec>(&job.spec)) {
    ToBackup(*backup, *to.mutable_backup());
    to.mutable_backup()->set_upload_bytes_per_second(job.terms.upload_bytes_per_second);
  } else if (const auto* restore = std::get_if<catalog::RestoreSpec>(&job.spec)) {
    ToRestore(*restore, point, *to.mutable_restore());
  }
  return message;
}

link::DaemonMessage ToWelcomeMessage(const catalog::HostId& host, const std::string& daemon_version,
                                     absl::Duration heartbeat_interval, absl::Duration lease_duration) {
  link::DaemonMessage message;
  link::Welcome& welcome = *message.mutable_welcome();
  welcome.set_host_id(host.value);
  welcome.set_daemon_version(daemon_version);
  ToProto(heartbeat_interval, *welcome.mutable_heartbeat_interval());
  ToProto(lease_duration, *welcome.mutable_lease_duration());
  return message;
}

link::DaemonMessage ToCancelMessage(const AssignmentKey& key) {
  link::DaemonMessage message;
  SetKey(key, *message.mutable_cancel()->mutable_id());
  return message;
}

link::DaemonMessage ToAcknowledgement(const AssignmentKey& key) {
  link::DaemonMessage message;
  SetKey(key, *message.mutable_result_acknowledged()->mutable_id());
  return message;
}

jobs::EventFacts FromProgress(const catalog::HostId& host, const link::AssignmentProgress& message) {
  jobs::EventFacts facts;
  facts.phase = Known<catalog::JobPhase>(message.phase(), api::Job::Phase_IsValid(message.phase()));
  if (message.has_progress()) facts.progress = FromFigures(host, message.progress());
  return facts;
}

catalog::JobMessage FromMessage(const api::JobMessage& message) {
  return {.reason = Text(message.reason()), .message = Text(message.message())};
}

std::string TextOf(const link::AssignmentNote& note) {
  return Text(note.text());
}

Outcome FromResult(const catalog::HostId& host, const link::AssignmentResult& result) {
  Outcome outcome{jobs::JobEvent::kAgentFailed, {}};
  if (result.outcome() == link::AssignmentResult::OUTCOME_SUCCEEDED) outcome.event = jobs::JobEvent::kAgentDone;
  if (result.outcome() == link::AssignmentResult::OUTCOME_CANCELLED) outcome.event = jobs::JobEvent::kAgentCancelled;
  if (result.has_progress()) outcome.facts.progress = FromFigures(host, result.progress());
  outcome.facts.freeze_duration = FromProto(result.freeze_duration());
  outcome.facts.downtime = FromProto(result.downtime());
  outcome.facts.writers = FromWriters(host, result);
  outcome.facts.restored_vm_uuid = Text(result.restored_virtual_machine());
  outcome.facts.error = FromMessage(result.error());
  outcome.facts.error_stays = result.error_stays();
  if (outcome.event == jobs::JobEvent::kAgentFailed && outcome.facts.error.reason.empty()) {
    outcome.facts.error = {.reason = "INTERNAL", .message = "the agent failed and gave no reason; see its log"};
  }
  return outcome;
}

void ApplyHello(const link::Hello& hello, catalog::Host& host) {
  host.agent_version = Text(hello.agent_version());
  host.hypervisor = Text(hello.hypervisor());
}

InventoryRecords FromInventory(const catalog::HostId& host, const link::Inventory& inventory, absl::Time now) {
  InventoryRecords records;
  records.error = Text(inventory.error());
  if (!records.error.empty()) return records;
  absl::flat_hash_set<std::string> seen;
  for (const api::VirtualMachine& vm : inventory.virtual_machines()) {
    const std::string& uuid = vm.uuid().empty() ? vm.name() : vm.uuid();
    if (IsUuid(uuid) && seen.insert(uuid).second) {
      records.vms.push_back(FromVm(host, uuid, vm, now));
    } else {
      ++records.dropped;
    }
  }
  seen.clear();
  for (const api::FileSet& set : inventory.file_sets()) {
    if (IsFileSetName(set.name()) && seen.insert(set.name()).second) {
      records.file_sets.push_back(FromFileSet(host, set, now));
    } else {
      ++records.dropped;
    }
  }
  seen.clear();
  for (const api::Writer& writer : inventory.writers()) {
    catalog::Writer record = FromWriter(writer);
    if (!record.writer_id.empty() && seen.insert(record.writer_id).second) records.writers.push_back(std::move(record));
  }
  return records;
}

}  // namespace umbra::dispatch
