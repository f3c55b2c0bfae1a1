#include "agent/hypervisor/libvirt/offline_view.h"

#include <algorithm>
#include <utility>

#include "agent/hypervisor/libvirt/nbd_reader.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;

constexpr char kServer[] = "qemu-nbd";

struct OfflineDisk {
  Disk disk;
  std::string stamp;  // of its file, at the moment of the view
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
  OfflineView(const PullBackupEnvironment& environment, std::string uuid, std::vector<OfflineDisk> disks, absl::Time time)
      : env_(environment), uuid_(std::move(uuid)), disks_(std::move(disks)), time_(time) {}

  absl::Time time() const override { return time_; }

  absl::StatusOr<std::unique_ptr<BlockReader>> OpenDisk(const std::string& name) override {
    const auto found = std::find_if(disks_.begin(), disks_.end(), [&](const OfflineDisk& d) { return d.disk.name == name; });
    if (found == disks_.end()) {
      return base::Error(StatusCode::kInvalidArgument, "INVALID_REQUEST", "disk '{}' isn't in the view", name);
    }
    const std::vector<std::string> command = {kServer, "--read-only", "--export-name=" + name, "--image-opts",
                                              ImageOptions(found->disk)};
    return NbdReader::OpenServer(command, name, env_.clock, [this] { return Health(); });
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
  const PullBackupEnvironment env_;
  const std::string uuid_;
  const std::vector<OfflineDisk> disks_;
  const absl::Time time_;
};

class PreparedOfflineView final : public PreparedPointInTime {
 public:
  PreparedOfflineView(const PullBackupEnvironment& environment, std::string uuid, std::vector<Disk> disks)
      : env_(environment), uuid_(std::move(uuid)), disks_(std::move(disks)) {}

  absl::StatusOr<std::unique_ptr<PointInTime>> Begin() override {
    const absl::Time time = env_.clock.Now();
    std::vector<OfflineDisk> disks;
    for (const Disk& disk : disks_) {
      ASSIGN_OR_RETURN(std::string stamp, env_.files.StampOf(disk.path));
      disks.push_back({disk, std::move(stamp)});
    }
    auto view = std::make_unique<OfflineView>(env_, uuid_, std::move(disks), time);
    RETURN_IF_ERROR(view->Health());
    return view;
  }

 private:
  const PullBackupEnvironment env_;
  const std::string uuid_;
  const std::vector<Disk> disks_;
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
  return std::make_unique<PreparedOfflineView>(env, vm.uuid, std::move(disks));
}

}  // namespace umbra::hypervisor
