#include "server/api/convert.h"

#include <algorithm>

#include "server/api/names.h"
#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::api {
namespace {

// The catalog stores numbers; they must mean the same here.
template <typename A, typename B>
constexpr bool Same(A a, B b) {
  return static_cast<int>(a) == static_cast<int>(b);
}
static_assert(Same(catalog::VmState::kCrashed, v1::VIRTUAL_MACHINE_STATE_CRASHED) &&
              Same(catalog::VmState::kOff, v1::VIRTUAL_MACHINE_STATE_OFF) &&
              Same(catalog::VmState::kRunning, v1::VIRTUAL_MACHINE_STATE_RUNNING));
static_assert(Same(catalog::GuestAgentState::kGuestOff, v1::GuestAgent::STATE_GUEST_OFF) &&
              Same(catalog::GuestAgentState::kRunning, v1::GuestAgent::STATE_RUNNING));
static_assert(Same(catalog::BackupMechanism::kSavedState, v1::BACKUP_MECHANISM_SAVED_STATE) &&
              Same(catalog::BackupMechanism::kChildSnapshot, v1::BACKUP_MECHANISM_CHILD_SNAPSHOT) &&
              Same(catalog::BackupMechanism::kCrashConsistent, v1::BACKUP_MECHANISM_CRASH_CONSISTENT) &&
              Same(catalog::BackupMechanism::kOffline, v1::BACKUP_MECHANISM_OFFLINE));
static_assert(Same(catalog::JobState::kQueued, v1::Job::STATE_QUEUED) &&
              Same(catalog::JobState::kDispatching, v1::Job::STATE_DISPATCHING) &&
              Same(catalog::JobState::kRunning, v1::Job::STATE_RUNNING) &&
              Same(catalog::JobState::kCommitting, v1::Job::STATE_COMMITTING) &&
              Same(catalog::JobState::kSucceeded, v1::Job::STATE_SUCCEEDED) &&
              Same(catalog::JobState::kFailed, v1::Job::STATE_FAILED) &&
              Same(catalog::JobState::kCancelled, v1::Job::STATE_CANCELLED) &&
              Same(catalog::JobState::kCancelling, v1::Job::STATE_CANCELLING));
static_assert(Same(catalog::JobPhase::kGathering, v1::Job::PHASE_GATHERING) &&
              Same(catalog::JobPhase::kCompleting, v1::Job::PHASE_COMPLETING));
static_assert(Same(catalog::RestoreMode::kNew, v1::RestoreSpec::MODE_NEW) &&
              Same(catalog::RestoreMode::kInPlace, v1::RestoreSpec::MODE_IN_PLACE));
static_assert(Same(catalog::Severity::kInfo, v1::Event::SEVERITY_INFO) &&
              Same(catalog::Severity::kError, v1::Event::SEVERITY_ERROR));

template <typename To, typename From>
To As(From value) {
  return static_cast<To>(static_cast<int>(value));
}

void ToProto(const catalog::ExcludedDisk& disk, v1::ExcludedDisk* out) {
  out->set_name(disk.name);
  out->set_reason(disk.reason);
  out->set_message(disk.message);
}

void ToProto(const catalog::JobMessage& message, v1::JobMessage* out) {
  out->set_reason(message.reason);
  out->set_message(message.message);
}

void ToProto(const catalog::JobWriter& writer, v1::JobWriter* out) {
  out->set_display_name(writer.display_name);
  if (!writer.vm.uuid.empty()) out->set_virtual_machine(NameOf(writer.vm));
  api::ToProto(writer.freeze_time, out->mutable_freeze_time());
  if (writer.frozen_time) api::ToProto(*writer.frozen_time, out->mutable_frozen_time());
  if (writer.thaw_time) api::ToProto(*writer.thaw_time, out->mutable_thaw_time());
  if (writer.thawed_time) api::ToProto(*writer.thawed_time, out->mutable_thawed_time());
  if (!writer.error.reason.empty()) ToProto(writer.error, out->mutable_error());
}

void ToProto(const catalog::JobProgress& progress, v1::JobProgress* out) {
  out->set_done_bytes(progress.done_bytes);
  out->set_total_bytes(progress.total_bytes);
  out->set_read_bytes(progress.read_bytes);
  out->set_new_bytes(progress.new_bytes);
  out->set_stored_bytes(progress.stored_bytes);
  out->set_rate_bytes_per_second(progress.rate_bytes_per_second);
  if (progress.eta) api::ToProto(*progress.eta, out->mutable_eta());
  for (const catalog::DiskProgress& disk : progress.disks) {
    v1::DiskProgress* to = out->add_disks();
    to->set_virtual_machine(NameOf(disk.vm));
    to->set_disk(disk.disk);
    to->set_done_bytes(disk.done_bytes);
    to->set_total_bytes(disk.total_bytes);
    to->set_read_mode(static_cast<v1::DiskProgress::ReadMode>(disk.read_mode));
    to->set_full_read_reason(disk.full_read_reason);
    to->set_full_read_message(disk.full_read_message);
    to->set_changed_bytes(disk.changed_bytes);
  }
}

void ToProto(const catalog::DamagedChunk& chunk, v1::DamagedChunk* out) {
  out->set_chunk_id(chunk.chunk_id);
  if (!chunk.recovery_point.empty()) out->set_recovery_point(NameOf(chunk.recovery_point));
  out->set_disk(chunk.disk);
  out->set_offset_bytes(chunk.offset_bytes);
  out->set_length_bytes(chunk.length_bytes);
  out->set_message(chunk.message);
}

// The tree is kept like a disk, whose path has the folders, one a line.
void FilesToProto(const catalog::RecoveryPoint& point, v1::RecoveryPoint* out) {
  out->set_file_set(NameOf(point.vm));
  for (const catalog::RecoveryPointDisk& tree : point.disks) {
    v1::RecoveryPointFiles* files = out->mutable_files();
    files->set_size_bytes(tree.capacity_bytes);
    files->set_data_bytes(tree.data_bytes);
    for (size_t begin = 0; begin < tree.path.size();) {
      const size_t end = std::min(tree.path.find('\n', begin), tree.path.size());
      files->add_folders(tree.path.substr(begin, end - begin));
      begin = end + 1;
    }
  }
}

void ToProto(const catalog::Obstacle& obstacle, v1::MechanismObstacle* out) {
  out->set_reason(obstacle.reason);
  out->set_message(obstacle.message);
}

void ToProto(const catalog::BackupSpec& spec, v1::BackupSpec* out) {
  for (const catalog::VmKey& vm : spec.vms) {
    (filetree::FileSetOf(vm.uuid).has_value() ? out->add_file_sets() : out->add_virtual_machines())->assign(NameOf(vm));
  }
  out->set_repository(NameOf(spec.repository));
  out->set_allow_crash_consistent(spec.allow_crash_consistent);
  api::ToProto(spec.freeze_timeout, out->mutable_freeze_timeout());
  out->set_mechanism_preference(spec.child_snapshot_only ? v1::BackupSpec::MECHANISM_PREFERENCE_CHILD_SNAPSHOT_ONLY
                                                         : v1::BackupSpec::MECHANISM_PREFERENCE_AUTO);
  out->set_forbid_saved_state(spec.forbid_saved_state);
  out->set_full_read(spec.full_read);
  if (spec.hooks != catalog::BackupHooks()) api::ToProto(spec.hooks, out->mutable_hooks());
}

void ToProto(const catalog::RestoreSpec& spec, v1::RestoreSpec* out) {
  out->set_recovery_point(NameOf(spec.recovery_point));
  out->set_mode(As<v1::RestoreSpec::Mode>(spec.mode));
  out->set_target_host(NameOf(spec.target_host));
  out->set_display_name(spec.display_name);
  out->set_target_folder(spec.target_folder);
  out->set_power_on(spec.power_on);
  out->set_resume_state(spec.resume_state);
  out->set_take_cluster_offline(spec.take_cluster_offline);
  out->set_path(spec.path);
  out->set_overwrite(spec.overwrite);
}

void ToProto(const catalog::PruneSpec& spec, v1::PruneSpec* out) {
  out->set_repository(NameOf(spec.repository));
  out->set_dry_run(spec.dry_run);
}

void ToProto(const catalog::PruneResult& result, v1::PruneResult* out) {
  out->set_deleted_point_count(result.deleted_points);
  out->set_deleted_pack_count(result.deleted_packs);
  out->set_freed_bytes(result.freed_bytes);
  out->set_copied_bytes(result.copied_bytes);
  out->set_waiting_bytes(result.waiting_bytes);
  out->set_needed_bytes(result.needed_bytes);
}

void ToProto(const catalog::RecoveryPointProtection& from, v1::RecoveryPoint* out) {
  if (from.remove_time) api::ToProto(*from.remove_time, out->mutable_delete_time());
  if (from.delete_time) api::ToProto(*from.delete_time, out->mutable_purge_time());
  out->set_deleted_by(from.removed_by);
  out->set_held(from.held);
  out->set_held_by(from.held_by);
  out->set_hold_note(from.hold_note);
  if (from.lock_until) api::ToProto(*from.lock_until, out->mutable_lock_until_time());
}

void ToProto(const catalog::VerifySpec& spec, v1::VerifySpec* out) {
  out->set_repository(NameOf(spec.repository));
  if (!spec.recovery_point.empty()) out->set_recovery_point(NameOf(spec.recovery_point));
  out->set_level(As<v1::VerifySpec::Level>(spec.level));
  if (spec.time_budget > absl::ZeroDuration()) api::ToProto(spec.time_budget, out->mutable_time_budget());
  out->set_byte_budget(spec.byte_budget);
}

void ResultToProto(const catalog::Job& job, v1::Job* out) {
  if (!job.error.reason.empty() || !job.error.message.empty()) ToProto(job.error, out->mutable_error());
  for (const catalog::JobMessage& warning : job.warnings) ToProto(warning, out->add_warnings());
  for (const catalog::RecoveryPointId& id : job.recovery_points) out->add_recovery_points(NameOf(id));
  for (const catalog::DamagedChunk& chunk : job.damage) ToProto(chunk, out->add_damage());
  if (!job.restored_vm_uuid.empty()) {
    out->set_restored_virtual_machine(NameOf(catalog::VmKey{catalog::HostOf(job.spec), job.restored_vm_uuid}));
  }
  if (job.downtime > absl::ZeroDuration()) api::ToProto(job.downtime, out->mutable_downtime());
  if (job.freeze_duration > absl::ZeroDuration()) api::ToProto(job.freeze_duration, out->mutable_freeze_duration());
}

}  // namespace

void ToProto(absl::Time time, google::protobuf::Timestamp* out) {
  const int64_t seconds = absl::ToUnixSeconds(time);
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(time - absl::FromUnixSeconds(seconds))));
}

void ToProto(absl::Duration duration, google::protobuf::Duration* out) {
  const int64_t seconds = absl::IDivDuration(duration, absl::Seconds(1), &duration);
  out->set_seconds(seconds);
  out->set_nanos(static_cast<int32_t>(absl::ToInt64Nanoseconds(duration)));
}

absl::Duration FromProto(const google::protobuf::Duration& duration) {
  return absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
}

absl::Time FromProto(const google::protobuf::Timestamp& time) {
  return absl::FromUnixSeconds(time.seconds()) + absl::Nanoseconds(time.nanos());
}

void ToProto(const catalog::Host& host, bool online, v1::Host* out) {
  out->set_name(NameOf(host.id));
  out->set_display_name(host.display_name);
  out->set_state(online ? v1::Host::STATE_ONLINE : v1::Host::STATE_OFFLINE);
  out->set_agent_version(host.agent_version);
  out->set_hypervisor(host.hypervisor);
  ToProto(host.create_time, out->mutable_create_time());
  ToProto(host.last_seen_time, out->mutable_last_seen_time());
  out->set_virtual_machine_count(host.vm_count);
  out->set_etag(std::to_string(host.revision));
  out->set_hypervisor_error(host.hypervisor_error);
  out->set_drained(host.drained);
  out->set_drain_note(host.drain_note);
  out->mutable_labels()->insert(host.labels.begin(), host.labels.end());
}

void ToProto(const catalog::Vm& vm, v1::VirtualMachine* out) {
  out->set_name(NameOf(vm.key));
  out->set_display_name(vm.display_name);
  out->set_uuid(vm.key.uuid);
  out->set_state(As<v1::VirtualMachineState>(vm.state));
  for (const catalog::VmDisk& disk : vm.disks) {
    v1::VirtualDisk* to = out->add_disks();
    to->set_name(disk.name);
    to->set_path(disk.path);
    to->set_format(disk.format);
    to->set_capacity_bytes(disk.capacity_bytes);
    to->set_allocated_bytes(disk.allocated_bytes);
  }
  for (const catalog::ExcludedDisk& disk : vm.excluded_disks) ToProto(disk, out->add_excluded_disks());
  out->mutable_guest_agent()->set_state(As<v1::GuestAgent::State>(vm.guest_agent_state));
  out->mutable_guest_agent()->set_version(vm.guest_agent_version);
  out->set_mechanism(As<v1::BackupMechanism>(vm.mechanism));
  out->set_mechanism_reason(vm.mechanism_reason);
  out->set_mechanism_message(vm.mechanism_message);
  if (!vm.cluster.resource.empty()) {
    out->mutable_cluster_resource()->set_resource(vm.cluster.resource);
    out->mutable_cluster_resource()->set_state(vm.cluster.state);
    out->mutable_cluster_resource()->set_node(vm.cluster.node);
  }
  for (const catalog::Obstacle& obstacle : vm.obstacles) ToProto(obstacle, out->add_mechanism_obstacles());
  for (const catalog::VmCheckpoint& checkpoint : vm.checkpoints) {
    v1::Checkpoint* to = out->add_checkpoints();
    to->set_name(checkpoint.name);
    to->set_parent(checkpoint.parent);
    to->set_kind(As<v1::Checkpoint::Kind>(checkpoint.kind));
    to->set_has_memory(checkpoint.has_memory);
    to->set_current(checkpoint.current);
    ToProto(checkpoint.create_time, to->mutable_create_time());
  }
  out->set_memory_bytes(vm.memory_bytes);
  out->mutable_labels()->insert(vm.labels.begin(), vm.labels.end());
  ToProto(vm.update_time, out->mutable_update_time());
  if (!vm.last_recovery_point.empty()) out->set_last_recovery_point(NameOf(vm.last_recovery_point));
}

void ToProto(const catalog::HostId& host, const catalog::Writer& writer, v1::Writer* out) {
  out->set_name(NameOf(host) + "/writers/" + writer.writer_id);
  out->set_display_name(writer.display_name);
  out->set_writer_id(writer.writer_id);
  out->set_instance_id(writer.instance_id);
  out->set_state(writer.state);
  out->set_last_failure_code(writer.last_failure_code);
  out->set_last_failure(writer.last_failure);
  out->set_component_count(writer.component_count);
}

void ToProto(const catalog::FileSet& set, v1::FileSet* out) {
  out->set_name(NameOf(set.key));
  out->set_display_name(set.display_name);
  for (const catalog::FileSetFolder& folder : set.folders) {
    v1::FileSet::Folder* to = out->add_folders();
    to->set_path(folder.path);
    to->set_filespec(folder.filespec);
    to->set_recursive(folder.recursive);
    for (const std::string& exclude : folder.excludes) to->add_excludes(exclude);
  }
  out->set_has_freeze_hook(set.has_freeze_hook);
  ToProto(set.update_time, out->mutable_update_time());
  if (!set.last_recovery_point.empty()) out->set_last_recovery_point(NameOf(set.last_recovery_point));
}

void ToProto(const catalog::BackupFigures& figures, v1::BackupFigures* out) {
  out->set_recovery_point_count(figures.recovery_point_count);
  out->set_logical_bytes(figures.logical_bytes);
  out->set_unique_bytes(figures.unique_bytes);
  out->set_stored_bytes(figures.stored_bytes);
  out->set_dedup_ratio(RatioOf(figures.logical_bytes, figures.unique_bytes));
  out->set_compression_ratio(RatioOf(figures.unique_bytes, figures.stored_bytes));
}

void ToProto(const catalog::Damage& damage, v1::RecoveryPointDamage* out) {
  out->set_disk(damage.disk);
  out->set_offset_bytes(damage.offset_bytes);
  out->set_length_bytes(damage.length_bytes);
  out->set_reason(damage.reason);
  out->set_message(damage.message);
  ToProto(damage.found_time, out->mutable_found_time());
  if (damage.healed_time) ToProto(*damage.healed_time, out->mutable_healed_time());
}

double RatioOf(int64_t whole, int64_t part) {
  return whole > 0 && part > 0 ? static_cast<double>(whole) / static_cast<double>(part) : 0;
}

void ToProto(const catalog::RecoveryPoint& point, v1::RecoveryPoint* out) {
  out->set_name(NameOf(point.id));
  const bool is_file_set = filetree::FileSetOf(point.vm.uuid).has_value();
  if (is_file_set) {
    FilesToProto(point, out);
  } else {
    out->set_virtual_machine(NameOf(point.vm));
  }
  out->set_virtual_machine_display_name(point.vm_display_name);
  out->set_repository(NameOf(point.repository));
  out->set_job(NameOf(point.job));
  ToProto(point.point_time, out->mutable_point_time());
  ToProto(point.create_time, out->mutable_create_time());
  out->set_mechanism(As<v1::BackupMechanism>(point.mechanism));
  out->set_mechanism_reason(point.mechanism_reason);
  ToProto(point.freeze_duration, out->mutable_freeze_duration());
  for (const catalog::RecoveryPointDisk& disk : point.disks) {
    if (is_file_set) break;
    v1::RecoveryPointDisk* to = out->add_disks();
    to->set_name(disk.name);
    to->set_capacity_bytes(disk.capacity_bytes);
    to->set_data_bytes(disk.data_bytes);
    to->set_format(disk.format);
    to->set_path(disk.path);
  }
  for (const catalog::ExcludedDisk& disk : point.excluded_disks) ToProto(disk, out->add_excluded_disks());
  ToProto(point.downtime, out->mutable_downtime());
  for (const catalog::Obstacle& obstacle : point.obstacles) ToProto(obstacle, out->add_mechanism_obstacles());
  if (point.state_bytes > 0) {
    out->mutable_memory()->set_size_bytes(point.state_bytes);
    out->mutable_memory()->set_data_bytes(point.state_data_bytes);
  }
  out->set_read_bytes(point.read_bytes);
  out->set_stored_bytes(point.stored_bytes);
  catalog::BackupFigures figures{.recovery_point_count = 1,
                                 .logical_bytes = point.state_data_bytes,
                                 .unique_bytes = point.new_bytes,
                                 .stored_bytes = point.stored_bytes};
  for (const catalog::RecoveryPointDisk& disk : point.disks) figures.logical_bytes += disk.data_bytes;
  ToProto(figures, out->mutable_figures());
  ToProto(point.protection, out);
  out->set_configuration(point.configuration);
  for (const catalog::Document& document : point.documents) out->add_vss_documents(document.content);
}

void ToProto(const catalog::Event& event, v1::Event* out) {
  out->set_sequence(event.sequence);
  ToProto(event.time, out->mutable_time());
  out->set_type(event.type);
  out->set_resource(event.resource);
  out->set_severity(As<v1::Event::Severity>(event.severity));
  out->set_message(event.message);
}

void ToProto(const catalog::JobSpec& spec, v1::Job* out) {
  if (const auto* backup = std::get_if<catalog::BackupSpec>(&spec)) ToProto(*backup, out->mutable_backup());
  if (const auto* restore = std::get_if<catalog::RestoreSpec>(&spec)) ToProto(*restore, out->mutable_restore());
  if (const auto* verify = std::get_if<catalog::VerifySpec>(&spec)) ToProto(*verify, out->mutable_verify());
  if (const auto* prune = std::get_if<catalog::PruneSpec>(&spec)) ToProto(*prune, out->mutable_prune());
  if (const catalog::HostId host = catalog::HostOf(spec); !host.empty()) out->set_host(NameOf(host));
}

void ToProto(const catalog::BackupHooks& hooks, v1::BackupHooks* out) {
  out->set_pre(hooks.pre);
  out->set_post(hooks.post);
  out->set_ignore_pre_failure(hooks.ignore_pre_failure);
}

void ToProto(const catalog::JobTerms& terms, v1::Job* out) {
  if (!terms.policy.empty()) out->set_policy(NameOf(terms.policy));
  out->set_priority(terms.priority);
  if (terms.due_time) ToProto(*terms.due_time, out->mutable_due_time());
  if (terms.not_after) ToProto(*terms.not_after, out->mutable_not_after());
  if (terms.retries_max > 0) {
    out->mutable_retry()->set_max_retries(terms.retries_max);
    ToProto(terms.retry_backoff, out->mutable_retry()->mutable_backoff());
  }
  out->set_upload_bytes_per_second(terms.upload_bytes_per_second);
  if (terms.policy_jobs_max > 0 || terms.policy_host_jobs_max > 0) {
    out->mutable_policy_concurrency()->set_jobs(terms.policy_jobs_max);
    out->mutable_policy_concurrency()->set_jobs_per_host(terms.policy_host_jobs_max);
  }
}

void ToProto(const catalog::Job& job, v1::Job* out) {
  out->set_name(NameOf(job.id));
  ToProto(job.spec, out);
  out->set_state(As<v1::Job::State>(job.state));
  out->set_phase(As<v1::Job::Phase>(job.phase));
  out->set_wait_reason(job.wait_reason);
  ToProto(job.progress, out->mutable_progress());
  ToProto(job.terms, out);
  out->set_attempt(job.attempt);
  out->set_failed_attempts(job.failed_attempts);
  if (!job.last_attempt_error.reason.empty()) ToProto(job.last_attempt_error, out->mutable_last_attempt_error());
  if (job.next_attempt_time) ToProto(*job.next_attempt_time, out->mutable_next_attempt_time());
  ToProto(job.create_time, out->mutable_create_time());
  if (job.start_time) ToProto(*job.start_time, out->mutable_start_time());
  if (job.end_time) ToProto(*job.end_time, out->mutable_end_time());
  for (const catalog::JobPhaseTime& phase : job.phases) {
    v1::JobPhase* const to = out->add_phases();
    to->set_phase(As<v1::Job::Phase>(phase.phase));
    ToProto(phase.start_time, to->mutable_start_time());
    if (phase.end_time) ToProto(*phase.end_time, to->mutable_end_time());
  }
  for (const catalog::JobWriter& writer : job.writers) ToProto(writer, out->add_writers());
  ResultToProto(job, out);
  if (job.prune_result) ToProto(*job.prune_result, out->mutable_prune_result());
  out->set_etag(std::to_string(job.revision));
}

}  // namespace umbra::api
