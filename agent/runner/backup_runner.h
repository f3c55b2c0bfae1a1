// One backup assignment, from the first look at the virtual machines to the committed recovery points.
#ifndef UMBRA_AGENT_RUNNER_BACKUP_RUNNER_H_
#define UMBRA_AGENT_RUNNER_BACKUP_RUNNER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/runner/backup_hooks.h"
#include "agent/runner/convert.h"
#include "agent/runner/file_set_backup.h"
#include "agent/runner/job_reporter.h"
#include "agent/runner/runner.h"
#include "agent/transfer/cancellation.h"
#include "umbra/agent/v1/agent_link.pb.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::runner {

// One use, one thread.
class BackupRunner {
 public:
  // Everything outlives the runner.
  BackupRunner(const RunnerContext& context, const agent::v1::AssignmentId& id, const agent::v1::BackupAssignment& work,
               transfer::Cancellation& cancellation, JobReporter& reporter);
  ~BackupRunner();

  // Blocks until all recovery points of the set are committed, or until everything is put back: no guest is frozen, no
  // view is open and no session is left at the daemon. Fills in `result` what it has, also when it fails.
  // Errors keep the reason of their cause.
  absl::Status Run(agent::v1::AssignmentResult* result);

 private:
  class HealthWatch;

  HookedJob Hooked() const;
  // `*post_owed`: from then on RunPostHook belongs to the end of the attempt.
  absl::Status RunPreHook(bool* post_owed);
  void RunPostHook(const absl::Status& result);
  void MakeBackup();
  absl::Status Prepare();
  absl::Status OpenSession();
  absl::Status Snapshot(agent::v1::AssignmentResult* result);
  void WarnOfMechanism(const writers::VmSnapshot& snapshot);
  void WarnOfCheckpoints(const writers::VmSnapshot& snapshot);
  absl::Status Transfer();
  absl::Status TransferVm(transfer::BackupPipeline& pipeline, size_t vm);
  absl::Status TransferDisk(transfer::BackupPipeline& pipeline, size_t vm, const hypervisor::Disk& disk);
  absl::Status TransferState(transfer::BackupPipeline& pipeline, size_t vm);
  // `wanted`: OK, or why no increment is.
  absl::Status Send(transfer::BackupPipeline& pipeline, size_t vm, const std::string& name,
                    hypervisor::BlockReader& reader, const absl::Status& wanted);
  // The recovery point that an increment of this virtual machine starts from; null: none.
  const store::v1::BasePoint* BaseOf(const std::string& vm_uuid) const;
  absl::Status CheckHealth() ABSL_LOCKS_EXCLUDED(backup_mu_);
  absl::Status GlanceAtHealth() ABSL_LOCKS_EXCLUDED(backup_mu_);
  absl::Status HealthLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(backup_mu_);
  absl::Status Commit();
  void PutBack();

  const RunnerContext& context_;
  const agent::v1::AssignmentId id_;
  const agent::v1::BackupAssignment work_;
  transfer::Cancellation& cancellation_;
  JobReporter& reporter_;

  const std::unique_ptr<transfer::ChunkStoreClient> link_store_;
  transfer::RetryingStore store_;
  store::v1::OpenSessionResponse session_;  // empty id: none is open

  // VmBackup takes one caller at a time; the health watch is the second one.
  absl::Mutex backup_mu_;
  std::unique_ptr<writers::VmBackup> backup_ ABSL_PT_GUARDED_BY(backup_mu_);
  std::vector<writers::VmSnapshot> snapshots_;
  std::vector<uint64_t> read_bytes_;  // of each snapshot
  std::vector<DiskReads> reads_;      // the same; by disk
  FileSetBackup file_sets_;
  size_t next_meter_disk_ = 0;
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_BACKUP_RUNNER_H_
