#include "agent/writers/mechanism.h"

#include <fmt/format.h>

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::writers {
namespace {

using hypervisor::Disk;
using hypervisor::DiskExclusion;
using hypervisor::GuestAgentInfo;
using hypervisor::GuestAgentState;
using hypervisor::GuestFilesystem;
using hypervisor::VmInfo;
using hypervisor::VmState;

std::string_view NameOf(VmState state) {
  switch (state) {
    case VmState::kRunning:
      return "running";
    case VmState::kPaused:
      return "paused";
    case VmState::kSaved:
      return "saved";
    case VmState::kOff:
      return "off";
    case VmState::kCrashed:
      return "crashed";
    case VmState::kUnknown:
      break;
  }
  return "in an unknown state";
}

std::string_view ReasonOf(DiskExclusion exclusion) {
  switch (exclusion) {
    case DiskExclusion::kPassThrough:
      return "DISK_PASS_THROUGH";
    case DiskExclusion::kNetwork:
      return "DISK_NETWORK";
    case DiskExclusion::kRemovable:
      return "DISK_REMOVABLE";
    case DiskExclusion::kShared:
      return "DISK_SHARED";
    case DiskExclusion::kFormatUnsupported:
      return "DISK_FORMAT_UNSUPPORTED";
    case DiskExclusion::kNone:
      break;
  }
  return "";
}

bool IsIncluded(const VmInfo& vm, const std::string& disk_name) {
  return std::any_of(vm.disks.begin(), vm.disks.end(), [&](const Disk& disk) {
    return disk.name == disk_name && disk.exclusion == DiskExclusion::kNone;
  });
}

// A file system that no included disk holds isn't part of the backup, so it can't stand in its way. One whose disks
// aren't known may be anywhere.
bool IsInBackup(const VmInfo& vm, const GuestFilesystem& fs) {
  return fs.disk_names.empty() || std::any_of(fs.disk_names.begin(), fs.disk_names.end(),
                                              [&](const std::string& name) { return IsIncluded(vm, name); });
}

// M2a.
void CheckAgent(const GuestAgentInfo& agent, std::vector<Obstacle>* obstacles) {
  switch (agent.state) {
    case GuestAgentState::kRunning:
      return;
    case GuestAgentState::kNotConfigured:
      obstacles->push_back({"GUEST_AGENT_NOT_CONFIGURED", "the virtual machine has no guest agent channel"});
      return;
    default:
      obstacles->push_back({"GUEST_AGENT_NOT_RUNNING", "the guest agent doesn't answer"});
  }
}

// M2c.
void CheckSnapshotFolder(const VmInfo& vm, const HostVolumeOf& host_volume_of, std::vector<Obstacle>* obstacles) {
  if (vm.snapshot_folder.empty()) return;  // snapshots lie beside each disk
  const std::string volume = host_volume_of(vm.snapshot_folder);
  for (const Disk& disk : IncludedDisks(vm)) {
    if (!volume.empty() && host_volume_of(disk.path) == volume) continue;
    obstacles->push_back({"SNAPSHOT_FOLDER_ON_OTHER_VOLUME",
                          fmt::format("snapshots go to {}, which is not on the volume of disk {} ({})",
                                      vm.snapshot_folder, disk.name, disk.path)});
    return;
  }
}

// M2d: a volume that lies partly on a disk outside the backup can't be brought to one point in time.
void CheckSpanning(const VmInfo& vm, const GuestAgentInfo& agent, std::vector<Obstacle>* obstacles) {
  for (const GuestFilesystem& fs : agent.filesystems) {
    if (!IsInBackup(vm, fs)) continue;
    for (const std::string& name : fs.disk_names) {
      if (IsIncluded(vm, name)) continue;
      obstacles->push_back(
          {"GUEST_VOLUME_SPANS_EXCLUDED_DISK",
           fmt::format("the guest's {} lies partly on disk {}, which is not backed up", fs.mount_point, name)});
      return;
    }
  }
}

// The firmware reads boot loaders from a FAT partition; guests keep it mounted, and write to it only when a boot loader
// or kernel is updated. Freezing tools pass it over, and so does M2e (docs/adr/0004).
bool IsBootPartition(const GuestFilesystem& fs) {
  static constexpr std::string_view kMountPoints[] = {"/boot/efi", "/efi", "/boot/firmware"};
  return (fs.type == "vfat" || fs.type == "msdos") &&
         std::find(std::begin(kMountPoints), std::end(kMountPoints), fs.mount_point) != std::end(kMountPoints);
}

// M2e.
void CheckFilesystems(const VmInfo& vm, const GuestAgentInfo& agent, std::vector<Obstacle>* obstacles) {
  for (const GuestFilesystem& fs : agent.filesystems) {
    if (fs.can_freeze || IsBootPartition(fs) || !IsInBackup(vm, fs)) continue;
    obstacles->push_back({"GUEST_FILESYSTEM_CANNOT_FREEZE",
                          fmt::format("the guest's {} is {}, which can't be frozen", fs.mount_point, fs.type)});
    return;
  }
}

// Reasons that tell a person what to do; any other is left to the message.
bool IsTold(std::string_view reason) {
  return reason == "GUEST_AGENT_NOT_CONFIGURED" || reason == "GUEST_AGENT_NOT_RUNNING";
}

std::string_view AdviceFor(std::string_view reason) {
  if (reason == "GUEST_AGENT_NOT_CONFIGURED")
    return "install a guest agent, or allow the saved state or crash-consistent points";
  if (reason == "GUEST_AGENT_NOT_RUNNING")
    return "look at the agent in the guest, or allow the saved state or crash-consistent points";
  return "remove the obstacle, or allow the saved state or crash-consistent points";
}

}  // namespace

std::string_view NameOf(BackupMechanism mechanism) {
  switch (mechanism) {
    case BackupMechanism::kSavedState:
      return "saved_state";
    case BackupMechanism::kChildSnapshot:
      return "child_snapshot";
    case BackupMechanism::kCrashConsistent:
      return "crash_consistent";
    case BackupMechanism::kOffline:
      return "offline";
  }
  return "";
}

std::vector<Disk> IncludedDisks(const VmInfo& vm) {
  std::vector<Disk> disks;
  for (const Disk& disk : vm.disks) {
    if (disk.exclusion == DiskExclusion::kNone) disks.push_back(disk);
  }
  return disks;
}

std::vector<ExcludedDisk> ExcludedDisks(const VmInfo& vm, const GuestAgentInfo& agent) {
  std::vector<ExcludedDisk> disks;
  for (const Disk& disk : vm.disks) {
    if (disk.exclusion == DiskExclusion::kNone) continue;
    disks.push_back({disk.name, std::string(ReasonOf(disk.exclusion)), disk.exclusion_detail});
  }
  for (const GuestFilesystem& fs : agent.filesystems) {
    for (const std::string& name : fs.disk_names) {
      const bool hosts = std::any_of(vm.disks.begin(), vm.disks.end(), [&](const Disk& d) { return d.name == name; });
      const bool listed =
          std::any_of(disks.begin(), disks.end(), [&](const ExcludedDisk& d) { return d.name == name; });
      if (hosts || listed) continue;
      disks.push_back(
          {name, "DISK_NETWORK",
           fmt::format("the guest's {} lies on {}, which the guest attached itself", fs.mount_point, name)});
    }
  }
  for (const hypervisor::GuestDisk& own : agent.own_disks) {
    const bool listed = std::any_of(disks.begin(), disks.end(), [&](const ExcludedDisk& d) { return d.name == own.name; });
    if (listed) continue;
    disks.push_back({own.name, "DISK_NETWORK", fmt::format("the guest attached {} itself, by {}", own.name, own.bus)});
  }
  return disks;
}

std::string MechanismChoice::message() const {
  if (mechanism == BackupMechanism::kChildSnapshot) return "the guest freezes its file systems for the moment";
  std::string text;
  for (const Obstacle& obstacle : obstacles) text += (text.empty() ? "" : "; ") + obstacle.message;
  return text;
}

MechanismChoice ChooseMechanism(const VmInfo& vm, const GuestAgentInfo& agent, const HostVolumeOf& host_volume_of) {
  MechanismChoice choice;
  // M2b first: nobody answers in a guest that doesn't run, so M2a, M2d and M2e can't be known.
  if (vm.state == VmState::kRunning) {
    CheckAgent(agent, &choice.obstacles);
  } else {
    choice.obstacles.push_back(
        {"GUEST_NOT_RUNNING", fmt::format("the virtual machine is {}, not running", NameOf(vm.state))});
  }
  CheckSnapshotFolder(vm, host_volume_of, &choice.obstacles);
  CheckSpanning(vm, agent, &choice.obstacles);
  CheckFilesystems(vm, agent, &choice.obstacles);
  choice.mechanism = choice.obstacles.empty() ? BackupMechanism::kChildSnapshot : BackupMechanism::kSavedState;
  return choice;
}

absl::StatusOr<BackupPlan> PlanBackup(const VmInfo& vm, const MechanismChoice& choice, const MechanismPolicy& policy) {
  if (IncludedDisks(vm).empty()) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "NO_DISKS",
                       "{}: every disk is excluded, there is nothing to back up", vm.name);
  }
  const auto plan = [&](BackupMechanism mechanism) {
    return BackupPlan{mechanism, choice.reason(), choice.message(), choice.obstacles};
  };
  if (vm.state == VmState::kOff || vm.state == VmState::kSaved) return plan(BackupMechanism::kOffline);
  if (choice.mechanism == BackupMechanism::kChildSnapshot) return plan(BackupMechanism::kChildSnapshot);
  if (vm.state != VmState::kRunning && vm.state != VmState::kPaused) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "GUEST_NOT_RUNNING",
                       "{}: {}; turn it off or start it again", vm.name, choice.message());
  }
  const bool child_only = policy.child_snapshot_only;
  if (!child_only && !policy.forbid_saved_state) return plan(BackupMechanism::kSavedState);
  if (!child_only && policy.allow_crash_consistent) return plan(BackupMechanism::kCrashConsistent);
  const std::string reason = IsTold(choice.reason()) ? choice.reason() : "SAVED_STATE_FORBIDDEN";
  return base::Error(absl::StatusCode::kFailedPrecondition, reason,
                     "{}: child snapshot isn't possible, and the request allows nothing else: {}; {}", vm.name,
                     choice.message(), AdviceFor(choice.reason()));
}

}  // namespace umbra::writers
