#include "agent/hypervisor/libvirt/offline_view.h"

#include <algorithm>
#include <utility>

#include "agent/hypervisor/libvirt/change_tracking.h"
#include "agent/hypervisor/libvirt/nbd_reader.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;

constexpr char kServer[] = "qemu-nbd";

struct OfflineDisk {
  Disk disk;
  DiskTracking tracking;
  std::string stamp = "";  // of its file, at the moment of the view
};

// QEMU's own words for the image; force-share: without a lock.
std::string ImageOptions(const Disk& disk) {
  std::string path;  // a comma is written twice
  for (const char c : disk.path) path += c == ',' ? std::string(2, c) : std::string(1, c);
  const bool device = disk.path.starts_with("/dev/");
  return fmt::format("driver={},force-share=on,file.driver={},file.filename={}", disk.format,
                     device ? "host_device" : "file", path);
}

absl::Status Started(const std::string& uuid, std::string_view why) {
  return base::Error(StatusCode::kAborted, "GUEST_STARTED", "the view of virtual machine {} is lost: {}", uuid, why);
}

class OfflineView final : public PointInTime {
 public:
  OfflineView(const PullBackupEnvironment& environment, std::string uuid, std::vector<OfflineDisk> disks,
              std::string base, absl::Time time)
      : env_(environment), uuid_(std::move(uuid)), disks_(std::move(disks)), base_(std::move(base)), time_(time) {}

  absl::Time time() const override { return time_; }

  absl::StatusOr<std::unique_ptr<BlockReader>> OpenDisk(const std::string& name) override {
    const auto found = std::find_if(disks_.begin(), disks_.end(), [&](const OfflineDisk& d) { return d.disk.name == name; });
    if (found == disks_.end()) {
      return base::Error(StatusCode::kInvalidArgument, "INVALID_REQUEST", "disk '{}' isn't in the view", name);
    }
    if (auto reader = OpenRaw(*found)) return reader;
    std::vector<std::string> command = {kServer, "--read-only", "--export-name=" + name, "--image-opts",
                                        ImageOptions(found->disk)};
    NbdExport what{name, "", found->tracking.since_base};
    if (what.no_changes.ok()) {
      std::vector<std::string> with_bitmap = command;
      with_bitmap.insert(with_bitmap.begin() + 1, "--bitmap=" + base_);
      auto reader = NbdReader::OpenServer(with_bitmap, {name, base_}, env_.clock, [this] { return Health(); });
      if (reader.ok()) return reader;
      // qemu-nbd ends at once when the image has no such bitmap, or one that was in use when QEMU died.
      what.no_changes = base::Error(StatusCode::kFailedPrecondition, "CBT_CHECKPOINT_BROKEN",
                                    "its image has no whole bitmap {}", base_);
    }
    return NbdReader::OpenServer(command, what, env_.clock, [this] { return Health(); });
  }

  Checkpoint checkpoint() const override {
    Checkpoint checkpoint{base_, {}};
    for (const OfflineDisk& disk : disks_) {
      if (disk.tracking.since_base.ok()) checkpoint.disks.push_back(disk.tracking.disk);
    }
    return checkpoint.disks.empty() ? Checkpoint() : checkpoint;
  }

  absl::Status Health() override {
    ASSIGN_OR_RETURN(const DomainPtr domain, env_.connection.Find(uuid_));
    int state = 0;
    if (virDomainGetState(domain.get(), &state, nullptr, 0) != 0) return LibvirtError("get the state");
    if (state != VIR_DOMAIN_SHUTOFF) return Started(uuid_, "it was started");
    for (const OfflineDisk& disk : disks_) {
      ASSIGN_OR_RETURN(const std::string stamp, env_.files.StampOf(disk.disk.path));
      if (stamp != disk.stamp) return Started(uuid_, disk.disk.path + " was written");
    }
    return absl::OkStatus();
  }

  absl::Status Close() override { return absl::OkStatus(); }

 private:
  // A raw image in a file is the disk byte for byte: read without a server between, which would cost half of the
  // processor time of reading. Null for all others, and for sizes that QEMU rounds.
  std::unique_ptr<BlockReader> OpenRaw(const OfflineDisk& disk) {
    if (disk.disk.format != "raw" || disk.disk.path.starts_with("/dev/")) return nullptr;
    auto reader = OpenFile(env_.files, disk.disk.path,
                           {.no_changes = disk.tracking.since_base, .why = [this] { return Health(); }});
    if (!reader.ok() || (*reader)->capacity_bytes() != disk.disk.capacity_bytes) return nullptr;
    return *std::move(reader);
  }

  const PullBackupEnvironment env_;
  const std::string uuid_;
  const std::vector<OfflineDisk> disks_;
  const std::string base_;  // name of the checkpoint that changes are counted from
  const absl::Time time_;
};

class PreparedOfflineView final : public PreparedPointInTime {
 public:
  PreparedOfflineView(const PullBackupEnvironment& environment, std::string uuid, std::vector<OfflineDisk> disks,
                      std::string base)
      : env_(environment), uuid_(std::move(uuid)), disks_(std::move(disks)), base_(std::move(base)) {}

  absl::StatusOr<std::unique_ptr<PointInTime>> Begin() override {
    const absl::Time time = env_.clock.Now();
    for (OfflineDisk& disk : disks_) {
      ASSIGN_OR_RETURN(disk.stamp, env_.files.StampOf(disk.disk.path));
    }
    auto view = std::make_unique<OfflineView>(env_, uuid_, disks_, base_, time);
    RETURN_IF_ERROR(view->Health());
    return view;
  }

 private:
  const PullBackupEnvironment env_;
  const std::string uuid_;
  std::vector<OfflineDisk> disks_;
  const std::string base_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PreparedPointInTime>> PrepareOfflineView(const PullBackupEnvironment& env,
                                                                        const VmInfo& vm,
                                                                        const PointInTimeOptions& options) {
  if (vm.state != VmState::kOff && vm.state != VmState::kSaved) {
    return base::Error(StatusCode::kFailedPrecondition, "GUEST_STARTED", "'{}' is neither off nor saved", vm.name);
  }
  std::vector<Disk> disks;
  for (const std::string& name : options.disks) {
    const auto found = std::find_if(vm.disks.begin(), vm.disks.end(), [&](const Disk& d) { return d.name == name; });
    if (found == vm.disks.end() || found->exclusion != DiskExclusion::kNone) {
      return base::Error(StatusCode::kInvalidArgument, "INVALID_REQUEST", "'{}' has no disk '{}' to read", vm.name, name);
    }
    ASSIGN_OR_RETURN(const bool exists, env.files.Exists(found->path));
    if (!exists) {
      return base::Error(StatusCode::kFailedPrecondition, "DISK_MISSING", "disk '{}' of '{}': there is no {}", name, vm.name,
                         found->path);
    }
    disks.push_back(*found);
  }
  ASSIGN_OR_RETURN(const DomainPtr domain, env.connection.Find(vm.uuid));
  ASSIGN_OR_RETURN(const std::vector<DiskTracking> tracking, LookAtTracking(env, domain.get(), disks, options.base));
  std::vector<OfflineDisk> offline;
  for (size_t i = 0; i < disks.size(); ++i) offline.push_back({disks[i], tracking[i]});
  return std::make_unique<PreparedOfflineView>(env, vm.uuid, std::move(offline), options.base.name);
}

}  // namespace umbra::hypervisor
