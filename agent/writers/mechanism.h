// Chooses how a virtual machine is brought to one point in time: the rules M1 to M2e, as pure functions.
#ifndef UMBRA_AGENT_WRITERS_MECHANISM_H_
#define UMBRA_AGENT_WRITERS_MECHANISM_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"

namespace umbra::writers {

// The first two are what the rules choose between; the others are what a backup may do instead.
enum class BackupMechanism {
  kSavedState,       // the virtual machine is saved while the point in time is taken
  kChildSnapshot,    // the guest freezes for the moment and keeps running
  kCrashConsistent,  // point in time without the guest's help, when the request allows it
  kOffline,          // the virtual machine was off: its disks as they are
};

std::string_view NameOf(BackupMechanism mechanism);  // "saved_state", "child_snapshot", "crash_consistent", "offline"

// A condition of M2 that doesn't hold.
struct Obstacle {
  std::string reason;   // stable: GUEST_NOT_RUNNING, GUEST_AGENT_NOT_CONFIGURED, GUEST_AGENT_NOT_RUNNING,
                        // SNAPSHOT_FOLDER_ON_OTHER_VOLUME, GUEST_VOLUME_SPANS_EXCLUDED_DISK,
                        // GUEST_FILESYSTEM_CANNOT_FREEZE
  std::string message;  // for people, with names

  friend bool operator==(const Obstacle&, const Obstacle&) = default;
};

struct MechanismChoice {
  BackupMechanism mechanism = BackupMechanism::kSavedState;  // kSavedState or kChildSnapshot
  std::vector<Obstacle> obstacles;                           // all of them; empty exactly with kChildSnapshot

  // Of the first obstacle; empty with kChildSnapshot.
  std::string reason() const { return obstacles.empty() ? "" : obstacles.front().reason; }
  // The choice in words.
  std::string message() const;
};

// Names the host volume that holds `path`; two paths with one answer are on one volume. Empty when that isn't known.
using HostVolumeOf = std::function<std::string(const std::string& path)>;

MechanismChoice ChooseMechanism(const hypervisor::VmInfo& vm, const hypervisor::GuestAgentInfo& agent,
                                const HostVolumeOf& host_volume_of);

// What a request says about mechanisms.
struct MechanismPolicy {
  bool child_snapshot_only = false;     // nothing else for a virtual machine that runs
  bool forbid_saved_state = false;      // it may not be stopped, not even for a moment
  bool allow_crash_consistent = false;  // where child snapshot isn't possible and the saved state is forbidden

  friend bool operator==(const MechanismPolicy&, const MechanismPolicy&) = default;
};

// What a backup does now, given the choice.
struct BackupPlan {
  BackupMechanism mechanism = BackupMechanism::kChildSnapshot;
  std::string reason;               // why not child snapshot: the first; empty with kChildSnapshot
  std::string message;              // all of it for people
  std::vector<Obstacle> obstacles;  // all of the choice
};

// kOffline for a virtual machine that is off or saved: nothing has to be done to it, so no policy can mind. Else
// kChildSnapshot when it was chosen, else kSavedState (M1) unless the policy forbids it, else kCrashConsistent when the
// policy allows it. Else FAILED_PRECONDITION: the reason of the choice when people can act on it
// (GUEST_AGENT_NOT_CONFIGURED, GUEST_AGENT_NOT_RUNNING), else SAVED_STATE_FORBIDDEN; the message says why and what to do.
// GUEST_NOT_RUNNING for one that has crashed or whose state isn't known. NO_DISKS when every disk is excluded (B10).
absl::StatusOr<BackupPlan> PlanBackup(const hypervisor::VmInfo& vm, const MechanismChoice& choice,
                                      const MechanismPolicy& policy);

// A disk that stays out of a backup.
struct ExcludedDisk {
  std::string name;     // target
  std::string reason;   // stable: "DISK_PASS_THROUGH" ...
  std::string message;  // for people
};

std::vector<hypervisor::Disk> IncludedDisks(const hypervisor::VmInfo& vm);
// With those that the guest attached itself (iSCSI), as far as its agent tells of file systems on them: nobody else knows.
std::vector<ExcludedDisk> ExcludedDisks(const hypervisor::VmInfo& vm, const hypervisor::GuestAgentInfo& agent = {});

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_MECHANISM_H_
