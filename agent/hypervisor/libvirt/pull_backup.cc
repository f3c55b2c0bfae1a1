#include "agent/hypervisor/libvirt/pull_backup.h"

#include <algorithm>

#include "agent/hypervisor/libvirt/change_tracking.h"
#include "agent/hypervisor/libvirt/domain_xml.h"
#include "agent/hypervisor/libvirt/image_making.h"
#include "agent/hypervisor/libvirt/nbd_reader.h"
#include "storage/base/invalid.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;
using base::Invalid;

// A backup doesn't start with less free scratch space, since QEMU pauses the guest when it can't copy what is overwritten.
constexpr uint64_t kScratchBytesMin = 64 * base::kMiB;
// A running one ends below this, before the guest is paused, if it is seen in time.
constexpr uint64_t kScratchBytesReserve = 8 * base::kMiB;
// Ending a job takes 1-50 ms; when a guest is shutting down, QEMU and its job take up to 30 s to go.
constexpr absl::Duration kJobEndTimeout = absl::Seconds(35);
constexpr absl::Duration kJobEndPoll = absl::Milliseconds(5);
constexpr size_t kOwnerTagLengthMax = 40;

struct DomainState {
  int state = VIR_DOMAIN_NOSTATE;
  int reason = 0;
  bool on() const { return state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_PAUSED || state == VIR_DOMAIN_BLOCKED; }
  bool paused_by_io_error() const { return state == VIR_DOMAIN_PAUSED && reason == VIR_DOMAIN_PAUSED_IOERROR; }
};

absl::StatusOr<DomainState> StateOf(virDomainPtr domain) {
  DomainState result;
  if (virDomainGetState(domain, &result.state, &result.reason, 0) != 0) return LibvirtError("get the state");
  return result;
}

// The socket of the backup job that runs on `domain`; empty when none runs.
absl::StatusOr<std::string> RunningBackup(virDomainPtr domain) {
  const CString xml(virDomainBackupGetXMLDesc(domain, 0));
  if (xml != nullptr) return BackupSocket(xml.get());
  if (LastErrorCode() == VIR_ERR_NO_DOMAIN_BACKUP || LastErrorCode() == VIR_ERR_OPERATION_INVALID) return std::string();
  return LibvirtError("look for a backup job");
}

std::string FileName(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// What a point in time leaves in its scratch folder.
struct ScratchNames {
  ScratchNames(const std::string& folder, const std::string& owner_tag, const std::string& uuid)
      : folder(folder), stem(owner_tag + "-" + uuid.substr(0, 8)) {}

  std::string Socket() const { return fmt::format("{}/{}.nbd", folder, stem); }
  std::string ScratchFile(const std::string& disk) const { return fmt::format("{}/{}-{}.scratch", folder, stem, disk); }
  bool IsOurs(const std::string& name) const { return name.starts_with(stem + ".") || name.starts_with(stem + "-"); }

  std::string folder;
  std::string stem;
};

// Removes what is there; returns the names.
absl::StatusOr<std::vector<std::string>> RemoveFiles(base::Filesystem& files, const ScratchNames& names) {
  std::vector<std::string> removed;
  ASSIGN_OR_RETURN(const bool exists, files.Exists(names.folder));
  if (!exists) return removed;
  ASSIGN_OR_RETURN(const std::vector<std::string> all, files.List(names.folder));
  for (const std::string& name : all) {
    if (!names.IsOurs(name)) continue;
    const absl::Status status = files.Remove(names.folder + "/" + name);
    if (absl::IsNotFound(status)) continue;  // libvirt removes scratch files too
    RETURN_IF_ERROR(status);
    removed.push_back(name);
  }
  return removed;
}

// Ends the backup job when it is the one with our socket; false when it isn't there (any more).
absl::StatusOr<bool> EndJob(virDomainPtr domain, const ScratchNames& names, base::Clock& clock) {
  const std::string ours = FileName(names.Socket());
  ASSIGN_OR_RETURN(std::string running, RunningBackup(domain));
  if (FileName(running) != ours) return false;
  if (virDomainAbortJob(domain) != 0) {
    const absl::Status error = LibvirtError("end the backup job");
    ASSIGN_OR_RETURN(const DomainState state, StateOf(domain));
    if (state.on()) return error;
  }
  const absl::Duration deadline = clock.Monotonic() + kJobEndTimeout;
  while (true) {
    ASSIGN_OR_RETURN(running, RunningBackup(domain));
    if (FileName(running) != ours) return true;
    ASSIGN_OR_RETURN(const DomainState state, StateOf(domain));
    if (!state.on()) return true;  // QEMU is on its way out and takes the job with it
    if (clock.Monotonic() > deadline) {
      return base::Error(StatusCode::kUnavailable, "HYPERVISOR_ERROR", "the backup job did not end in {}",
                         absl::FormatDuration(kJobEndTimeout));
    }
    clock.Sleep(kJobEndPoll);
  }
}

// True when the VM stood still because of an I/O error, and runs again.
absl::StatusOr<bool> ResumeAfterIoError(virDomainPtr domain) {
  ASSIGN_OR_RETURN(const DomainState state, StateOf(domain));
  if (!state.paused_by_io_error()) return false;
  if (virDomainResume(domain) != 0) return LibvirtError("resume after the scratch folder was full");
  return true;
}

absl::Status CheckScratchSpace(base::Filesystem& files, const std::string& folder, uint64_t needed_bytes) {
  ASSIGN_OR_RETURN(const uint64_t free_bytes, files.FreeSpace(folder));
  if (free_bytes >= needed_bytes) return absl::OkStatus();
  return base::Error(StatusCode::kResourceExhausted, "SCRATCH_FULL", "the scratch folder {} has only {} free", folder,
                     base::FormatSize(free_bytes));
}

// One way to cut a view.
struct Cut {
  std::string backup_xml;
  std::string checkpoint_xml;       // empty: no checkpoint begins
  Checkpoint checkpoint;            // what begins
  std::vector<DiskTracking> disks;  // since_base is OK for those whose changes are exported
};

class PullBackup final : public PointInTime {
 public:
  PullBackup(const PullBackupEnvironment& environment, std::string uuid, ScratchNames names, Cut cut, bool was_paused,
             absl::Time time)
      : env_(environment),
        uuid_(std::move(uuid)),
        names_(std::move(names)),
        cut_(std::move(cut)),
        was_paused_(was_paused),
        time_(time) {}

  ~PullBackup() override {
    const absl::Status status = Close();
    if (!status.ok()) base::Log("hypervisor")->warn("point in time not removed vm={} error={}", uuid_, base::Describe(status));
  }

  absl::Time time() const override { return time_; }

  absl::StatusOr<std::unique_ptr<BlockReader>> OpenDisk(const std::string& disk) override {
    const auto found =
        std::find_if(cut_.disks.begin(), cut_.disks.end(), [&](const DiskTracking& d) { return d.disk.name == disk; });
    if (found == cut_.disks.end()) return Invalid("disk '{}' isn't in the view", disk);
    const NbdExport what{disk, found->since_base.ok() ? kChangesBitmap : "", found->since_base};
    return NbdReader::Open(names_.Socket(), what, env_.clock, [this] { return Health(); });
  }

  Checkpoint checkpoint() const override { return cut_.checkpoint; }

  absl::Status Health() override {
    auto domain = env_.connection.Find(uuid_);
    if (absl::IsNotFound(domain.status())) return Stopped("it is gone");
    RETURN_IF_ERROR(domain.status());
    ASSIGN_OR_RETURN(const DomainState state, StateOf(domain->get()));
    if (!state.on()) return Stopped("it is off");
    // Only the folder can tell whether a guest that is paused by an I/O error has to do with us.
    RETURN_IF_ERROR(CheckScratchSpace(env_.files, names_.folder, kScratchBytesReserve));
    ASSIGN_OR_RETURN(const std::string running, RunningBackup(domain->get()));
    if (running != names_.Socket()) return Stopped("its backup job was ended from outside");
    return absl::OkStatus();
  }

  absl::Status Close() override {
    if (closed_) return absl::OkStatus();
    auto domain = env_.connection.Find(uuid_);
    if (!absl::IsNotFound(domain.status())) {
      RETURN_IF_ERROR(domain.status());
      RETURN_IF_ERROR(EndJob(domain->get(), names_, env_.clock).status());
      if (!was_paused_) RETURN_IF_ERROR(ResumeAfterIoError(domain->get()).status());
    }
    RETURN_IF_ERROR(RemoveFiles(env_.files, names_).status());
    closed_ = true;
    return absl::OkStatus();
  }

 private:
  absl::Status Stopped(std::string_view why) const {
    return base::Error(StatusCode::kAborted, "GUEST_STOPPED", "the view of virtual machine {} is lost: {}", uuid_, why);
  }

  const PullBackupEnvironment env_;
  const std::string uuid_;
  const ScratchNames names_;
  const Cut cut_;
  const bool was_paused_;
  const absl::Time time_;
  bool closed_ = false;
};

class PreparedPullBackup final : public PreparedPointInTime {
 public:
  // `cuts`: to be tried in this order; at least one.
  PreparedPullBackup(const PullBackupEnvironment& environment, std::string uuid, ScratchNames names, DomainPtr domain,
                     std::vector<Cut> cuts, bool was_paused)
      : env_(environment),
        uuid_(std::move(uuid)),
        names_(std::move(names)),
        domain_(std::move(domain)),
        cuts_(std::move(cuts)),
        was_paused_(was_paused) {}

  // Not in Begin: the guest is frozen then.
  ~PreparedPullBackup() override {
    if (failed_) RemoveFiles(env_.files, names_).IgnoreError();
  }

  absl::StatusOr<std::unique_ptr<PointInTime>> Begin() override {
    const absl::Time time = env_.clock.Now();
    std::string why;  // not as wished
    absl::ReaderMutexLock making(&ImageMaking());
    for (Cut& cut : cuts_) {
      const char* checkpoint = cut.checkpoint_xml.empty() ? nullptr : cut.checkpoint_xml.c_str();
      if (virDomainBackupBegin(domain_.get(), cut.backup_xml.c_str(), checkpoint, 0) == 0) {
        for (DiskTracking& disk : cut.disks) Explain(why, disk);
        return std::make_unique<PullBackup>(env_, uuid_, names_, std::move(cut), was_paused_, time);
      }
      if (&cut == &cuts_.back() || !MayBeTracking()) break;
      why = LastErrorText();
    }
    failed_ = true;
    return BeginError();
  }

 private:
  // Could libvirt's last error have to do with checkpoints? Of the others a second try would only cost time.
  static bool MayBeTracking() {
    switch (LastErrorCode()) {
      case VIR_ERR_NO_DOMAIN_CHECKPOINT:
      case VIR_ERR_INVALID_DOMAIN_CHECKPOINT:
      case VIR_ERR_CHECKPOINT_INCONSISTENT:
      case VIR_ERR_CONFIG_UNSUPPORTED:
      case VIR_ERR_OPERATION_UNSUPPORTED:
        return true;
      case VIR_ERR_INTERNAL_ERROR: {  // QEMU's own words
        const std::string text = LastErrorText();
        return text.find("itmap") != std::string::npos || text.find("heckpoint") != std::string::npos;
      }
      default:
        return false;
    }
  }

  // A disk whose changes were to be exported, and aren't because of `why`.
  static void Explain(const std::string& why, DiskTracking& disk) {
    if (why.empty() || base::ReasonOf(disk.since_base) != "CBT_CHECKPOINT_BROKEN") return;
    disk.since_base = base::Error(StatusCode::kFailedPrecondition, "CBT_CHECKPOINT_BROKEN",
                                  "QEMU lost track of its changes: {}", why);
  }

  absl::Status BeginError() const {
    const std::string text = LastErrorText();
    if (text.find("No space left") != std::string::npos) {
      return base::Error(StatusCode::kResourceExhausted, "SCRATCH_FULL", "begin the point in time: {}", text);
    }
    if (text.find("Permission denied") != std::string::npos) {
      return base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR",
                         "begin the point in time: {} (QEMU's user must be able to write into {})", text, names_.folder);
    }
    return LibvirtError("begin the point in time");
  }

  const PullBackupEnvironment env_;
  const std::string uuid_;
  const ScratchNames names_;
  const DomainPtr domain_;
  std::vector<Cut> cuts_;
  const bool was_paused_;
  bool failed_ = false;
};

absl::Status CheckOptions(const PointInTimeOptions& options) {
  if (options.scratch_folder.empty() || options.scratch_folder.size() > kScratchFolderLengthMax ||
      options.scratch_folder[0] != '/') {
    return Invalid("the scratch folder must be an absolute path of at most {} characters, not '{}'",
                   kScratchFolderLengthMax, options.scratch_folder);
  }
  const bool good_tag = std::all_of(options.owner_tag.begin(), options.owner_tag.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
  if (!good_tag || options.owner_tag.empty() || options.owner_tag.size() > kOwnerTagLengthMax) {
    return Invalid("'{}' is no possible owner tag", options.owner_tag);
  }
  return absl::OkStatus();
}

// The live XML knows where a disk is; how large it is, QEMU says.
absl::StatusOr<std::vector<Disk>> DisksOf(virDomainPtr domain, std::string_view live_xml,
                                          const std::vector<std::string>& names) {
  ASSIGN_OR_RETURN(const DomainDescription description, ParseDomain(live_xml));
  std::vector<Disk> disks;
  for (const std::string& name : names) {
    const auto& all = description.vm.disks;
    const auto found = std::find_if(all.begin(), all.end(), [&](const Disk& d) { return d.name == name; });
    if (found == all.end()) return Invalid("'{}' has no disk '{}'", description.vm.name, name);
    virDomainBlockInfo info{};
    disks.push_back(*found);
    if (virDomainGetBlockInfo(domain, name.c_str(), &info, 0) == 0) disks.back().capacity_bytes = info.capacity;
  }
  return disks;
}

absl::StatusOr<Cut> MakeCut(std::string_view live_xml, const ScratchNames& names,
                            const std::vector<DiskTracking>& tracking, const std::string& base,
                            const std::string& checkpoint) {
  Cut cut;
  cut.disks = tracking;
  std::vector<BackupDisk> disks;
  std::vector<std::string> tracked;
  for (const DiskTracking& disk : tracking) {
    disks.push_back({disk.disk.name, names.ScratchFile(disk.disk.name), disk.since_base.ok() ? base : ""});
    if (checkpoint.empty() || !disk.trackable) continue;
    tracked.push_back(disk.disk.name);
    cut.checkpoint.disks.push_back(disk.disk);
  }
  ASSIGN_OR_RETURN(cut.backup_xml, BackupXml(live_xml, disks, names.Socket()));
  if (tracked.empty()) return cut;
  cut.checkpoint.name = checkpoint;
  ASSIGN_OR_RETURN(cut.checkpoint_xml, NewCheckpointXml(live_xml, checkpoint, tracked));
  return cut;
}

// From the best one to the one that libvirt can't refuse because of checkpoints.
absl::StatusOr<std::vector<Cut>> PlanCuts(std::string_view live_xml, const ScratchNames& names,
                                          std::vector<DiskTracking> tracking, const PointInTimeOptions& options) {
  const std::string checkpoint = options.track_changes ? kCheckpointPrefix + options.owner_tag : "";
  std::vector<Cut> cuts;
  ASSIGN_OR_RETURN(cuts.emplace_back(), MakeCut(live_xml, names, tracking, options.base.name, checkpoint));
  bool incremental = false;
  for (DiskTracking& disk : tracking) {
    if (!disk.since_base.ok()) continue;
    incremental = true;
    disk.since_base =
        base::MakeError(StatusCode::kFailedPrecondition, "CBT_CHECKPOINT_BROKEN", "QEMU lost track of its changes");
  }
  if (incremental) {
    ASSIGN_OR_RETURN(cuts.emplace_back(), MakeCut(live_xml, names, tracking, "", checkpoint));
  }
  if (!cuts.back().checkpoint_xml.empty()) {
    ASSIGN_OR_RETURN(cuts.emplace_back(), MakeCut(live_xml, names, tracking, "", ""));
  }
  return cuts;
}

}  // namespace

absl::Status CheckNoBackupJob(virDomainPtr domain, const std::string& name) {
  ASSIGN_OR_RETURN(const std::string socket, RunningBackup(domain));
  if (!socket.empty()) {
    return base::Error(StatusCode::kFailedPrecondition, "VM_HAS_FOREIGN_JOB", "a backup job runs on '{}', its socket is {}",
                       name, socket);
  }
  virDomainJobInfo job{};
  if (virDomainGetJobInfo(domain, &job) != 0) {
    return LastErrorCode() == VIR_ERR_OPERATION_INVALID ? absl::OkStatus() : LibvirtError("look for a job");
  }
  const bool running = job.type == VIR_DOMAIN_JOB_BOUNDED || job.type == VIR_DOMAIN_JOB_UNBOUNDED;
  if (!running) return absl::OkStatus();
  return base::Error(StatusCode::kFailedPrecondition, "VM_HAS_FOREIGN_JOB",
                     "a job of the hypervisor runs on '{}' (a migration, a save, a dump or a snapshot)", name);
}

absl::StatusOr<std::unique_ptr<PreparedPointInTime>> PreparePullBackup(const PullBackupEnvironment& env,
                                                                       const std::string& uuid,
                                                                       const PointInTimeOptions& options) {
  RETURN_IF_ERROR(CheckOptions(options));
  ASSIGN_OR_RETURN(DomainPtr domain, env.connection.Find(uuid));
  const std::string name = virDomainGetName(domain.get());
  ASSIGN_OR_RETURN(const DomainState state, StateOf(domain.get()));
  if (!state.on()) return base::Error(StatusCode::kFailedPrecondition, "GUEST_NOT_RUNNING", "'{}' does not run", name);
  RETURN_IF_ERROR(CheckNoBackupJob(domain.get(), name));
  // The live XML: what is plugged in now, not what will be after the next start.
  const CString live(virDomainGetXMLDesc(domain.get(), 0));
  if (live == nullptr) return LibvirtError("get the live domain XML");
  const ScratchNames names(options.scratch_folder, options.owner_tag, uuid);
  ASSIGN_OR_RETURN(const std::vector<Disk> disks, DisksOf(domain.get(), live.get(), options.disks));
  ASSIGN_OR_RETURN(const std::vector<DiskTracking> tracking, LookAtTracking(env, domain.get(), disks, options.base));
  const bool forgotten = std::any_of(tracking.begin(), tracking.end(), [](const DiskTracking& disk) {
    return base::ReasonOf(disk.since_base) == "CBT_CHECKPOINT_MISSING";
  });
  if (forgotten) RemoveForgottenBitmaps(domain.get(), live.get(), options.base);
  ASSIGN_OR_RETURN(std::vector<Cut> cuts, PlanCuts(live.get(), names, tracking, options));
  RETURN_IF_ERROR(env.files.MakeDirectories(names.folder));
  RETURN_IF_ERROR(RemoveFiles(env.files, names).status());
  RETURN_IF_ERROR(CheckScratchSpace(env.files, names.folder, kScratchBytesMin));
  return std::make_unique<PreparedPullBackup>(env, uuid, names, std::move(domain), std::move(cuts),
                                              state.state == VIR_DOMAIN_PAUSED);
}

absl::StatusOr<CleanUpReport> CleanUpPullBackup(const PullBackupEnvironment& env, const std::string& uuid,
                                                const std::string& scratch_folder, const std::string& owner_tag) {
  CleanUpReport report;
  const ScratchNames names(scratch_folder, owner_tag, uuid);
  auto domain = env.connection.Find(uuid);
  if (!absl::IsNotFound(domain.status())) {
    RETURN_IF_ERROR(domain.status());
    ASSIGN_OR_RETURN(const bool ended, EndJob(domain->get(), names, env.clock));
    if (ended) {
      report.actions.push_back("ended the backup job with socket " + names.Socket());
      ASSIGN_OR_RETURN(const bool resumed, ResumeAfterIoError(domain->get()));
      if (resumed) report.actions.push_back("resumed the virtual machine, which a full scratch folder had paused");
    }
  }
  ASSIGN_OR_RETURN(const std::vector<std::string> removed, RemoveFiles(env.files, names));
  for (const std::string& name : removed) report.actions.push_back("removed " + name);
  return report;
}

}  // namespace umbra::hypervisor
