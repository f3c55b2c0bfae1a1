#include "agent/writers/hyperv_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <utility>

#include "agent/journal/crash_points.h"
#include "agent/vss/errors.h"
#include "agent/writers/clustered_capture.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::writers {

struct HypervWriter::WorkVm {
  CapturedVm captured;
  BackupOptions options;
  std::string component_name;
  std::vector<hypervisor::GuestFilesystem> filesystems;
  std::unique_ptr<VmCapture> capture;  // from PrepareSnapshot on
};

struct HypervWriter::Work {
  std::vector<WorkVm> vms;
};

HypervWriter::HypervWriter(const providers::PointInTimeTools& tools, providers::CheckpointProvider& provider,
                           base::Filesystem& filesystem, base::Random& random, HypervWriterOptions options)
    : tools_(tools),
      provider_(provider),
      filesystem_(filesystem),
      random_(random),
      options_(std::move(options)),
      identity_{kHypervWriterId, options_.instance_id, std::string(kHypervWriterName), "",
                vss::ApplicationLevel::kFrontEnd} {}

HypervWriter::~HypervWriter() = default;

HypervWriter::Work* HypervWriter::FindWork(const vss::Guid& session_id) const {
  absl::MutexLock lock(&mu_);
  const auto found = work_.find(session_id);
  return found == work_.end() ? nullptr : found->second.get();
}

void HypervWriter::Drop(const vss::Guid& session_id) {
  std::unique_ptr<Work> dropped;  // closes its views after the lock is gone
  absl::MutexLock lock(&mu_);
  if (const auto found = work_.find(session_id); found != work_.end()) {
    dropped = std::move(found->second);
    work_.erase(found);
  }
}

absl::StatusOr<std::vector<CapturedVm>> HypervWriter::Captured(const vss::Guid& session_id) const {
  const Work* work = FindWork(session_id);
  if (work == nullptr) return vss::Error(vss::Code::kObjectNotFound, "no backup {}", session_id.ToString());
  std::vector<CapturedVm> captured;
  for (const WorkVm& vm : work->vms) captured.push_back(vm.captured);
  return captured;
}

absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> HypervWriter::OpenState(const vss::Guid& session_id,
                                                                                 const std::string& vm_uuid) const {
  ASSIGN_OR_RETURN(const std::vector<CapturedVm> captured, Captured(session_id));
  for (const CapturedVm& vm : captured) {
    if (vm.vm.uuid == vm_uuid && vm.state.exists()) return hypervisor::OpenFile(filesystem_, vm.state.path);
  }
  return base::Error(absl::StatusCode::kNotFound, "STATE_NOT_FOUND", "no memory of {} was saved", vm_uuid);
}

// --- identify ---

absl::StatusOr<vss::WriterMetadata> HypervWriter::OnIdentify(const vss::EventContext&) {
  ASSIGN_OR_RETURN(const auto vms, DescribeVms(tools_.hypervisor, filesystem_, options_.guest_agent_timeout));
  vss::WriterMetadata metadata;
  metadata.writer_id = identity_.writer_id;
  metadata.instance_id = identity_.instance_id;
  metadata.writer_name = identity_.name;
  metadata.usage = vss::UsageType::kUserData;
  metadata.source = vss::SourceType::kOther;
  metadata.restore_method.method = vss::RestoreMethod::kRestoreIfCanReplace;
  metadata.restore_method.writer_restore = vss::WriterRestore::kAlways;
  for (const VmDescription& vm : vms) metadata.components.push_back(ComponentOf(vm));
  return metadata;
}

// --- backup ---

absl::Status HypervWriter::CheckNotBusy(const std::string& vm_uuid) const {
  absl::MutexLock lock(&mu_);
  for (const auto& [session_id, work] : work_) {
    for (const WorkVm& vm : work->vms) {
      if (vm.captured.vm.uuid != vm_uuid) continue;
      return base::Error(absl::StatusCode::kFailedPrecondition, "VM_BUSY", "{} is in another backup",
                         vm.captured.vm.name);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<HypervWriter::WorkVm> HypervWriter::Plan(const vss::EventContext& context,
                                                        const vss::BackupComponent& component) {
  const std::string uuid = VmUuidOf(component.name);
  RETURN_IF_ERROR(CheckNotBusy(uuid));
  WorkVm vm;
  vm.component_name = component.name;
  ASSIGN_OR_RETURN(vm.options, ParseBackupOptions(component.backup_options));
  if (vm.options.owner_tag.empty()) vm.options.owner_tag = context.session_id.ToString();
  ASSIGN_OR_RETURN(VmDescription description,
                   DescribeVm(tools_.hypervisor, filesystem_, uuid, options_.guest_agent_timeout));
  ASSIGN_OR_RETURN(vm.captured.plan, PlanBackup(description.vm, description.choice, vm.options.mechanism));
  // B8: PostSnapshot changes the copy, so it must be allowed to.
  const bool child = vm.captured.plan.mechanism == BackupMechanism::kChildSnapshot;
  if (child && (context.context & vss::kAttrNoAutoRecovery) != 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "VSS_NO_AUTORECOVERY",
                       "{}: the snapshot context forbids auto-recovery, which child snapshot needs",
                       description.vm.name);
  }
  vm.captured.vm = std::move(description.vm);
  vm.captured.excluded_disks = std::move(description.excluded_disks);
  vm.filesystems = std::move(description.agent.filesystems);
  return vm;
}

// The virtual machines that a backup is about (docs/adr/0030): in component mode those that were selected, in volume mode
// those whose files are in the set, which nobody told us anything about.
absl::StatusOr<std::vector<vss::BackupComponent>> HypervWriter::Scope(const vss::EventContext& context) {
  if (context.backup_state.select_components) return context.components;
  ASSIGN_OR_RETURN(const auto vms, tools_.hypervisor.ListVms());
  std::vector<vss::BackupComponent> scope;
  for (const hypervisor::VmInfo& vm : vms) {
    const std::string volume = providers::CheckpointProvider::VolumeOf(vm.uuid);
    if (std::find(context.volumes.begin(), context.volumes.end(), volume) == context.volumes.end()) continue;
    scope.emplace_back().name = ComponentIdOf(vm.uuid).name;
  }
  return scope;
}

absl::Status HypervWriter::OnPrepareBackup(vss::EventContext& context) {
  auto work = std::make_unique<Work>();
  ASSIGN_OR_RETURN(const std::vector<vss::BackupComponent> scope, Scope(context));
  for (const vss::BackupComponent& component : scope) {
    ASSIGN_OR_RETURN(WorkVm vm, Plan(context, component));
    work->vms.push_back(std::move(vm));
  }
  absl::MutexLock lock(&mu_);
  work_[context.session_id] = std::move(work);
  return absl::OkStatus();
}

absl::Status HypervWriter::CheckVolumes(const vss::EventContext& context, const Work& work) const {
  for (const WorkVm& vm : work.vms) {
    const std::string volume = providers::CheckpointProvider::VolumeOf(vm.captured.vm.uuid);
    if (std::find(context.volumes.begin(), context.volumes.end(), volume) != context.volumes.end()) continue;
    return vss::Error(vss::Code::kWriterErrorInconsistentSnapshot, "the snapshot set lacks {} of {}", volume,
                      vm.captured.vm.name);
  }
  return absl::OkStatus();
}

std::unique_ptr<VmCapture> HypervWriter::CaptureOf(const WorkVm& vm) {
  CaptureRequest request;
  request.vm = vm.captured.vm;
  for (const hypervisor::Disk& disk : IncludedDisks(request.vm)) request.options.disks.push_back(disk.name);
  request.options.scratch_folder = options_.scratch_folder;
  request.options.owner_tag = vm.options.owner_tag;
  request.options.track_changes = true;
  request.options.base = vm.options.base;
  request.freeze = options_.freeze;
  request.resume_patience = options_.resume_patience;
  if (vm.options.freeze_timeout > absl::ZeroDuration()) request.freeze.freeze_timeout = vm.options.freeze_timeout;
  request.filesystems = vm.filesystems;
  const hypervisor::VmInfo& info = vm.captured.vm;
  auto capture = NewCapture(vm.captured.plan.mechanism,
                            {tools_, provider_, filesystem_, random_, options_.guest_writers}, std::move(request));
  if (options_.cluster == nullptr || !capture->stops_the_guest()) return capture;
  return std::make_unique<ClusteredCapture>(*options_.cluster, info.uuid, info.name, vm.options.owner_tag,
                                            std::move(capture));  // C2
}

absl::Status HypervWriter::PrepareOne(const vss::EventContext& context, WorkVm& vm) {
  ASSIGN_OR_RETURN(vm.captured.configuration, tools_.hypervisor.Configuration(vm.captured.vm.uuid));
  vm.capture = CaptureOf(vm);
  return vm.capture->Prepare(context.snapshot_set_id);
}

absl::Status HypervWriter::PrepareAndTake(const vss::EventContext& context, Work& work) {
  RETURN_IF_ERROR(CheckVolumes(context, work));
  for (WorkVm& vm : work.vms) RETURN_IF_ERROR(base::Annotate(PrepareOne(context, vm), "{}", vm.captured.vm.name));
  const auto capture = [](WorkVm& vm) { return base::Annotate(vm.capture->Capture(), "{}", vm.captured.vm.name); };
  for (WorkVm* vm : Stopping(work, false)) RETURN_IF_ERROR(capture(*vm));
  // Those that stand still afterwards come last, because they need not wait for the others, and together, because they wait
  // for each other.
  const std::vector<WorkVm*> stopping = Stopping(work, true);
  return base::InParallel(*options_.threads, stopping.size(), options_.saves_at_once,
                          [&](size_t i) { return capture(*stopping[i]); });
}

// Those that stand still from their capture on, or those that don't.
std::vector<HypervWriter::WorkVm*> HypervWriter::Stopping(Work& work, bool stops) {
  std::vector<WorkVm*> vms;
  for (WorkVm& vm : work.vms) {
    if (vm.capture->stops_the_guest() == stops) vms.push_back(&vm);
  }
  return vms;
}

absl::Status HypervWriter::OnPrepareSnapshot(vss::EventContext& context) {
  Work* work = FindWork(context.session_id);
  if (work == nullptr) return vss::Error(vss::Code::kBadState, "PrepareSnapshot without PrepareBackup");
  const absl::Status taken = PrepareAndTake(context, *work);
  // B9: no partial backup. Nobody else undoes it: a failure here brings no Abort.
  if (!taken.ok()) Drop(context.session_id);
  return taken;
}

absl::Status HypervWriter::OnPostSnapshot(vss::EventContext& context) {
  Work* work = FindWork(context.session_id);
  if (work == nullptr) return vss::Error(vss::Code::kBadState, "PostSnapshot without PrepareSnapshot");
  if (const absl::Status after = AfterSnapshot(*work); !after.ok()) {
    Drop(context.session_id);  // a failure here brings no Abort either
    return after;
  }
  for (WorkVm& vm : work->vms) {
    ASSIGN_OR_RETURN(const BackupFacts facts, FactsOf(context, vm.captured));
    for (vss::BackupComponent& component : context.components) {
      if (component.name == vm.component_name) component.backup_metadata = Print(facts);
    }
  }
  return absl::OkStatus();
}

// Those that stand still go on first, all at once, and none waits because another one can't.
absl::Status HypervWriter::AfterSnapshot(Work& work) {
  const std::vector<WorkVm*> stopped = Stopping(work, true);
  std::vector<absl::Status> ended(stopped.size());
  absl::Status first = base::InParallel(*options_.threads, stopped.size(), stopped.size(), [&](size_t i) {
    ended[i] = stopped[i]->capture->AfterSnapshot();
    return absl::OkStatus();
  });
  for (size_t i = 0; i < stopped.size(); ++i) first.Update(base::Annotate(ended[i], "{}", stopped[i]->captured.vm.name));
  for (WorkVm* vm : Stopping(work, false)) {
    first.Update(base::Annotate(vm->capture->AfterSnapshot(), "{}", vm->captured.vm.name));
  }
  for (WorkVm& vm : work.vms) {
    vm.captured.figures = vm.capture->figures();
    vm.captured.state = vm.capture->state();
  }
  return first;
}

absl::StatusOr<BackupFacts> HypervWriter::FactsOf(const vss::EventContext& context, const CapturedVm& captured) {
  BackupFacts facts;
  facts.mechanism = NameOf(captured.plan.mechanism);
  facts.mechanism_reason = captured.plan.reason;
  facts.obstacles = captured.plan.obstacles;
  facts.freeze_duration = captured.figures.freeze_duration;
  facts.downtime = captured.figures.downtime;
  facts.state_bytes = captured.state.size_bytes;
  ASSIGN_OR_RETURN(facts.point_time, provider_.PointTime(context.snapshot_set_id, captured.vm.uuid));
  for (const hypervisor::Disk& disk : IncludedDisks(captured.vm)) facts.disk_paths.emplace_back(disk.name, disk.path);
  facts.checkpoints = captured.vm.checkpoints;
  return facts;
}

absl::Status HypervWriter::OnBackupComplete(vss::EventContext& context) {
  Work* work = FindWork(context.session_id);
  if (work == nullptr) return absl::OkStatus();
  absl::Status first;
  for (WorkVm& vm : work->vms) {
    const auto component = std::find_if(context.components.begin(), context.components.end(),
                                        [&](const vss::BackupComponent& c) { return c.name == vm.component_name; });
    const bool succeeded = component != context.components.end() && component->succeeded.value_or(false);
    first.Update(base::Annotate(vm.capture->Complete(succeeded), "{}", vm.captured.vm.name));
  }
  return first;
}

absl::Status HypervWriter::OnBackupShutdown(vss::EventContext& context) {
  Drop(context.session_id);
  return absl::OkStatus();
}

absl::Status HypervWriter::OnAbort(vss::EventContext& context) {
  Drop(context.session_id);
  return absl::OkStatus();
}

// --- restore ---

absl::Status HypervWriter::CheckNameFree(const std::string& name) {
  ASSIGN_OR_RETURN(const auto vms, tools_.hypervisor.ListVms());
  for (const hypervisor::VmInfo& vm : vms) {
    if (vm.name != name) continue;
    return base::Error(absl::StatusCode::kAlreadyExists, "VM_EXISTS", "a virtual machine named {} exists ({})", name,
                       vm.uuid);
  }
  return absl::OkStatus();
}

absl::Status HypervWriter::CheckRestorable(const std::string& vm_uuid, const RestoreOptions& options,
                                           ClusteredRestore& clustered) {
  if (!options.new_name.empty()) {
    RETURN_IF_ERROR(CheckNameFree(options.new_name));
    return clustered.CheckNewName(options.new_name);
  }
  RETURN_IF_ERROR(CheckNotBusy(vm_uuid));
  return clustered.Check(vm_uuid, options.vm_name, options.take_cluster_offline);
}

// What an older restore of it left, a new one replaces.
absl::Status HypervWriter::ForgetOlderRestores(const std::string& vm_uuid) {
  ASSIGN_OR_RETURN(const journal::IntentList left, tools_.journal.List());
  for (const journal::Intent& older : left.intents) {
    const bool same = older.kind == journal::IntentKind::kRestore && older.vm_uuid == vm_uuid;
    if (same && !tools_.journal.IsLive(older)) RETURN_IF_ERROR(tools_.journal.Remove(older));
  }
  return absl::OkStatus();
}

// Written down first: after a crash the virtual machine is registered again as it was, or its restore is finished.
absl::Status HypervWriter::DeleteForRestore(const vss::Guid& session_id, const std::string& vm_uuid,
                                            const RestoreOptions& options, ClusteredRestore& clustered) {
  RETURN_IF_ERROR(ForgetOlderRestores(vm_uuid));
  journal::Intent intent{journal::IntentKind::kRestore, vm_uuid, "restore-" + session_id.ToString(), ""};
  const absl::StatusOr<hypervisor::VmInfo> vm = tools_.hypervisor.GetVm(vm_uuid);
  if (!vm.ok() && !absl::IsNotFound(vm.status())) return vm.status();
  std::vector<std::string> checkpoints;
  if (vm.ok()) {
    // One of a cluster was taken offline by it, and is started by nobody else.
    intent.restore.ran = vm->state == hypervisor::VmState::kRunning;
    ASSIGN_OR_RETURN(intent.restore.former_configuration, tools_.hypervisor.Configuration(vm_uuid));
    for (const hypervisor::OwnCheckpoint& checkpoint : vm->checkpoints) checkpoints.push_back(checkpoint.name);
  }
  intent.restore.configuration = options.configuration;
  for (const auto& [disk, path] : options.disk_paths) intent.restore.disks.push_back({disk, path, path});
  RETURN_IF_ERROR(tools_.journal.Record(intent));
  {
    absl::MutexLock lock(&mu_);
    restoring_[session_id] = {intent, std::move(checkpoints)};
  }
  absl::Status deleted = clustered.BeforeDelete(vm_uuid);
  base::CrashPoint(journal::kCrashBeforeDelete);
  if (deleted.ok()) deleted = base::Annotate(tools_.hypervisor.DeleteVm(vm_uuid), "power off and delete {}", vm_uuid);
  if (!deleted.ok()) {
    ForgetRestore(session_id);
    return deleted;
  }
  base::CrashPoint(journal::kCrashDeleted);
  base::Log("writers")->info("virtual machine deleted for its restore vm={}", vm_uuid);
  return absl::OkStatus();
}

absl::Status HypervWriter::FilesTakeNames(const vss::Guid& session_id, std::vector<journal::RestoredDisk> disks) {
  journal::Intent intent;
  {
    absl::MutexLock lock(&mu_);
    const auto found = restoring_.find(session_id);
    if (found == restoring_.end()) return absl::OkStatus();
    journal::RestoreIntent& restore = found->second.intent.restore;
    restore.renaming = true;
    restore.disks = std::move(disks);
    intent = found->second.intent;
  }
  return tools_.journal.Record(intent);
}

absl::StatusOr<vss::RestoreProbe> HypervWriter::ProbeFor(const std::string& vm_uuid) {
  ASSIGN_OR_RETURN(const auto vms, tools_.hypervisor.ListVms());
  absl::flat_hash_set<std::string> taken;
  for (const hypervisor::VmInfo& vm : vms) {
    if (vm.uuid == vm_uuid) continue;
    for (const hypervisor::Disk& disk : vm.disks) taken.insert(disk.path);
  }
  vss::RestoreProbe probe;
  probe.exists = [this](const std::string& path) { return filesystem_.Exists(path).value_or(true); };
  probe.can_replace = [taken = std::move(taken)](const std::string& path) { return !taken.contains(path); };
  return probe;
}

// This process tells itself how its restore ended: nothing is left to a restart.
void HypervWriter::ForgetRestore(const vss::Guid& session_id) {
  journal::Intent intent;
  {
    absl::MutexLock lock(&mu_);
    const auto found = restoring_.find(session_id);
    if (found == restoring_.end()) return;
    intent = std::move(found->second.intent);
    restoring_.erase(found);
  }
  if (const absl::Status removed = tools_.journal.Remove(intent); !removed.ok()) {
    base::Log("writers")->warn("intent of a restore not removed vm={} error=\"{}\"", intent.vm_uuid, base::Describe(removed));
  }
}

absl::Status HypervWriter::OnPreRestore(vss::EventContext& context) {
  auto clustered = std::make_unique<ClusteredRestore>(options_.cluster, context.session_id.ToString());
  std::vector<std::pair<std::string, RestoreOptions>> replaced;
  for (const vss::BackupComponent& component : context.components) {
    if (!component.selected_for_restore) continue;
    const std::string uuid = VmUuidOf(component.name);
    ASSIGN_OR_RETURN(const RestoreOptions options, ParseRestoreOptions(component.restore_options));
    RETURN_IF_ERROR(CheckRestorable(uuid, options, *clustered));
    if (options.new_name.empty()) replaced.emplace_back(uuid, options);
  }
  RETURN_IF_ERROR(clustered->TakeOffline());  // C3
  for (const auto& [uuid, options] : replaced) {
    RETURN_IF_ERROR(DeleteForRestore(context.session_id, uuid, options, *clustered));
  }
  absl::MutexLock lock(&mu_);
  clustered_[context.session_id] = std::move(clustered);
  return absl::OkStatus();
}

// R6. A link that can't be made doesn't make the virtual machine any worse: a warning.
void HypervWriter::Link(const RestoreOptions& options, hypervisor::DefinedVm* defined) {
  if (options.disk_paths.empty()) return;
  const std::string default_folder = tools_.hypervisor.DefaultFolder();
  const std::string folder = base::DirectoryOf(options.disk_paths.front().second);
  const std::string link = fmt::format("{}/{}", default_folder, defined->uuid);
  if (folder == default_folder || folder.starts_with(default_folder + "/")) {
    // One of a former restore elsewhere would lead to files that are the virtual machine's no more.
    const absl::Status removed = filesystem_.RemoveLink(link);
    if (removed.ok()) return;
    base::Log("writers")->warn("old link not removed vm={} error=\"{}\"", defined->uuid, base::Describe(removed));
    return;
  }
  absl::Status linked = filesystem_.MakeDirectories(default_folder);
  if (linked.ok()) linked = filesystem_.Symlink(folder, link);
  if (!linked.ok()) {
    defined->warnings.push_back(
        {"LINK_NOT_MADE", fmt::format("no link from the default folder: {}", base::MessageOf(linked))});
  }
}

// Those of the recovery point, and those that the virtual machine had before its restore deleted it.
void HypervWriter::WarnOfCheckpoints(const vss::Guid& session_id, const vss::BackupComponent& component,
                                     hypervisor::DefinedVm* defined) {
  std::set<std::string> gone;
  if (const auto facts = ParseBackupFacts(component.backup_metadata); facts.ok()) {
    for (const hypervisor::OwnCheckpoint& checkpoint : facts->checkpoints) gone.insert(checkpoint.name);
  }
  {
    absl::MutexLock lock(&mu_);
    if (const auto found = restoring_.find(session_id); found != restoring_.end()) {
      gone.insert(found->second.checkpoints.begin(), found->second.checkpoints.end());
    }
  }
  if (gone.empty()) return;
  if (const auto vm = tools_.hypervisor.GetVm(defined->uuid); vm.ok()) {
    for (const hypervisor::OwnCheckpoint& checkpoint : vm->checkpoints) gone.erase(checkpoint.name);
  }
  if (gone.empty()) return;
  defined->warnings.push_back({"CHECKPOINTS_NOT_KEPT",
                               fmt::format("checkpoints that {} doesn't have any more: {}; its disks hold the state of "
                                           "the recovery point",
                                           defined->name, fmt::join(gone, ", "))});
}

absl::StatusOr<hypervisor::DefinedVm> HypervWriter::Register(const RestoreOptions& options) {
  hypervisor::DefineOptions define;
  define.configuration = options.configuration;
  define.new_name = options.new_name;
  define.disk_paths = options.disk_paths;
  base::CrashPoint(journal::kCrashBeforeDefine);
  ASSIGN_OR_RETURN(hypervisor::DefinedVm defined, tools_.hypervisor.DefineVm(define));
  base::CrashPoint(journal::kCrashDefined);
  Link(options, &defined);
  return defined;
}

// Well or not, what was taken offline is brought back.
absl::Status HypervWriter::OnPostRestore(vss::EventContext& context) {
  const absl::Status registered = RegisterAll(context);
  ForgetRestore(context.session_id);
  std::unique_ptr<ClusteredRestore> clustered;
  {
    absl::MutexLock lock(&mu_);
    if (const auto found = clustered_.find(context.session_id); found != clustered_.end()) {
      clustered = std::move(found->second);
      clustered_.erase(found);
    }
  }
  if (clustered == nullptr) return registered;
  std::vector<ClusterOutcome> outcomes = clustered->End();
  if (outcomes.empty()) return registered;
  absl::MutexLock lock(&mu_);
  outcomes_[context.session_id] = std::move(outcomes);
  return registered;
}

std::vector<ClusterOutcome> HypervWriter::TakeClusterOutcomes(const vss::Guid& session_id) {
  absl::MutexLock lock(&mu_);
  const auto found = outcomes_.find(session_id);
  if (found == outcomes_.end()) return {};
  std::vector<ClusterOutcome> outcomes = std::move(found->second);
  outcomes_.erase(found);
  return outcomes;
}

absl::Status HypervWriter::RegisterAll(vss::EventContext& context) {
  for (vss::BackupComponent& component : context.components) {
    if (!component.selected_for_restore) continue;
    if (component.file_restore_status != vss::FileRestoreStatus::kAll) {  // R4
      const absl::Status failure =
          vss::WithCode(base::Error(absl::StatusCode::kDataLoss, "VSS_RESTORE_INCOMPLETE",
                                    "the file restore status of {} is {}, so the virtual machine is not registered",
                                    component.name, vss::NameOf(component.file_restore_status)),
                        vss::Code::kWriterErrorNonRetryable);
      component.post_restore_failure = base::MessageOf(failure);
      return failure;
    }
    ASSIGN_OR_RETURN(const RestoreOptions options, ParseRestoreOptions(component.restore_options));
    ASSIGN_OR_RETURN(hypervisor::DefinedVm defined, Register(options));
    WarnOfCheckpoints(context.session_id, component, &defined);
    base::Log("writers")->info("virtual machine registered vm={} name=\"{}\" warnings={}", defined.uuid, defined.name,
                               defined.warnings.size());
    absl::MutexLock lock(&mu_);
    restored_[context.session_id] = std::move(defined);
  }
  return absl::OkStatus();
}

absl::StatusOr<hypervisor::DefinedVm> HypervWriter::TakeRestored(const vss::Guid& session_id) {
  absl::MutexLock lock(&mu_);
  const auto found = restored_.find(session_id);
  if (found == restored_.end()) return vss::Error(vss::Code::kObjectNotFound, "no restore {}", session_id.ToString());
  hypervisor::DefinedVm defined = std::move(found->second);
  restored_.erase(found);
  return defined;
}

}  // namespace umbra::writers
