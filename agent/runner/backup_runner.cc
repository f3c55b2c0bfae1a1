#include "agent/runner/backup_runner.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "agent/runner/convert.h"
#include "agent/transfer/link_settings.h"
#include "agent/vss/retry_policy.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {
namespace {

// A full scratch folder may have paused the guest, so it is looked for this often, also while the link is slow and
// nobody reads.
constexpr absl::Duration kHealthPeriod = absl::Seconds(1);
// Another backup's way from Prepare to Snapshot takes seconds; after two minutes of asking again something is wrong with it.
// (Microsoft's advice of ten minutes is for failures, and nothing has failed here.)
constexpr vss::RetryAdvice kSnapshotSetAdvice = {absl::Seconds(2), 60};
constexpr size_t kOwnerTagIdMax = 32;

// Unique to the attempt, within what an owner tag may hold ([a-z0-9-], 40 characters): a uuid without its dashes fits.
std::string OwnerTag(const agent::v1::AssignmentId& id) {
  std::string tag;
  for (const char c : id.job_id()) {
    if (tag.size() < kOwnerTagIdMax && ((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'))) tag.push_back(c);
  }
  return fmt::format("{}-{}", tag, id.attempt());
}

}  // namespace

// Cancels the assignment when a view can't be trusted any more.
class BackupRunner::HealthWatch {
 public:
  explicit HealthWatch(BackupRunner& owner) : owner_(owner), thread_(owner.context_.threads.Start([this] { Run(); })) {}
  ~HealthWatch() {
    {
      absl::MutexLock lock(&mu_);
      stop_ = true;
    }
    thread_.reset();
  }

 private:
  void Run() {
    while (true) {
      {
        absl::MutexLock lock(&mu_);
        if (owner_.context_.clock.AwaitFor(mu_, absl::Condition(&stop_), kHealthPeriod)) return;
      }
      if (absl::Status health = owner_.GlanceAtHealth(); !health.ok()) owner_.cancellation_.Cancel(health);
    }
  }

  BackupRunner& owner_;
  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<base::Thread> thread_;
};

BackupRunner::BackupRunner(const RunnerContext& context, const agent::v1::AssignmentId& id,
                           const agent::v1::BackupAssignment& work, transfer::Cancellation& cancellation,
                           JobReporter& reporter)
    : context_(context),
      id_(id),
      work_(work),
      cancellation_(cancellation),
      reporter_(reporter),
      link_store_(context.make_store(cancellation)),
      store_(*link_store_, context.clock, context.random, cancellation, context.settings.retry,
             work.upload_bytes_per_second(), context.host_upload),
      file_sets_(context, id_, work_, reporter) {}

BackupRunner::~BackupRunner() = default;

void BackupRunner::MakeBackup() {
  writers::VmBackupOptions options{.mechanism = {.child_snapshot_only = work_.child_snapshot_only(),
                                                 .forbid_saved_state = work_.forbid_saved_state(),
                                                 .allow_crash_consistent = work_.allow_crash_consistent()},
                                   .freeze_timeout = FromProto(work_.freeze_timeout()),
                                   .owner_tag = OwnerTag(id_)};
  options.vm_uuids.assign(work_.virtual_machines().begin(), work_.virtual_machines().end());
  for (const store::v1::BasePoint& base : session_.bases()) {
    options.bases.emplace_back(base.vm_uuid(), FromProto(base.tracking()));
  }
  options.file_sets = file_sets_.names();
  absl::MutexLock lock(&backup_mu_);
  backup_ = context_.host.NewBackup(std::move(options));
}

absl::Status BackupRunner::Run(agent::v1::AssignmentResult* result) {
  absl::Status status = OpenSession();  // a daemon that can't take the data is no reason to touch a guest
  bool post_owed = false;
  if (status.ok()) status = RunPreHook(&post_owed);
  if (status.ok()) MakeBackup();
  if (status.ok()) status = Prepare();
  if (status.ok()) status = Snapshot(result);
  if (status.ok()) status = Transfer();
  if (status.ok()) status = Commit();
  if (!status.ok()) PutBack();
  if (post_owed) RunPostHook(status);
  return status;
}

HookedJob BackupRunner::Hooked() const {
  HookedJob job{.job_id = id_.job_id(), .attempt = id_.attempt(), .pre = work_.hooks().pre(), .post = work_.hooks().post()};
  job.vm_uuids.assign(work_.virtual_machines().begin(), work_.virtual_machines().end());
  for (const std::string& uuid : job.vm_uuids) {
    const auto vm = context_.hypervisor.GetVm(uuid);
    job.vm_names.push_back(vm.ok() ? vm->name : "");  // whoever needs it will say that it isn't there
  }
  job.file_sets.assign(work_.file_sets().begin(), work_.file_sets().end());
  return job;
}

absl::Status BackupRunner::RunPreHook(bool* post_owed) {
  if (work_.hooks().pre().empty() && work_.hooks().post().empty()) return absl::OkStatus();
  RETURN_IF_ERROR(cancellation_.Check());
  if (context_.hooks == nullptr) {
    return base::MakeError(absl::StatusCode::kNotFound, "HOOK_NOT_FOUND", "this host runs no hooks");
  }
  const HookOutcome ran = context_.hooks->Before(Hooked(), cancellation_);
  if (!ran.note.empty()) reporter_.Note(ran.note);
  const bool failed = base::ReasonOf(ran.status) == "HOOK_FAILED";
  *post_owed = ran.began;
  if (!failed || !work_.hooks().ignore_pre_failure()) return ran.status;
  reporter_.Warn(ran.status);
  return absl::OkStatus();
}

void BackupRunner::RunPostHook(const absl::Status& result) {
  const HookOutcome ran = context_.hooks->After(Hooked(), result);
  if (!ran.note.empty()) reporter_.Note(ran.note);
  if (!ran.status.ok()) reporter_.Warn(ran.status);
}

absl::Status BackupRunner::OpenSession() {
  reporter_.SetPhase(v1::Job::PHASE_GATHERING);
  store::v1::OpenSessionRequest request;
  request.set_job_id(id_.job_id());
  request.set_attempt(id_.attempt());
  request.set_repository(work_.repository());
  ASSIGN_OR_RETURN(session_, store_.OpenSession(request));
  return absl::OkStatus();
}

absl::Status BackupRunner::Prepare() {
  RETURN_IF_ERROR(cancellation_.Check());
  reporter_.SetPhase(v1::Job::PHASE_PREPARING);
  vss::RetryPolicy policy(kSnapshotSetAdvice);
  while (true) {
    absl::Status status;
    {
      absl::MutexLock lock(&backup_mu_);
      status = backup_->Prepare();
    }
    if (base::ReasonOf(status) != "VSS_SNAPSHOT_SET_IN_PROGRESS") return status;
    const std::optional<absl::Duration> wait = policy.AfterFailure(status);
    if (!wait.has_value()) return status;
    RETURN_IF_ERROR(cancellation_.Wait(context_.clock, *wait));
  }
}

absl::Status BackupRunner::Snapshot(agent::v1::AssignmentResult* result) {
  RETURN_IF_ERROR(cancellation_.Check());
  reporter_.SetPhase(v1::Job::PHASE_FREEZING);
  {
    absl::MutexLock lock(&backup_mu_);
    absl::StatusOr<std::vector<writers::VmSnapshot>> snapshots = backup_->Snapshot();
    AddFrozenWriters(backup_->Writers(), "", result);
    ASSIGN_OR_RETURN(snapshots_, std::move(snapshots));
    RETURN_IF_ERROR(file_sets_.Collect(*backup_));
  }
  reporter_.SetPhase(v1::Job::PHASE_SNAPSHOT);
  absl::Duration longest = file_sets_.longest_frozen();
  absl::Duration longest_downtime;
  for (const writers::VmSnapshot& snapshot : snapshots_) {
    longest = std::max(longest, snapshot.freeze_duration);
    longest_downtime = std::max(longest_downtime, snapshot.downtime);
    base::Log("runner")->info("point in time taken job={} vm={} mechanism={} freeze_ms={} downtime_ms={} state_bytes={}", id_.job_id(),
                              snapshot.vm.uuid, writers::NameOf(snapshot.mechanism),
                              absl::ToInt64Milliseconds(snapshot.freeze_duration),
                              absl::ToInt64Milliseconds(snapshot.downtime), snapshot.state_bytes);
    AddFrozenWriters(snapshot.guest_writers, snapshot.vm.uuid, result);
    WarnOfMechanism(snapshot);
    WarnOfCheckpoints(snapshot);
    for (const writers::ExcludedDisk& disk : snapshot.excluded_disks) {
      reporter_.Warn(disk.reason, fmt::format("{}: disk {} is not in this backup: {}", snapshot.vm.name, disk.name, disk.message));
    }
  }
  *result->mutable_freeze_duration() = ToProto(longest);
  if (longest_downtime > absl::ZeroDuration()) *result->mutable_downtime() = ToProto(longest_downtime);
  return absl::OkStatus();
}

// Everything that stands against child snapshot, one by one. That a virtual machine is off is nothing to warn of.
void BackupRunner::WarnOfMechanism(const writers::VmSnapshot& snapshot) {
  if (snapshot.vm.state == hypervisor::VmState::kSaved && snapshot.state_bytes == 0) {
    reporter_.Warn("STATE_NOT_FOUND", fmt::format("{}: its saved memory can't be reached from here; the recovery point holds only "
                                                  "its disks, and boots from them", snapshot.vm.name));
  }
  if (snapshot.mechanism == writers::BackupMechanism::kOffline) return;
  for (const writers::Obstacle& obstacle : snapshot.obstacles) {
    reporter_.Warn(obstacle.reason, fmt::format("{}: {}", snapshot.vm.name, obstacle.message));
  }
}

void BackupRunner::WarnOfCheckpoints(const writers::VmSnapshot& snapshot) {
  if (snapshot.vm.checkpoints.empty()) return;
  std::string names;
  for (const hypervisor::OwnCheckpoint& checkpoint : snapshot.vm.checkpoints) {
    names += (names.empty() ? "" : ", ") + checkpoint.name;
  }
  reporter_.Warn("CHECKPOINTS_NOT_IN_BACKUP",
                 fmt::format("{}: this backup holds its present state, and of its checkpoints ({}) only the tree", snapshot.vm.name,
                             names));
}

absl::Status BackupRunner::Transfer() {
  RETURN_IF_ERROR(cancellation_.Check());
  for (const writers::VmSnapshot& snapshot : snapshots_) {
    for (const hypervisor::Disk& disk : snapshot.disks) {
      reporter_.meter().AddDisk(snapshot.vm.uuid, disk.name, disk.capacity_bytes);
    }
    if (snapshot.state_bytes > 0) reporter_.meter().AddDisk(snapshot.vm.uuid, kMemoryStateName, snapshot.state_bytes);
  }
  RETURN_IF_ERROR(file_sets_.Open(static_cast<uint64_t>(session_.chunk_size_bytes())));
  reporter_.SetPhase(v1::Job::PHASE_TRANSFERRING);
  HealthWatch watch(*this);
  ASSIGN_OR_RETURN(const absl::Duration round_trip,
                   transfer::MeasureRoundTrip(store_, session_.session_id(), context_.clock));
  const transfer::BackupSettings settings = transfer::SettingsForLink(context_.settings.backup, round_trip);
  ASSIGN_OR_RETURN(const std::unique_ptr<transfer::BackupPipeline> pipeline,
                   transfer::BackupPipeline::Create(store_, session_, reporter_.meter(), cancellation_, settings));
  for (size_t vm = 0; vm < snapshots_.size(); ++vm) {
    const absl::Status status = TransferVm(*pipeline, vm);
    if (status.ok()) continue;
    // Of a view that broke, reads tell less than its health does.
    RETURN_IF_ERROR(cancellation_.Check());
    RETURN_IF_ERROR(CheckHealth());
    return status;
  }
  RETURN_IF_ERROR(file_sets_.Transfer(*pipeline, session_.session_id(), next_meter_disk_));
  return CheckHealth();
}

absl::Status BackupRunner::TransferVm(transfer::BackupPipeline& pipeline, size_t vm) {
  const uint64_t before = reporter_.meter().Figures().read_bytes;
  reads_.emplace_back();
  for (const hypervisor::Disk& disk : snapshots_[vm].disks) {
    RETURN_IF_ERROR(base::Annotate(TransferDisk(pipeline, vm, disk), "{}, disk {}", snapshots_[vm].vm.name, disk.name));
  }
  RETURN_IF_ERROR(base::Annotate(TransferState(pipeline, vm), "{}, saved memory", snapshots_[vm].vm.name));
  read_bytes_.push_back(reporter_.meter().Figures().read_bytes - before);
  return absl::OkStatus();
}

absl::Status BackupRunner::TransferDisk(transfer::BackupPipeline& pipeline, size_t vm, const hypervisor::Disk& disk) {
  std::unique_ptr<hypervisor::BlockReader> reader;
  {
    absl::MutexLock lock(&backup_mu_);
    ASSIGN_OR_RETURN(reader, backup_->OpenDisk(snapshots_[vm].vm.uuid, disk.name));
  }
  absl::Status wanted;
  if (work_.full_read()) {
    wanted = base::MakeError(absl::StatusCode::kFailedPrecondition, "CBT_FULL_REQUESTED", "a full read was asked for");
  } else if (BaseOf(snapshots_[vm].vm.uuid) == nullptr) {
    wanted = base::MakeError(absl::StatusCode::kFailedPrecondition, "CBT_NO_BASE",
                             "the repository has no recovery point of it that an increment could start from");
  }
  return Send(pipeline, vm, disk.name, *reader, wanted);
}

const store::v1::BasePoint* BackupRunner::BaseOf(const std::string& vm_uuid) const {
  const auto& bases = session_.bases();
  const auto base = std::find_if(bases.begin(), bases.end(), [&](const auto& b) { return b.vm_uuid() == vm_uuid; });
  return base == bases.end() ? nullptr : &*base;
}

absl::Status BackupRunner::TransferState(transfer::BackupPipeline& pipeline, size_t vm) {
  if (snapshots_[vm].state_bytes == 0) return absl::OkStatus();
  std::unique_ptr<hypervisor::BlockReader> reader;
  {
    absl::MutexLock lock(&backup_mu_);
    ASSIGN_OR_RETURN(reader, backup_->OpenState(snapshots_[vm].vm.uuid));
  }
  // Memory is another one every time; that is nothing to tell a person.
  return Send(pipeline, vm, kMemoryStateName, *reader,
              base::MakeError(absl::StatusCode::kFailedPrecondition, "CBT_UNSUPPORTED", ""));
}

absl::Status BackupRunner::Send(transfer::BackupPipeline& pipeline, size_t vm, const std::string& name,
                                hypervisor::BlockReader& reader, const absl::Status& wanted) {
  const std::string& uuid = snapshots_[vm].vm.uuid;
  const transfer::DiskMapTarget target{session_.session_id(), uuid, name, reader.capacity_bytes()};
  const absl::Duration start = context_.clock.Monotonic();
  const size_t meter_disk = next_meter_disk_++;
  transfer::ReadPlanner planner(store_, pipeline.hasher(), pipeline.chunk_size(), context_.random, reporter_.meter());
  const store::v1::BasePoint* base = BaseOf(uuid);
  ASSIGN_OR_RETURN(const transfer::DiskReadPlan plan,
                   planner.Plan(reader, target, base == nullptr ? "" : base->recovery_point_id(), wanted));
  const bool disk = name != kMemoryStateName;
  if (disk) reporter_.meter().SetRead(meter_disk, plan.read);
  if (plan.read.full_reason == "CBT_MISMATCH") {
    base::Log("runner")->error("changed blocks wrong job={} vm={} disk={} error=\"{}\"", id_.job_id(), uuid, name,
                               plan.read.full_message);
    reporter_.Warn("CBT_MISMATCH",
                   fmt::format("{}, disk {}: {}. The whole disk is read now; earlier recovery points that were "
                               "made as increments may be wrong",
                               snapshots_[vm].vm.name, name, plan.read.full_message));
  }
  RETURN_IF_ERROR(pipeline.BackUpDisk(reader, target, plan, meter_disk));
  if (disk) reads_[vm][name] = {plan.read, plan.base_recovery_point_id};
  base::Log("runner")->info(
      "disk transferred job={} vm={} disk={} capacity_bytes={} mode={} reason={} changed_bytes={} "
      "planned_bytes={} sampled_bytes={} seconds={:.1f}",
      id_.job_id(), uuid, name, target.capacity_bytes, plan.base_recovery_point_id.empty() ? "full" : "incremental",
      plan.read.full_reason, plan.read.changed_bytes, plan.reads.data_bytes, plan.sampled_bytes,
      absl::ToDoubleSeconds(context_.clock.Monotonic() - start));
  return absl::OkStatus();
}

absl::Status BackupRunner::CheckHealth() {
  absl::MutexLock lock(&backup_mu_);
  return HealthLocked();
}

// A call of the runner that is under way would only be waited for: the next look is soon enough.
absl::Status BackupRunner::GlanceAtHealth() {
  if (!backup_mu_.TryLock()) return absl::OkStatus();
  const absl::Status health = HealthLocked();
  backup_mu_.Unlock();
  return health;
}

absl::Status BackupRunner::HealthLocked() {
  for (const writers::VmSnapshot& snapshot : snapshots_) {
    RETURN_IF_ERROR(base::Annotate(backup_->Health(snapshot.vm.uuid), "{}", snapshot.vm.name));
  }
  return absl::OkStatus();
}

absl::Status BackupRunner::Commit() {
  RETURN_IF_ERROR(cancellation_.Check());
  reporter_.SetPhase(v1::Job::PHASE_COMPLETING);
  absl::MutexLock lock(&backup_mu_);  // the health watch has ended: nobody waits for it
  for (const writers::VmSnapshot& snapshot : snapshots_) RETURN_IF_ERROR(backup_->SetSucceeded(snapshot.vm.uuid, true));
  RETURN_IF_ERROR(file_sets_.MarkSucceeded(*backup_));
  ASSIGN_OR_RETURN(const vss::BackupDocuments documents, backup_->Documents());
  store::v1::CommitRequest request;
  request.set_session_id(session_.session_id());
  for (size_t vm = 0; vm < snapshots_.size(); ++vm) {
    *request.add_manifests() = ToManifest(snapshots_[vm], documents, reads_[vm], read_bytes_[vm]);
  }
  file_sets_.AddManifests(documents, request);
  RETURN_IF_ERROR(backup_->CommitFollows());
  base::CrashPoint("agent.before_commit");
  ASSIGN_OR_RETURN(const store::v1::CommitResponse response, store_.Commit(request));
  base::CrashPoint("agent.committed");
  session_.clear_session_id();
  base::Log("runner")->info("committed job={} recovery_points={} stored_bytes={}", id_.job_id(),
                            fmt::join(response.recovery_point_ids(), ","), response.stored_bytes());
  // The recovery points are there; whatever goes wrong now is no reason to call the backup failed.
  if (absl::Status status = backup_->Complete(); !status.ok()) reporter_.Warn(base::Annotate(status, "after the commit"));
  return absl::OkStatus();
}

void BackupRunner::PutBack() {
  {
    absl::MutexLock lock(&backup_mu_);
    if (absl::Status status = backup_ == nullptr ? absl::OkStatus() : backup_->Abort(); !status.ok()) {
      base::Log("runner")->error("abort failed job={} error=\"{}\"", id_.job_id(), base::Describe(status));
    }
  }
  if (session_.session_id().empty()) return;
  store::v1::AbortSessionRequest request;
  request.set_session_id(session_.session_id());
  if (absl::Status status = store_.AbortSession(request); !status.ok()) {
    base::Log("runner")->warn("session not aborted, the daemon ends it by itself job={} error=\"{}\"", id_.job_id(),
                              base::Describe(status));
  }
}

}  // namespace umbra::runner
