// Restores one virtual machine: what a runner needs, with the VSS restore flow behind it.
//
//   auto restore = host.NewRestore(options);
//   PreRestore() -> write every disk to its path -> SetFilesRestored(kAll) -> PostRestore().
//
// In place (R2): PreRestore powers the virtual machine off and deletes its registration; its disk files stay. The point
// of no return is PreRestore. A restore as a new virtual machine deletes nothing.
// Files may be written only when PreRestore returned OK (R3). When they failed, tell kFailed or kNone and still call
// PostRestore: it answers DATA_LOSS / VSS_RESTORE_INCOMPLETE and registers nothing (R4). The destructor does that for a
// caller who gives up.
//
// Threads: one at a time.
#ifndef UMBRA_AGENT_WRITERS_VM_RESTORE_H_
#define UMBRA_AGENT_WRITERS_VM_RESTORE_H_

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/journal/intent_journal.h"
#include "agent/vss/requester.h"
#include "agent/writers/clustered_restore.h"

namespace umbra::writers {

class HypervWriter;

struct VmRestoreOptions {
  vss::BackupDocuments documents;  // as VmBackup::Documents gave them
  std::string configuration;       // VmSnapshot::configuration
  std::string vm_uuid;             // at backup time
  std::string vm_name;             // at backup time
  std::string new_name;  // empty: in place; otherwise a new virtual machine of this name, uuid and MAC addresses new
  // Disk name -> path of the restored file, for every disk of the recovery point.
  std::vector<std::pair<std::string, std::string>> disk_paths;
  // In place: the failover cluster's resource of the virtual machine is taken offline for the restore and brought back
  // after it. Without it a resource that is online is a reason to refuse.
  bool take_cluster_offline = false;
};

class VmRestore {
 public:
  // Made by VssHost::NewRestore; all references outlive it.
  VmRestore(std::unique_ptr<vss::Session> session, HypervWriter& writer, VmRestoreOptions options);
  ~VmRestore();
  VmRestore(const VmRestore&) = delete;
  VmRestore& operator=(const VmRestore&) = delete;

  // Errors, before anything is touched: INVALID_ARGUMENT / VSS_DOCUMENT_INVALID, NOT_FOUND / VSS_OBJECT_NOT_FOUND when
  // the documents don't hold the virtual machine, ALREADY_EXISTS / VM_EXISTS when the new name is taken,
  // FAILED_PRECONDITION / CLUSTER_RESOURCE_ONLINE, and those of a cluster that doesn't do what it is asked for.
  // FAILED_PRECONDITION / DISK_IN_USE: a disk file can't be replaced where it was, since another virtual machine uses
  // it. FAILED_PRECONDITION / VSS_NOT_SUPPORTED: the saved documents want its files restored in a way that isn't ours
  // (restore_plan.h).
  absl::Status PreRestore();

  // Every file is complete and durable at its `written_path` and is about to be renamed to its `path`: a restarted agent
  // will finish the restore.
  absl::Status FilesTakeNames(std::vector<journal::RestoredDisk> disks);

  absl::Status SetFilesRestored(vss::FileRestoreStatus status);

  // Registers the virtual machine, off (R5 to R8). `warnings` has the adapters that were left disconnected.
  absl::StatusOr<hypervisor::DefinedVm> PostRestore();

  // After PostRestore, well or not: what became of the cluster's resource. Nothing when the virtual machine is none.
  const std::optional<ClusterOutcome>& cluster_outcome() const { return cluster_outcome_; }

 private:
  absl::Status CheckPlaces();

  vss::RestoreRequester requester_;
  HypervWriter& writer_;
  const VmRestoreOptions options_;
  std::optional<ClusterOutcome> cluster_outcome_;
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_VM_RESTORE_H_
