#include "agent/runner/backup_runner.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "agent/runner/convert.h"
#include "agent/transfer/backoff.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::runner {
namespace {

// A full scratch folder may have paused the guest, so it is looked for this often, also while the link is slow and
// nobody reads.
constexpr absl::Duration kHealthPeriod = absl::Seconds(1);
// Another backup's way from Prepare to Snapshot takes seconds; after this long something is wrong with it.
constexpr absl::Duration kSnapshotSetPatience = absl::Minutes(2);
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
  explicit HealthWatch(BackupRunner& owner) : owner_(owner), thread_([this] { Run(); }) {}
  ~HealthWatch() {
    {
      absl::MutexLock lock(&mu_);
      stop_ = true;
    }
    thread_.join();
  }

 private:
  void Run() {
    while (true) {
      {
        absl::MutexLock lock(&mu_);
        if (owner_.context_.clock.AwaitFor(mu_, absl::Condition(&stop_), kHealthPeriod)) return;
      }
      if (absl::Status health = owner_.CheckHealth(); !health.ok()) owner_.cancellation_.Cancel(health);
    }
  }

  BackupRunner& owner_;
  absl::Mutex mu_;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread thread_;
};

BackupRunner::BackupRunner(const RunnerContext& context, const agent::v1::AssignmentId& id,
                           const agent::v1::BackupAssignment& work, transfer::Cancellation& cancellation,
                           JobReporter& reporter)
    : context_(context), id_(id), work_(work), cancellation_(cancellation), reporter_(reporter),
      link_store_(context.make_store(cancellation)),
      store_(*link_store_, context.clock, context.random, cancellation, context.settings.retry),
      file_sets_(context, id_, work_, reporter) {
  writers::VmBackupOptions options{.mechanism = {.child_snapshot_only = work_.child_snapshot_only(),
                                                 .forbid_saved_state = work_.forbid_saved_state(),
                                                 .allow_crash_consistent = work_.allow_crash_consistent()},
                                   .freeze_timeout = FromProto(work_.freeze_timeout()),
                                   .owner_tag = OwnerTag(id_)};
  options.vm_uuids.assign(work_.virtual_machines().begin(), work_.virtual_machines().end());
  options.file_sets = file_sets_.names();
  backup_ = context_.host.NewBackup(std::move(options));
}

BackupRunner::~BackupRunner() = default;

absl::Status BackupRunner::Run(agent::v1::AssignmentResult* result) {
  absl::Status status = OpenSession();  // a daemon that can't take the data is no reason to touch a guest
  if (status.ok()) status = Prepare();
  if (status.ok()) status = Snapshot(result);
  if (status.ok()) status = Transfer();
  if (status.ok()) status = Commit();
  if (status.ok()) return status;
  PutBack();
  return status;
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
  transfer::Backoff backoff(context_.random, {});
  const absl::Duration give_up = context_.clock.Monotonic() + kSnapshotSetPatience;
  while (true) {
    absl::Status status;
    {
      absl::MutexLock lock(&backup_mu_);
      status = backup_->Prepare();
    }
    if (base::ReasonOf(status) != "VSS_SNAPSHOT_SET_IN_PROGRESS" || context_.clock.Monotonic() > give_up) return status;
    RETURN_IF_ERROR(cancellation_.Wait(context_.clock, backoff.Next()));
  }
}

absl::Status BackupRunner::Snapshot(agent::v1::AssignmentResult* result) {
  RETURN_IF_ERROR(cancellation_.Check());
  reporter_.SetPhase(v1::Job::PHASE_FREEZING);
  {
    absl::MutexLock lock(&backup_mu_);
    ASSIGN_OR_RETURN(snapshots_, backup_->Snapshot());
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
    WarnOfMechanism(snapshot);
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
  ASSIGN_OR_RETURN(const std::unique_ptr<transfer::BackupPipeline> pipeline,
                   transfer::BackupPipeline::Create(store_, session_, reporter_.meter(), cancellation_, context_.settings.backup));
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
  return Send(pipeline, vm, disk.name, *reader);
}

absl::Status BackupRunner::TransferState(transfer::BackupPipeline& pipeline, size_t vm) {
  if (snapshots_[vm].state_bytes == 0) return absl::OkStatus();
  std::unique_ptr<hypervisor::BlockReader> reader;
  {
    absl::MutexLock lock(&backup_mu_);
    ASSIGN_OR_RETURN(reader, backup_->OpenState(snapshots_[vm].vm.uuid));
  }
  return Send(pipeline, vm, kMemoryStateName, *reader);
}

absl::Status BackupRunner::Send(transfer::BackupPipeline& pipeline, size_t vm, const std::string& name,
                                hypervisor::BlockReader& reader) {
  const std::string& uuid = snapshots_[vm].vm.uuid;
  const uint64_t capacity_bytes = reader.capacity_bytes();
  const absl::Duration start = context_.clock.Monotonic();
  RETURN_IF_ERROR(pipeline.BackUpDisk(reader, {session_.session_id(), uuid, name, capacity_bytes}, next_meter_disk_++));
  base::Log("runner")->info("disk transferred job={} vm={} disk={} capacity_bytes={} seconds={:.1f}", id_.job_id(), uuid,
                            name, capacity_bytes, absl::ToDoubleSeconds(context_.clock.Monotonic() - start));
  return absl::OkStatus();
}

absl::Status BackupRunner::CheckHealth() {
  absl::MutexLock lock(&backup_mu_);
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
    *request.add_manifests() = ToManifest(snapshots_[vm], documents, read_bytes_[vm]);
  }
  file_sets_.AddManifests(documents, request);
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
    if (absl::Status status = backup_->Abort(); !status.ok()) {
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
