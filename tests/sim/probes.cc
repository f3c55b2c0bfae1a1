#include "tests/sim/probes.h"

#include "storage/base/status.h"

namespace umbra::sim {
namespace {

constexpr std::string_view kProbes[] = {
    // What becomes of a job.
    "job: complete",
    "job: failed",
    "job: cancelled",
    "job: the other's set is in progress",
    "job: a guest died while it was read",
    "job: scratch full",
    // Guests.
    "guest: freeze refused",
    "guest: freeze slow, but in time",
    "guest: freeze landed late",
    "guest: freeze landed after nobody tried to thaw any more",
    "guest: thaw unanswered",
    "guest: agent fell silent while frozen",
    "guest: killed",
    "guest: overwrote what was being backed up",
    "guest: paused, backed up, paused",
    "guest: stopped and saved",
    // Applications.
    "app: thawed by Thaw",
    "app: thawed by Abort",
    "app: abort came when a hanging handler returned",
    // Writers' and providers' faults, at every event and phase.
    "writer fault: PrepareBackup",
    "writer fault: PrepareSnapshot",
    "writer fault: Freeze",
    "writer fault: Thaw",
    "writer fault: PostSnapshot",
    "writer fault: BackupComplete",
    "writer fault: BackupShutdown",
    "writer fault: Abort",
    "writer fault: Identify",
    "writer fault kind: delay",
    "writer fault kind: veto before",
    "writer fault kind: veto after",
    "writer fault kind: throw",
    "writer fault kind: hang",
    "provider fault: IsVolumeSupported",
    "provider fault: BeginPrepareSnapshot",
    "provider fault: EndPrepareSnapshots",
    "provider fault: PreCommitSnapshots",
    "provider fault: CommitSnapshots",
    "provider fault: PostCommitSnapshots",
    "provider fault: PreFinalCommitSnapshots",
    "provider fault: PostFinalCommitSnapshots",
    "provider fault: AbortSnapshots",
    "provider fault: DeleteSnapshots",
    "provider fault kind: delay",
    "provider fault kind: veto before",
    "provider fault kind: veto after",
    "provider fault kind: throw",
    "provider fault kind: hang",
    // The agent's death, at every call that reaches the world outside of it.
    "death before: QueryGuestAgent",
    "death before: Configuration",
    "death before: CheckNoJob",
    "death before: PreparePointInTime",
    "death before: Freeze",
    "death before: Begin",
    "death before: Thaw",
    "death before: OpenDisk",
    "death before: Close",
    "death before: CleanUp",
    "death before: CheckCanSave",
    "death before: SaveState",
    "death before: Resume",
    "death before: files.Open",
    "death before: files.Write",
    "death before: files.Sync",
    "death before: files.Rename",
    "death before: files.Remove",
    "death before: files.SyncDirectory",
    "death after: QueryGuestAgent",
    "death after: Configuration",
    "death after: CheckNoJob",
    "death after: PreparePointInTime",
    "death after: Freeze",
    "death after: Begin",
    "death after: Thaw",
    "death after: OpenDisk",
    "death after: Close",
    "death after: CleanUp",
    "death after: CheckCanSave",
    "death after: SaveState",
    "death after: Resume",
    "death after: files.Open",
    "death after: files.Write",
    "death after: files.Sync",
    "death after: files.Rename",
    "death after: files.Remove",
    "death after: files.SyncDirectory",
    "death before: hook.freeze",
    "death before: hook.thaw",
    "death before: copy",
    "death before: remove copy",
    "death after: hook.freeze",
    "death after: hook.thaw",
    "death after: copy",
    "death after: remove copy",
    "death: while a guest was frozen",
    "death: with a view open",
    "death: while healing",
    // Healing.
    "healing: thawed a guest",
    "healing: thawed a service",
    "hook fault: freeze",
    "hook fault: thaw",
    "healing: ended a point in time",
    "healing: resumed a guest",
    "healing: left an intent open",
    // Restores.
    "restore: complete",
    "restore: cut short",
    "restore: undone, or never begun",
    "restore: the disks are those of the point",
    "restore: failed, registered by hand",
    "death before: DeleteVm",
    "death before: CreateDisk",
    "death before: DefineVm",
    "death before: Start",
    "death before: disk.Write",
    "death after: DeleteVm",
    "death after: CreateDisk",
    "death after: DefineVm",
    "death after: Start",
    "death after: disk.Write",
    "healing: registered a machine again",
    "healing: started a machine again",
    "healing: finished a restore",
    "death: by a power cut",
    // The cluster.
    "cluster: looked away from a planned save",
    "cluster: a planned save ended",
    "cluster: a resource came back online",
    "cluster: did not answer",
    "cluster: refused a restore",
    "cluster: healed a planned save",
    "cluster: healed a resource that was offline",
    "death before: cluster.List",
    "death before: cluster.Plan",
    "death before: cluster.Begin",
    "death before: cluster.End",
    "death after: cluster.List",
    "death after: cluster.Plan",
    "death after: cluster.Begin",
    "death after: cluster.End",
    // The machine.
    "hypervisor: did not answer",
    "files: an error",
};

}  // namespace

Probes::Probes() {
  for (const std::string_view name : kProbes) counts_.emplace(name, 0);
}

void Probes::Hit(std::string_view name) {
  const auto found = counts_.find(name);
  UMBRA_CHECK(found != counts_.end());
  ++found->second;
}

void Probes::Hit(std::string_view name, std::string_view detail) {
  Hit(fmt::format("{}: {}", name, detail));
}

void Probes::HitIfListed(std::string_view name, std::string_view detail) {
  const auto found = counts_.find(fmt::format("{}: {}", name, detail));
  if (found != counts_.end()) ++found->second;
}

void Probes::Add(const Probes& other) {
  for (const auto& [name, count] : other.counts_) counts_.at(name) += count;
}

std::vector<std::string> Probes::Unreached() const {
  std::vector<std::string> unreached;
  for (const auto& [name, count] : counts_) {
    if (count == 0) unreached.push_back(name);
  }
  return unreached;
}

}  // namespace umbra::sim
