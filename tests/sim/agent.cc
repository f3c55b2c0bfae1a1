#include "tests/sim/agent.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "agent/vss/backup_components.h"
#include "storage/base/status.h"

namespace umbra::sim {
namespace {

constexpr absl::Duration kHealPeriod = absl::Seconds(30);
// The other set in progress may hang in several places before it ends.
constexpr int kPrepareTriesMax = 4000;
constexpr int kStepCount = 7;

bool HasHang(const Plan& plan) {
  return std::any_of(plan.writer_faults.begin(), plan.writer_faults.end(),
                     [](const WriterFault& f) { return f.kind == FaultKind::kHang; }) ||
         std::any_of(plan.provider_faults.begin(), plan.provider_faults.end(),
                     [](const ProviderFault& f) { return f.kind == FaultKind::kHang; });
}

// Whether somebody may legitimately be still at undoing when a step returns.
bool UndoesLater(const Plan& plan, const VmPlan& vm) {
  return HasHang(plan) || plan.outage.call_count > 0 || plan.file_error_at > 0 ||
         vm.silent_for > absl::ZeroDuration() || vm.faults.freeze_delay > absl::Seconds(100);
}

}  // namespace

struct Agent::JobRun {
  const JobPlan& plan;
  const std::string& owner_tag;
  bool must_work;
  vss::BackupRequester requester;
  std::vector<vss::ComponentChoice> choices;
  std::vector<vss::WriterMetadata> metadata;
  vss::Guid set_id;
  std::map<std::string, Point> points;  // by uuid, as far as they are read
};

Agent::Agent(Host& host, std::optional<Death> death)
    : host_(host),
      run_(host.run),
      life_(host.run, std::move(death),
            [this] {
              bool frozen = false, view = false;
              for (size_t i = 0; i < host_.guests.count(); ++i) {
                const std::string& uuid = host_.guests.uuid(i);
                frozen |= host_.guests.IsFrozen(uuid);
                view |= !host_.plan.vms[i].faults.foreign_job && !host_.hypervisor.CheckNoJob(uuid).ok();
              }
              if (frozen) run_.probes.Hit("death: while a guest was frozen");
              if (view) run_.probes.Hit("death: with a view open");
              host_.hypervisor.CrashAgent();
              if (life_.power_cut()) {
                host_.power_cut();
                run_.probes.Hit("death: by a power cut");
              }
              // An application notices that nobody speaks to it any more.
              for (const auto& app : host_.apps) app->Thaw(absl::InfiniteDuration());
            }),
      clock_(run_, life_),
      files_(run_, life_, host.files, host.plan, host.trouble),
      hypervisor_(run_, life_, clock_, host.hypervisor, host.guests, host.plan, host.trouble),
      random_(run_.dice.Next()),
      journal_(files_, kJournalFolder),
      tools_{hypervisor_, journal_, clock_, run_.scheduler},
      provider_(tools_),
      life_cluster_(run_, life_, clock_, host.cluster.service(), host.plan, host.trouble),
      deeds_(files_, kDeedsFolder),
      cluster_tools_{life_cluster_, deeds_, hypervisor_},
      writer_(tools_, provider_, files_, random_,
              {.instance_id = vss::Guid::Literal(random_.Uuid()),
               .scratch_folder = kScratchFolder,
               .cluster = host.plan.cluster.exists ? &cluster_tools_ : nullptr,
               .threads = &run_.scheduler}),
      app_provider_(run_, host.apps),
      service_commands_(run_, life_, host.plan, host.trouble.calm, host.service),
      service_copier_(life_, host.service),
      folder_provider_(service_copier_, files_, clock_, kCopiesFolder),
      file_set_writer_({ServiceFileSet()}, service_commands_, folder_provider_, files_, clock_, kFileSetIntentsFolder,
                       vss::Guid::Literal(random_.Uuid())),
      coordinator_(std::make_unique<vss::Coordinator>(clock_, random_, vss::ProviderLimits{}, run_.scheduler)) {
  ++host.life_count;
  faulty_writers_.push_back(std::make_unique<FaultyWriter>(run_, clock_, writer_, 0, host.faults, nullptr));
  for (size_t i = 0; i < host.apps.size(); ++i) {
    app_writers_.push_back(std::make_unique<AppWriter>(run_, life_, *host.apps[i]));
    AppWriter* app = app_writers_.back().get();
    faulty_writers_.push_back(
        std::make_unique<FaultyWriter>(run_, clock_, *app, static_cast<int>(i) + 1, host.faults, app));
  }
  faulty_providers_.push_back(std::make_unique<FaultyProvider>(run_, clock_, provider_, 0, host.faults));
  faulty_providers_.push_back(std::make_unique<FaultyProvider>(run_, clock_, app_provider_, 1, host.faults));
  if (host.plan.service.exists) {
    coordinator_->AddWriter(file_set_writer_);
    coordinator_->AddProvider(folder_provider_);
  }
  for (const auto& writer : faulty_writers_) coordinator_->AddWriter(*writer);
  for (const auto& provider : faulty_providers_) coordinator_->AddProvider(*provider);
  journal_.Open().IgnoreError();
  deeds_.Open().IgnoreError();
  file_set_writer_.Open().IgnoreError();
}

Agent::~Agent() {
  stop_healing_ = true;
  healer_.reset();
  coordinator_.reset();
}

// --- healing ---

bool Agent::HealOnce() {
  life_.healing = true;
  auto deeds = deeds_.ListLeft();
  const auto report = journal::Heal(hypervisor_, journal_, clock_);
  bool cluster_healed = true;
  if (report.ok() && host_.plan.cluster.exists) {
    cluster_healed = deeds.ok() && HealClusterAfter(*report, *std::move(deeds));
  }
  const auto file_sets = file_set_writer_.Heal();
  life_.healing = false;
  if (dead()) return false;
  if (!report.ok()) {
    run_.Trace("healing failed: {}", base::Describe(report.status()));
    return false;
  }
  for (const std::string& action : report->actions) {
    run_.Trace("healing: {}", action);
    if (action.starts_with("thawed")) run_.probes.Hit("healing: thawed a guest");
    if (action.starts_with("resumed ")) run_.probes.Hit("healing: resumed a guest");
    if (action.starts_with("registered ")) run_.probes.Hit("healing: registered a machine again");
    if (action.starts_with("started ")) run_.probes.Hit("healing: started a machine again");
    if (action.starts_with("finished the restore")) run_.probes.Hit("healing: finished a restore");
    if (action.starts_with("ended a point")) run_.probes.Hit("healing: ended a point in time");
  }
  if (!report->open.empty()) run_.probes.Hit("healing: left an intent open");
  // One that couldn't be read just now isn't.
  const bool readable = host_.trouble.calm || host_.plan.file_error_at == 0;
  if (readable && !report->damaged.empty()) run_.Violate("a damaged intent: {}", report->damaged.front());
  return report->open.empty() && cluster_healed && file_sets.ok() && file_sets->open.empty();
}

bool Agent::HealClusterAfter(const journal::HealReport& machines, cluster::JournalList deeds) {
  absl::flat_hash_set<std::string> not_yet;
  for (const auto& open : machines.open) not_yet.insert(open.intent.vm_uuid);
  const cluster::ClusterHealReport report = cluster::HealCluster(cluster_tools_, std::move(deeds), not_yet);
  for (const cluster::JournalEntry& entry : report.healed) {
    run_.Trace("healing: the cluster's {} of {}", cluster::NameOf(entry.deed.kind), entry.deed.resource);
    run_.probes.Hit(entry.deed.kind == cluster::DeedKind::kOffline ? "cluster: healed a resource that was offline"
                                                                   : "cluster: healed a planned save");
  }
  return report.open.empty();
}

void Agent::HealUntilDone(absl::Duration patience) {
  const absl::Duration deadline = run_.scheduler.Monotonic() + patience;
  while (!HealOnce() && !dead() && run_.scheduler.Monotonic() < deadline) clock_.Sleep(kHealPeriod);
}

void Agent::StartHealing() {
  HealOnce();
  healer_ = run_.scheduler.Start([this] {
    while (!stop_healing_ && !dead()) {
      const auto stopped = [this] { return stop_healing_ || dead(); };
      if (run_.scheduler.Wait(stopped, run_.scheduler.Monotonic() + kHealPeriod)) return;
      HealOnce();
    }
  });
}

size_t Agent::CountFiles(const char* folder, std::string_view suffix) {
  const auto names = host_.files.List(folder);
  if (!names.ok()) return 0;
  return std::count_if(names->begin(), names->end(), [&](const std::string& name) { return name.ends_with(suffix); });
}

size_t Agent::intent_count() {
  return CountFiles(kJournalFolder, ".intent");
}

size_t Agent::deed_count() {
  return CountFiles(kDeedsFolder, ".deed");
}

// --- a job ---

JobOutcome Agent::RunJob(const JobPlan& plan, const std::string& owner_tag, bool must_work) {
  JobRun job{plan, owner_tag, must_work, {coordinator_->NewSession(), vss::BackupSettings{}}, {}, {}, {}, {}};
  absl::Status status;
  for (int step = 0; step < kStepCount && status.ok() && !dead(); ++step) {
    status = Step(job, step);
    if (!status.ok() || dead() || plan.cancel_after_step != step || must_work) continue;
    run_.Trace("{} is cancelled after step {}", owner_tag, step);
    run_.probes.Hit("job: cancelled");
    job.requester.Abort().IgnoreError();
    if (!dead()) CheckUntouched(plan);
    return dead() ? JobOutcome::kCutShort : JobOutcome::kCancelled;
  }
  return Conclude(job, status);
}

JobOutcome Agent::Conclude(JobRun& job, const absl::Status& status) {
  if (dead()) return JobOutcome::kCutShort;
  run_.Trace("{} ends: {}", job.owner_tag, status.ok() ? "complete" : base::Describe(status));
  if (status.ok()) {
    run_.probes.Hit("job: complete");
    return JobOutcome::kComplete;
  }
  run_.probes.Hit("job: failed");
  const std::string reason = base::ReasonOf(status);
  if (reason == "GUEST_STOPPED") run_.probes.Hit("job: a guest died while it was read");
  if (reason == "SCRATCH_FULL") run_.probes.Hit("job: scratch full");
  job.requester.Abort().IgnoreError();
  if (dead()) return JobOutcome::kCutShort;
  CheckUntouched(job.plan);
  if (job.must_work) run_.Violate("nothing goes wrong any more, but a backup fails: {}", base::Describe(status));
  return JobOutcome::kFailed;
}

absl::Status Agent::Step(JobRun& job, int step) {
  switch (step) {
    case 0: {
      ASSIGN_OR_RETURN(job.metadata, job.requester.Gather());
      return absl::OkStatus();
    }
    case 1:
      return Choose(job);
    case 2:
      return PrepareWhenFree(job);
    case 3:
      return TakeSnapshot(job);
    case 4:
      return ReadAll(job);
    case 5:
      return StoreAndMark(job);
    default: {
      const absl::Status complete = job.requester.Complete();
      // An error here is about the writers; the backup is good.
      if (!complete.ok()) run_.Trace("{} completes with {}", job.owner_tag, base::Describe(complete));
      if (!dead()) {
        for (const auto& [uuid, point] : job.points) host_.points[uuid] = point;
      }
      return absl::OkStatus();
    }
  }
}

absl::Status Agent::Choose(JobRun& job) {
  writers::BackupOptions told;
  told.mechanism.forbid_saved_state = told.mechanism.allow_crash_consistent = job.plan.allow_crash_consistent;
  told.owner_tag = job.owner_tag;
  for (const int vm : job.plan.vms) {
    told.base = host_.checkpoints[host_.guests.uuid(vm)];
    job.choices.push_back({writers::ComponentIdOf(host_.guests.uuid(vm)), writers::Print(told)});
  }
  for (const int app : job.plan.apps) job.choices.push_back({AppWriter::ComponentOf(app), ""});
  if (job.plan.service) job.choices.push_back({writers::FileSetWriter::ComponentOf(kServiceName), ""});
  return job.requester.Select(job.choices);
}

absl::Status Agent::PrepareWhenFree(JobRun& job) {
  for (int tries = 0;; ++tries) {
    const absl::Status prepared = job.requester.Prepare();
    if (vss::CodeOf(prepared) != vss::Code::kSnapshotSetInProgress || dead()) return prepared;
    run_.probes.Hit("job: the other's set is in progress");
    if (tries == kPrepareTriesMax) {
      run_.Violate("the other set is never finished");
      return prepared;
    }
    clock_.Sleep(absl::Seconds(1));
  }
}

absl::Status Agent::TakeSnapshot(JobRun& job) {
  ASSIGN_OR_RETURN(const vss::SnapshotSet set, job.requester.Snapshot());
  if (dead()) return absl::OkStatus();
  job.set_id = set.set_id;
  if (set.snapshots.size() != job.choices.size()) {
    run_.Violate("a set of {} snapshots for {} components", set.snapshots.size(), job.choices.size());
  }
  CheckCopies(job);
  return absl::OkStatus();
}

void Agent::CheckCopies(JobRun& job) {
  for (const int index : job.plan.apps) {
    const auto copy = app_provider_.Find(job.set_id, host_.apps[index]->volume());
    if (!copy.ok()) {
      run_.Violate("a set without the copy of app{}", index);
    } else if (!copy->frozen || !copy->hands.consistent()) {
      run_.Violate("app{}'s copy holds {} and {}, frozen={}", index, copy->hands.left, copy->hands.right, copy->frozen);
    }
  }
  if (!job.plan.service) return;
  const auto copy = folder_provider_.CopyOf(job.set_id, providers::FolderProvider::VolumeOf(kServiceName));
  if (!copy.ok()) return run_.Violate("a set without the service's copy");
  const AppProvider::Copy& hands = host_.service.copies[copy->folders.front()];
  if (!hands.frozen || !hands.hands.consistent()) {
    run_.Violate("the service's copy holds {} and {}, frozen={}", hands.hands.left, hands.hands.right, hands.frozen);
  }
}

absl::Status Agent::ReadAll(JobRun& job) {
  if (job.plan.vms.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const std::vector<writers::CapturedVm> captured, writer_.Captured(job.requester.session_id()));
  if (captured.size() != job.plan.vms.size()) {
    run_.Violate("{} of {} virtual machines are captured", captured.size(), job.plan.vms.size());
  }
  for (const writers::CapturedVm& vm : captured) {
    clock_.Sleep(absl::Milliseconds(10));
    RETURN_IF_ERROR(ReadVm(job, vm));
  }
  return absl::OkStatus();
}

absl::Status Agent::ReadVm(JobRun& job, const writers::CapturedVm& captured) {
  const std::string& uuid = captured.vm.uuid;
  std::map<std::string, std::string> recovered;
  for (const hypervisor::Disk& disk : writers::IncludedDisks(captured.vm)) {
    ASSIGN_OR_RETURN(const auto reader, provider_.OpenDisk(job.set_id, uuid, disk.name));
    host_.guests.NoteCall(uuid);
    RETURN_IF_ERROR(Recover(*reader, &recovered[disk.name]));
  }
  RETURN_IF_ERROR(provider_.Health(job.set_id, uuid));
  const std::optional<Guests::Cut>& cut = host_.guests.LastCut(uuid);
  if (!cut.has_value() || recovered != cut->disks) {
    run_.Violate("what was read of {} is not what it held when it was cut", captured.vm.name);
    return absl::OkStatus();
  }
  if (captured.plan.mechanism == writers::BackupMechanism::kChildSnapshot && !cut->frozen) {
    run_.Violate("{} was cut while it was not frozen", captured.vm.name);
  }
  job.points[uuid] = {{}, captured.configuration, captured.vm, recovered};
  if (recovered != host_.guests.disks(uuid)) run_.probes.Hit("guest: overwrote what was being backed up");
  if (captured.vm.state == hypervisor::VmState::kPaused) run_.probes.Hit("guest: paused, backed up, paused");
  return absl::OkStatus();
}

absl::Status Agent::Recover(hypervisor::BlockReader& reader, std::string* bytes) {
  bytes->assign(reader.capacity_bytes(), '\0');
  ASSIGN_OR_RETURN(const std::vector<hypervisor::Extent> extents, reader.Extents());
  return reader.ReadExtents(extents, 64 * base::kKiB, [&](uint64_t offset, base::Bytes data) {
    std::memcpy(bytes->data() + offset, data.data(), data.size());
    return absl::OkStatus();
  });
}

absl::Status Agent::StoreAndMark(JobRun& job) {
  for (const vss::ComponentChoice& choice : job.choices) {
    RETURN_IF_ERROR(job.requester.SetBackupSucceeded(choice.id, true));
  }
  ASSIGN_OR_RETURN(const vss::BackupDocuments documents, job.requester.Documents());
  for (auto& [uuid, point] : job.points) point.documents = documents;
  auto parsed = vss::ParseBackupComponents(documents.backup_components);
  for (const vss::ComponentChoice& choice : job.choices) {
    const bool there = parsed.ok() && parsed->Find(choice.id) != nullptr;
    if (!there) run_.Violate("the stored document lacks {}", choice.id.name);
  }
  return Commit(job);
}

// What the daemon does of it: from here on the recovery points know the new checkpoints.
absl::Status Agent::Commit(JobRun& job) {
  RETURN_IF_ERROR(provider_.CommitFollows(job.set_id));
  if (dead()) return absl::OkStatus();
  for (const int index : job.plan.vms) {
    const std::string& uuid = host_.guests.uuid(index);
    ASSIGN_OR_RETURN(host_.checkpoints[uuid], provider_.CheckpointOf(job.set_id, uuid));
  }
  provider_.Committed(job.set_id);
  return absl::OkStatus();
}

// A backup that failed has left no trace, unless somebody who has to undo something can't do it yet.
void Agent::CheckUntouched(const JobPlan& job) {
  for (const int index : job.vms) {
    const VmPlan& vm = host_.plan.vms[index];
    const std::string& uuid = host_.guests.uuid(index);
    if (UndoesLater(host_.plan, vm) || host_.guests.InRestore(uuid)) continue;
    if (host_.guests.IsFrozen(uuid)) run_.Violate("vm{} is frozen after a backup that failed", index);
    const bool foreign = vm.faults.foreign_job && !host_.trouble.calm;
    if (!foreign && !host_.hypervisor.CheckNoJob(uuid).ok())
      run_.Violate("vm{} has a view after a backup that failed", index);
    const auto info = host_.hypervisor.GetVm(uuid);
    if (info.ok() && info->state != host_.guests.ExpectedState(index) && !vm.faults.dies_after_read_bytes.has_value()) {
      run_.Violate("vm{} is in state {} after a backup that failed", index, static_cast<int>(info->state));
    }
  }
  for (const int index : job.apps) {
    if (!HasHang(host_.plan) && host_.apps[index]->frozen())
      run_.Violate("app{} is frozen after a backup that failed", index);
  }
}

// --- a restore ---

absl::Status Agent::WriteDisk(const journal::RestoredDisk& disk, const std::string& bytes) {
  ASSIGN_OR_RETURN(const bool left, files_.Exists(disk.written_path));
  if (left) RETURN_IF_ERROR(files_.Remove(disk.written_path));  // by a restore that was cut short
  ASSIGN_OR_RETURN(const auto writer, hypervisor_.CreateDisk({disk.written_path, "raw", bytes.size()}));
  constexpr size_t kPiece = 64 * base::kKiB;
  for (size_t at = 0; at < bytes.size(); at += kPiece) {
    RETURN_IF_ERROR(life_.Through(
        "disk.Write", [&] { return writer->WriteAt(at, base::AsBytes(std::string_view(bytes).substr(at, kPiece))); }));
    clock_.Sleep(absl::Milliseconds(1));
  }
  return life_.Through("disk.Finish", [&] { return writer->Finish(); });
}

absl::Status Agent::RestoreFiles(const Point& point, std::vector<journal::RestoredDisk>& disks) {
  for (const hypervisor::Disk& disk : writers::IncludedDisks(point.vm)) {
    disks.push_back({disk.name, disk.path + ".umbra-restore", disk.path});
    RETURN_IF_ERROR(WriteDisk(disks.back(), point.disks.at(disk.name)));
  }
  return absl::OkStatus();
}

absl::Status Agent::Restore(const RestorePlan& plan, const Point& point) {
  writers::VmRestoreOptions options;
  options.documents = point.documents;
  options.configuration = point.configuration;
  options.vm_uuid = point.vm.uuid;
  options.vm_name = point.vm.name;
  options.take_cluster_offline = plan.take_cluster_offline;
  for (const hypervisor::Disk& disk : writers::IncludedDisks(point.vm))
    options.disk_paths.emplace_back(disk.name, disk.path);
  writers::VmRestore restore(coordinator_->NewSession(), writer_, std::move(options));
  RETURN_IF_ERROR(restore.PreRestore());
  std::vector<journal::RestoredDisk> disks;
  RETURN_IF_ERROR(RestoreFiles(point, disks));
  RETURN_IF_ERROR(restore.FilesTakeNames(disks));
  for (const journal::RestoredDisk& disk : disks) {
    RETURN_IF_ERROR(files_.Rename(disk.written_path, disk.path));
    RETURN_IF_ERROR(files_.SyncDirectory(base::DirectoryOf(disk.path)));
  }
  RETURN_IF_ERROR(restore.SetFilesRestored(vss::FileRestoreStatus::kAll));
  ASSIGN_OR_RETURN(const hypervisor::DefinedVm defined, restore.PostRestore());
  // A cluster's resource is started by its cluster.
  if (!plan.power_on || restore.cluster_outcome().has_value()) return absl::OkStatus();
  const absl::Status started = hypervisor_.Start(defined.uuid);
  if (!started.ok()) run_.Trace("{} is restored, but does not start: {}", defined.name, base::Describe(started));
  return absl::OkStatus();
}

// A restore that failed in a live agent leaves the machine to a person (R4), who registers it with the disks that are
// there.
void Agent::RegisterByHand(const Point& point, bool ran) {
  hypervisor::DefineOptions options;
  options.configuration = point.configuration;
  options.unchanged = true;
  if (!host_.hypervisor.DefineVm(options).ok()) run_.Violate("{} can't be registered by hand", point.vm.name);
  if (ran) host_.hypervisor.Start(point.vm.uuid).IgnoreError();  // its disks may be those of two moments
  run_.probes.Hit("restore: failed, registered by hand");
}

JobOutcome Agent::RunRestore(const RestorePlan& plan, bool must_work) {
  const std::string& uuid = host_.guests.uuid(plan.vm);
  const auto found = host_.points.find(uuid);
  if (found == host_.points.end()) return JobOutcome::kComplete;
  const Point& point = found->second;
  const bool ran = host_.guests.ExpectedState(plan.vm) == hypervisor::VmState::kRunning;
  host_.guests.BeginRestore(uuid, point.disks);
  run_.Trace("a restore of {} begins", point.vm.name);
  const absl::Status status = Restore(plan, point);
  if (dead()) {
    run_.probes.Hit("restore: cut short");
    return JobOutcome::kCutShort;
  }
  run_.Trace("the restore of {} ends: {}", point.vm.name, status.ok() ? "complete" : base::Describe(status));
  const bool refused = base::ReasonOf(status) == "CLUSTER_RESOURCE_ONLINE";
  const bool may_refuse = host_.plan.vms[plan.vm].clustered && !plan.take_cluster_offline;
  if (refused) run_.probes.Hit("cluster: refused a restore");
  if (may_refuse && must_work && status.ok())
    run_.Violate("a resource that is online is restored behind its cluster's back");
  if (must_work && !status.ok() && !(refused && may_refuse))
    run_.Violate("nothing goes wrong any more, but a restore fails: {}", base::Describe(status));
  if (!status.ok() && absl::IsNotFound(host_.hypervisor.GetVm(uuid).status())) RegisterByHand(point, ran);
  // It may have written since it was started.
  const Guests::Disks expected = host_.guests.InRestore(uuid) ? point.disks : host_.guests.disks(uuid);
  if (status.ok() && host_.guests.OnDisk(uuid) != expected) {
    run_.Violate("{} is restored, and its disks are not those of the recovery point", point.vm.name);
  }
  if (status.ok()) run_.probes.Hit("restore: complete");
  host_.guests.EndRestore(uuid);
  return status.ok() ? JobOutcome::kComplete : JobOutcome::kFailed;
}

}  // namespace umbra::sim
