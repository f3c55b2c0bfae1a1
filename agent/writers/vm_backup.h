// Backs up virtual machines and file sets of this host as one snapshot set: what a runner needs, with the VSS flow behind it.
//
//   auto backup = host.NewBackup(options);
//   Prepare() -> Snapshot() -> { OpenDisk(), read, Health() } -> SetSucceeded() per VM -> Documents() -> store and
//   commit
//   -> Complete().  Abort() at any point, or the destructor, puts everything back.
//
// All or none (B9): when a step fails, no virtual machine of the set is frozen or has a view any more, and only Abort()
// remains. Errors keep the stable reason of their cause: VM_NOT_FOUND, NO_DISKS, GUEST_AGENT_NOT_CONFIGURED,
// GUEST_AGENT_NOT_RUNNING, GUEST_NOT_RUNNING, SAVED_STATE_FORBIDDEN, SAVED_STATE_UNSUPPORTED, GUEST_FREEZE_TIMEOUT, GUEST_FREEZE_FAILED,
// VM_HAS_FOREIGN_JOB, SCRATCH_FULL, HYPERVISOR_*, VSS_*. vss::IsRetryable tells whether the same may work later.
//
// Threads: one at a time, but for readers, which may be read by one thread each, also while Health() is called.
#ifndef UMBRA_AGENT_WRITERS_VM_BACKUP_H_
#define UMBRA_AGENT_WRITERS_VM_BACKUP_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/providers/folder_provider.h"
#include "agent/vss/requester.h"
#include "agent/writers/mechanism.h"

namespace umbra::providers {
class CheckpointProvider;
}

namespace umbra::writers {

class HypervWriter;

struct VmBackupOptions {
  std::vector<std::string> vm_uuids;  // no duplicates; with the file sets 1 to 64
  MechanismPolicy mechanism;
  absl::Duration freeze_timeout;  // longest freeze of a guest; zero: the host's default
  // Names what is left on the host until the end; only [a-z0-9-], at most 40 characters, unique to this attempt.
  std::string owner_tag;
  // The checkpoint that the last recovery point of a virtual machine knows, by uuid: changes are asked for since then.
  std::vector<std::pair<std::string, hypervisor::Checkpoint>> bases;
  // File sets of this host that join the set, by name; no duplicates. VSS_OBJECT_NOT_FOUND for one that isn't configured.
  std::vector<std::string> file_sets;
};

// One virtual machine at its point in time.
struct VmSnapshot {
  hypervisor::VmInfo vm;
  BackupMechanism mechanism = BackupMechanism::kChildSnapshot;
  std::string mechanism_reason;         // why not child snapshot; empty with it
  std::string mechanism_message;        // the same for people
  std::vector<Obstacle> obstacles;      // all that stands against child snapshot
  absl::Duration freeze_duration;       // from the freeze call to the answer of the thaw; zero without a freeze
  absl::Duration downtime;              // from the stop to running again; zero when it wasn't stopped
  absl::Time point_time;                // what the disks show
  vss::BackupDocuments child_documents;  // of the backup inside the guest; empty without one
  std::vector<vss::WriterStatus> guest_writers;  // of the same
  std::string configuration;            // the hypervisor's description, with secrets
  std::vector<hypervisor::Disk> disks;  // can be opened
  hypervisor::Checkpoint checkpoint;    // for the next backup's `bases`; without a name: changes aren't tracked
  uint64_t state_bytes = 0;             // size of the saved memory, which OpenState opens; 0: there is none
  std::vector<ExcludedDisk> excluded_disks;
};

class VmBackup {
 public:
  // Made by VssHost::NewBackup; all references outlive it.
  // `folders`: null when the host has no file sets.
  VmBackup(std::unique_ptr<vss::Session> session, HypervWriter& writer, providers::CheckpointProvider& provider,
           providers::FolderProvider* folders, base::Filesystem& files, VmBackupOptions options);
  ~VmBackup();
  VmBackup(const VmBackup&) = delete;
  VmBackup& operator=(const VmBackup&) = delete;

  // Finds the virtual machines, chooses mechanisms, refuses what can't be backed up, before anything is touched.
  // UNAVAILABLE / VSS_SNAPSHOT_SET_IN_PROGRESS: another backup is between Prepare and Snapshot; try again.
  absl::Status Prepare();

  // Freezes or saves, takes the points in time, lets go on. In the order of `vm_uuids`.
  // NOT_FOUND / FILE_NOT_FOUND: the copy of a file set lacks a file that the set names.
  absl::StatusOr<std::vector<VmSnapshot>> Snapshot();
  // The host's writers, and when they were frozen; also after a Snapshot that failed.
  std::vector<vss::WriterStatus> Writers() const { return requester_.Writers(); }

  // Readers must end before Complete, Abort and the destructor. NOT_FOUND / DISK_NOT_FOUND for an excluded disk.
  absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> OpenDisk(const std::string& vm_uuid,
                                                                    const std::string& disk_name);
  // The saved memory that belongs to the disks. NOT_FOUND / STATE_NOT_FOUND when there is none.
  absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> OpenState(const std::string& vm_uuid);
  // OK while the view can be trusted; ask after the last read. ABORTED / GUEST_STOPPED, RESOURCE_EXHAUSTED /
  // SCRATCH_FULL, ABORTED / GUEST_STARTED.
  absl::Status Health(const std::string& vm_uuid);

  // After Snapshot, until Complete or Abort: where the copy of a file set lies.
  absl::StatusOr<providers::FolderProvider::Copy> FileSetCopy(const std::string& name) const;
  absl::Status SetFileSetSucceeded(const std::string& name, bool succeeded);

  // Whether all data of the virtual machine was stored.
  absl::Status SetSucceeded(const std::string& vm_uuid, bool succeeded);
  // What a restore needs beside the data and VmSnapshot::configuration: store it with every recovery point of the set.
  // Call after SetSucceeded.
  absl::StatusOr<vss::BackupDocuments> Documents();

  // Call it right before the commit is asked for: should the agent die from here on, healing keeps the checkpoints that
  // began with these snapshots instead of those in `bases`.
  absl::Status CommitFollows();
  // The recovery points are durable: tells the writers and ends the views. An error leaves a good backup; it is a
  // warning.
  absl::Status Complete();
  absl::Status Abort();

 private:
  absl::Status GatherAndSelect();
  absl::StatusOr<std::vector<VmSnapshot>> Collect();
  absl::Status CheckFileSet(const std::string& name);

  vss::BackupRequester requester_;
  HypervWriter& writer_;
  providers::CheckpointProvider& provider_;
  providers::FolderProvider* const folders_;
  base::Filesystem& files_;
  const VmBackupOptions options_;
  vss::WriterMetadata file_sets_;  // of the file-set writer; empty without one
  bool selected_ = false;
  vss::Guid set_id_;  // null before Snapshot
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_VM_BACKUP_H_
