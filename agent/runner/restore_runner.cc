#include "agent/runner/restore_runner.h"

#include <map>
#include <optional>
#include <set>
#include <utility>

#include "agent/runner/convert.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {
namespace {

// Left free beside the data: image tables, and room for the guest's first writes.
constexpr uint64_t kSpaceReserveBytes = 64 * base::kMiB;
// After a start from saved memory the guest's agent takes a moment; a guest without one is not waited for.
constexpr absl::Duration kClockPatience = absl::Seconds(10);
constexpr size_t kNameSizeMax = 200;  // leaves room for endings in a file name of 255 bytes

absl::Status InvalidRequest(std::string message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", std::move(message));
}

// A name that can't leave its folder or break a line.
bool IsFileName(std::string_view name) {
  if (name.empty() || name == "." || name == ".." || name.size() > kNameSizeMax) return false;
  for (const char c : name) {
    if (c == '/' || static_cast<unsigned char>(c) < 0x20 || c == 0x7f) return false;
  }
  return true;
}

// Memory lies beside the first disk while it is needed.
absl::Status PlanState(const agent::v1::RestoreAssignment& work, RestorePlan* plan) {
  if (!work.resume_state()) return absl::OkStatus();
  const v1::RecoveryPoint& point = work.recovery_point();
  if (!plan->in_place) {
    return InvalidRequest(fmt::format("only in place can a virtual machine go on from its saved memory, which belongs to the "
                                      "name and uuid of {}", point.virtual_machine_display_name()));
  }
  if (point.memory().size_bytes() <= 0) {
    return base::MakeError(absl::StatusCode::kFailedPrecondition, "STATE_NOT_FOUND",
                           "the recovery point holds no memory; restore it without resuming, and it boots from its disks");
  }
  DiskTarget state;
  state.disk.set_name(kMemoryStateName);
  state.disk.set_format(hypervisor::kStateFileFormat);
  state.disk.set_capacity_bytes(point.memory().size_bytes());
  state.disk.set_data_bytes(point.memory().data_bytes());
  state.path = state.written_path =
      fmt::format("{}/{}{}", base::DirectoryOf(plan->disks.front().path), kMemoryStateName, kRestoreSuffix);
  plan->state = std::move(state);
  return absl::OkStatus();
}

// Makes `folder` and what it lies in; after a power cut they are still there.
absl::Status MakeDurable(base::Filesystem& files, const std::string& folder) {
  std::vector<std::string> holders;  // of names that are new
  for (std::string at = folder;;) {
    ASSIGN_OR_RETURN(const bool exists, files.Exists(at));
    if (exists || at == "/") break;
    at = base::DirectoryOf(at);
    holders.push_back(at);
  }
  RETURN_IF_ERROR(files.MakeDirectories(folder));
  for (const std::string& holder : holders) RETURN_IF_ERROR(files.SyncDirectory(holder));
  return absl::OkStatus();
}

// The {uuid} of "hosts/{host}/virtualMachines/{uuid}".
std::string LastSegment(const std::string& name) { return name.substr(name.rfind('/') + 1); }

}  // namespace

absl::StatusOr<RestorePlan> PlanRestore(const agent::v1::RestoreAssignment& work, const std::string& default_folder) {
  const v1::RecoveryPoint& point = work.recovery_point();
  RestorePlan plan{.vm_uuid = LastSegment(point.virtual_machine())};
  if (work.mode() == v1::RestoreSpec::MODE_UNSPECIFIED) return InvalidRequest("no restore mode given");
  plan.in_place = work.mode() == v1::RestoreSpec::MODE_IN_PLACE;
  plan.vm_name = point.virtual_machine_display_name();
  if (!plan.in_place) {
    plan.vm_name = work.display_name().empty() ? point.virtual_machine_display_name() + "-restored" : work.display_name();
  }
  if (!IsFileName(plan.vm_name)) return InvalidRequest(fmt::format("\"{}\" can't be the name of a virtual machine", plan.vm_name));
  if (point.disks().empty()) return InvalidRequest("the recovery point has no disks");
  if (!plan.in_place || !work.target_folder().empty()) {
    plan.new_folder = fmt::format("{}/{}", work.target_folder().empty() ? default_folder : work.target_folder(), plan.vm_name);
  }
  if (!plan.new_folder.empty() && plan.new_folder.front() != '/') return InvalidRequest("the target folder is not an absolute path");
  for (const v1::RecoveryPointDisk& disk : point.disks()) {
    DiskTarget target{.disk = disk};
    if (!IsFileName(disk.name()) || !IsFileName(disk.format())) return InvalidRequest("a disk's name is no file name");
    if (!plan.new_folder.empty()) {
      target.path = target.written_path = fmt::format("{}/{}.{}", plan.new_folder, disk.name(), disk.format());
    } else if (disk.path().empty() || disk.path().starts_with("/dev/")) {
      return InvalidRequest(fmt::format("disk {} was on the device \"{}\": give a target folder", disk.name(), disk.path()));
    } else {
      target.path = disk.path();
      target.written_path = disk.path() + kRestoreSuffix;
    }
    plan.disks.push_back(std::move(target));
  }
  RETURN_IF_ERROR(PlanState(work, &plan));
  return plan;
}

RestoreRunner::RestoreRunner(const RunnerContext& context, const agent::v1::AssignmentId& id,
                             const agent::v1::RestoreAssignment& work, transfer::Cancellation& cancellation,
                             JobReporter& reporter)
    : context_(context),
      id_(id),
      work_(work),
      cancellation_(cancellation),
      reporter_(reporter),
      store_(context.make_store(cancellation)),
      ledger_(context.ledgers.machines(), fmt::format("{}-{}", LastSegment(id.job_id()), id.attempt())) {}

absl::Status RestoreRunner::Run(agent::v1::AssignmentResult* result) {
  reporter_.SetPhase(v1::Job::PHASE_GATHERING);
  ASSIGN_OR_RETURN(plan_, PlanRestore(work_, context_.hypervisor.DefaultFolder()));
  RETURN_IF_ERROR(CheckTargets());
  RETURN_IF_ERROR(CheckSpace());
  RETURN_IF_ERROR(cancellation_.Check());

  absl::Status status = PreRestore();
  if (status.ok()) status = WriteDisks();
  if (status.ok()) status = TakeNames();
  if (status.ok()) status = Define(result);
  return status.ok() ? status : Explain(status);
}

// Nothing may be in the way of new files. What an attempt before this one left of its own may go.
absl::Status RestoreRunner::CheckTargets() {
  if (!plan_.new_folder.empty()) {
    ASSIGN_OR_RETURN(const bool exists, context_.files.Exists(plan_.new_folder));
    if (exists) {
      return base::Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS", "{} exists already; choose another name or folder",
                         plan_.new_folder);
    }
    return absl::OkStatus();
  }
  for (const DiskTarget& target : plan_.disks) {
    ASSIGN_OR_RETURN(const bool exists, context_.files.Exists(target.written_path));
    if (exists) RETURN_IF_ERROR(context_.files.Remove(target.written_path));
  }
  if (!plan_.state.has_value()) return absl::OkStatus();
  const absl::Status removed = context_.files.Remove(plan_.state->written_path);
  return absl::IsNotFound(removed) ? absl::OkStatus() : removed;
}

absl::Status RestoreRunner::CheckSpace() {
  struct Volume {
    std::string folder;  // one that exists on it
    uint64_t needed_bytes = kSpaceReserveBytes;
  };
  std::map<std::string, Volume> volumes;
  std::vector<DiskTarget> targets = plan_.disks;
  if (plan_.state.has_value()) targets.push_back(*plan_.state);
  for (const DiskTarget& target : targets) {
    std::string folder = base::DirectoryOf(target.written_path);
    while (folder != "/" && !context_.files.Exists(folder).value_or(false)) folder = base::DirectoryOf(folder);
    ASSIGN_OR_RETURN(const std::string name, context_.files.VolumeOf(folder));
    volumes[name].folder = folder;
    volumes[name].needed_bytes += static_cast<uint64_t>(target.disk.data_bytes());
  }
  for (const auto& [name, volume] : volumes) {
    ASSIGN_OR_RETURN(const uint64_t free, context_.files.FreeSpace(volume.folder));
    if (free >= volume.needed_bytes) continue;
    return base::Error(absl::StatusCode::kResourceExhausted, "TARGET_FULL", "{} has {} free, the restore needs {}",
                       volume.folder, base::FormatSize(free), base::FormatSize(volume.needed_bytes));
  }
  return absl::OkStatus();
}

absl::Status RestoreRunner::PreRestore() {
  reporter_.SetPhase(v1::Job::PHASE_PREPARING);
  writers::VmRestoreOptions options{.documents = ToBackupDocuments(work_),
                                    .configuration = work_.recovery_point().configuration(),
                                    .vm_uuid = plan_.vm_uuid,
                                    .vm_name = work_.recovery_point().virtual_machine_display_name(),
                                    .new_name = plan_.in_place ? "" : plan_.vm_name,
                                    .take_cluster_offline = work_.take_cluster_offline()};
  for (const DiskTarget& target : plan_.disks) options.disk_paths.emplace_back(target.disk.name(), target.path);
  restore_ = context_.host.NewRestore(std::move(options));
  RETURN_IF_ERROR(restore_->PreRestore());
  pre_restored_ = true;
  base::CrashPoint("agent.restore.deleted");
  return absl::OkStatus();
}

absl::Status RestoreRunner::WriteDisks() {
  std::vector<std::string> paths;
  for (const DiskTarget& target : plan_.disks) {
    paths.push_back(target.written_path);
    reporter_.meter().AddDisk(plan_.vm_uuid, target.disk.name(), static_cast<uint64_t>(target.disk.capacity_bytes()));
  }
  if (plan_.state.has_value()) {
    paths.push_back(plan_.state->written_path);
    reporter_.meter().AddDisk(plan_.vm_uuid, kMemoryStateName, static_cast<uint64_t>(plan_.state->disk.capacity_bytes()));
  }
  RETURN_IF_ERROR(ledger_.Record(paths, plan_.new_folder));
  if (!plan_.new_folder.empty()) {
    RETURN_IF_ERROR(MakeDurable(context_.files, plan_.new_folder));
    RETURN_IF_ERROR(context_.files.AllowTraversal(plan_.new_folder));
  }
  reporter_.SetPhase(v1::Job::PHASE_TRANSFERRING);
  for (size_t i = 0; i < plan_.disks.size(); ++i) {
    RETURN_IF_ERROR(base::Annotate(WriteDisk(plan_.disks[i], i), "{}, disk {}", plan_.vm_name, plan_.disks[i].disk.name()));
  }
  if (plan_.state.has_value()) {
    RETURN_IF_ERROR(base::Annotate(WriteDisk(*plan_.state, plan_.disks.size()), "{}, saved memory", plan_.vm_name));
  }
  return cancellation_.Check();
}

absl::Status RestoreRunner::WriteDisk(const DiskTarget& target, size_t meter_disk) {
  const auto capacity = static_cast<uint64_t>(target.disk.capacity_bytes());
  const absl::Duration start = context_.clock.Monotonic();
  // In place, the old disk may have most of it already. Nobody writes to it: its virtual machine is gone, and the new file
  // has its content for itself.
  const std::string old = target.path == target.written_path ? "" : target.path;
  ASSIGN_OR_RETURN(const std::unique_ptr<hypervisor::BlockWriter> writer,
                   context_.hypervisor.CreateDisk({.path = target.written_path,
                                                   .format = target.disk.format(),
                                                   .capacity_bytes = capacity,
                                                   .seed_path = old}));
  hypervisor::BlockReader* const seed = writer->seed();
  {
    transfer::DiskRestorer restorer(*store_, *writer, reporter_.meter(), meter_disk, cancellation_, context_.clock,
                                    context_.random, context_.settings.restore);
    if (seed != nullptr) restorer.UseSeed(*seed);
    RETURN_IF_ERROR(restorer.Run({.job_id = id_.job_id(),
                                  .attempt = id_.attempt(),
                                  .recovery_point_id = work_.recovery_point_id(),
                                  .disk = target.disk.name(),
                                  .capacity_bytes = capacity}));
  }
  RETURN_IF_ERROR(writer->Finish());
  ++disks_written_;
  base::Log("runner")->info("disk restored job={} path={} capacity_bytes={} from_old_disk={} seconds={:.1f}", id_.job_id(),
                            target.written_path, capacity, seed != nullptr, absl::ToDoubleSeconds(context_.clock.Monotonic() - start));
  return absl::OkStatus();
}

// Every byte of every new file is verified and durable: now, and only now, the old ones go.
absl::Status RestoreRunner::TakeNames() {
  reporter_.SetPhase(v1::Job::PHASE_COMPLETING);
  std::vector<journal::RestoredDisk> moves;
  for (const DiskTarget& target : plan_.disks) moves.push_back({target.disk.name(), target.written_path, target.path});
  RETURN_IF_ERROR(restore_->FilesTakeNames(std::move(moves)));
  base::CrashPoint("agent.restore.renaming");
  std::set<std::string> folders;
  for (const DiskTarget& target : plan_.disks) {
    folders.insert(base::DirectoryOf(target.path));
    if (target.path == target.written_path) continue;
    RETURN_IF_ERROR(context_.files.Rename(target.written_path, target.path));
    names_taken_ = true;
  }
  for (const std::string& folder : folders) RETURN_IF_ERROR(context_.files.SyncDirectory(folder));
  base::CrashPoint("agent.restore.files_written");
  return absl::OkStatus();
}

absl::Status RestoreRunner::Define(agent::v1::AssignmentResult* result) {
  RETURN_IF_ERROR(restore_->SetFilesRestored(vss::FileRestoreStatus::kAll));
  ASSIGN_OR_RETURN(const hypervisor::DefinedVm vm, restore_->PostRestore());
  base::CrashPoint("agent.restore.defined");
  result->set_restored_virtual_machine(vm.uuid);
  if (const auto& outcome = restore_->cluster_outcome(); outcome.has_value() && !outcome->brought_back.ok()) {
    reporter_.Warn(base::Annotate(outcome->brought_back, "{} is restored, but not back online in the cluster", vm.name));
  }
  for (const hypervisor::Warning& warning : vm.warnings) reporter_.Warn(warning.reason, warning.message);
  base::Log("runner")->info("virtual machine restored job={} vm={} name={}", id_.job_id(), vm.uuid, vm.name);
  PowerUp(vm.uuid);
  ledger_.Clear();
  return absl::OkStatus();
}

// The virtual machine is restored whatever happens here.
void RestoreRunner::PowerUp(const std::string& vm_uuid) {
  const bool left_to_cluster = LeftToCluster();
  if (plan_.state.has_value()) return left_to_cluster ? DropState() : GoOnFromState(vm_uuid);
  if (!work_.power_on() || left_to_cluster) return;
  if (absl::Status started = context_.hypervisor.Start(vm_uuid); !started.ok()) {
    reporter_.Warn(base::Annotate(started, "{} is restored but could not be started", plan_.vm_name));
  }
}

void RestoreRunner::RemoveState() {
  if (absl::Status removed = context_.files.Remove(plan_.state->path); !removed.ok()) {
    reporter_.Warn(base::Annotate(removed, "the file with the memory of {} is left behind", plan_.vm_name));
  }
}

// The cluster knows only how to boot.
void RestoreRunner::DropState() {
  RemoveState();
  reporter_.Warn("SAVED_STATE_UNSUPPORTED",
                 fmt::format("{} is the resource of a cluster, which starts it: it boots from its disks", plan_.vm_name));
}

void RestoreRunner::GoOnFromState(const std::string& vm_uuid) {
  const absl::Status started = context_.hypervisor.StartFromState(vm_uuid, plan_.state->path, /*paused=*/false);
  base::CrashPoint("agent.resume.started");
  RemoveState();
  if (!started.ok()) {
    reporter_.Warn(base::Annotate(started, "{} is restored but could not go on from its saved memory; start it, and it boots "
                                  "from its disks", plan_.vm_name));
    return;
  }
  base::Log("runner")->info("virtual machine goes on from its saved memory job={} vm={}", id_.job_id(), vm_uuid);
  if (absl::Status clock = context_.hypervisor.SyncGuestClock(vm_uuid, kClockPatience); !clock.ok()) {
    reporter_.Warn("GUEST_CLOCK_NOT_SET", fmt::format("the clock of {} shows the instant of the backup until its guest sets it: {}",
                                                      plan_.vm_name, base::MessageOf(clock)));
  }
}

// A cluster's resource is started by its cluster, and by nobody else. False when the virtual machine is none.
bool RestoreRunner::LeftToCluster() {
  const std::optional<writers::ClusterOutcome>& outcome = restore_->cluster_outcome();
  if (!outcome.has_value()) return false;
  if (outcome->brought_back.ok() && !outcome->online && work_.power_on()) {
    reporter_.Warn("CLUSTER_RESOURCE_OFFLINE",
                   fmt::format("{} is restored but not started: it is the cluster's resource {}, which was offline before; "
                               "start it in the cluster",
                               plan_.vm_name, outcome->resource));
  }
  return true;
}

// Puts back what can be put back, and says what is left.
absl::Status RestoreRunner::Explain(const absl::Status& status) {
  if (pre_restored_) {
    // Registers nothing (R4); its answer says no more than `status` does.
    restore_->SetFilesRestored(disks_written_ == 0 ? vss::FileRestoreStatus::kNone : vss::FileRestoreStatus::kFailed)
        .IgnoreError();
    restore_->PostRestore().status().IgnoreError();
  }
  std::string left;
  if (const std::vector<std::string> files = ledger_.RemoveFiles(); !files.empty()) {
    left = fmt::format("; these partial files could not be removed: {}", fmt::join(files, ", "));
  }
  std::string state = fmt::format("nothing of {} was registered or left behind", plan_.vm_name);
  if (plan_.in_place && pre_restored_) {
    state = fmt::format("{} is no longer registered with the hypervisor", plan_.vm_name);
    if (names_taken_) {
      state += "; its disk files are those of the recovery point, at least in part";
    } else {
      state += "; its old disk files are untouched:";
      for (const DiskTarget& target : plan_.disks) state += " " + target.disk.path();
    }
    state += "; restore again to get it back";
    if (const auto& outcome = restore_->cluster_outcome(); outcome.has_value() && !outcome->online) {
      state += fmt::format("; the cluster's resource {} stays offline until then", outcome->resource);
    }
  } else if (plan_.in_place) {
    state = fmt::format("{} was not touched", plan_.vm_name);
  }
  const v1::JobMessage message = ToJobMessage(status);
  return base::MakeError(status.code(), message.reason(), fmt::format("{}; {}{}", message.message(), state, left));
}

}  // namespace umbra::runner
