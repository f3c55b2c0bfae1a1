// One restore assignment: PreRestore, verified files, PostRestore, start.
//
// A failed restore never destroys the only copy: in place, the old disk files stay until every byte of the new ones,
// which are written beside them as "<path>.umbra-restore", is verified and durable; then the new ones take the names. On a
// file system where files can share their content, a new raw file begins as a clone of the old one, and only what differs
// is written: every chunk that stays is verified in its place.
#ifndef UMBRA_AGENT_RUNNER_RESTORE_RUNNER_H_
#define UMBRA_AGENT_RUNNER_RESTORE_RUNNER_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/runner/job_reporter.h"
#include "agent/runner/restore_ledger.h"
#include "agent/runner/runner.h"
#include "agent/transfer/cancellation.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::runner {

// Ending of a disk's name while it is being restored in place.
inline constexpr char kRestoreSuffix[] = ".umbra-restore";

// Where one disk of the recovery point goes.
struct DiskTarget {
  v1::RecoveryPointDisk disk;
  std::string path;          // in the end
  std::string written_path;  // until all is verified; the same as `path` for a new virtual machine
};

struct RestorePlan {
  std::string vm_uuid;     // at backup time
  std::string vm_name;     // that it will have
  bool in_place = false;
  std::string new_folder;  // made for this restore; empty: none
  std::vector<DiskTarget> disks;
  // The saved memory to go on from; its file is only there until the virtual machine runs.
  std::optional<DiskTarget> state;
};

// What a restore will do. New: `<target folder, or default_folder>/<name>/<disk>.<format>`. In place: the paths at backup
// time, or the same as new when a target folder is given.
// INVALID_ARGUMENT / INVALID_REQUEST: no mode, going on from saved memory but not in place, a name that is no file name, a disk on a device without a target folder,
// no disks. FAILED_PRECONDITION / STATE_NOT_FOUND: the recovery point holds no memory to go on from.
absl::StatusOr<RestorePlan> PlanRestore(const agent::v1::RestoreAssignment& work, const std::string& default_folder);

// One use, one thread.
class RestoreRunner {
 public:
  // Everything outlives the runner.
  RestoreRunner(const RunnerContext& context, const agent::v1::AssignmentId& id, const agent::v1::RestoreAssignment& work,
                transfer::Cancellation& cancellation, JobReporter& reporter);

  // Blocks until the virtual machine is defined (and started), or until partial files are removed. The text of an error
  // says what is left: the virtual machine and its old files, or nothing.
  absl::Status Run(agent::v1::AssignmentResult* result);

 private:
  absl::Status CheckTargets();
  absl::Status CheckSpace();
  absl::Status PreRestore();
  absl::Status WriteDisks();
  absl::Status WriteDisk(const DiskTarget& target, size_t meter_disk);
  absl::Status TakeNames();
  absl::Status Define(agent::v1::AssignmentResult* result);
  bool LeftToCluster();
  void PowerUp(const std::string& vm_uuid);
  void RemoveState();
  void DropState();
  void GoOnFromState(const std::string& vm_uuid);
  absl::Status Explain(const absl::Status& status);

  const RunnerContext& context_;
  const agent::v1::AssignmentId id_;
  const agent::v1::RestoreAssignment work_;
  transfer::Cancellation& cancellation_;
  JobReporter& reporter_;
  const std::unique_ptr<transfer::ChunkStoreClient> store_;  // streams are resumed by DiskRestorer

  RestorePlan plan_;
  RestoreLedger ledger_;
  std::unique_ptr<writers::VmRestore> restore_;
  bool pre_restored_ = false;  // in place: the virtual machine's registration is gone
  int disks_written_ = 0;      // whole, with the saved memory
  bool names_taken_ = false;   // in place: at least one old file was replaced
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_RESTORE_RUNNER_H_
