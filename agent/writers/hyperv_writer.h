// The Hyper-V VSS writer on any hypervisor of ours: every virtual machine is a component.
//
// Backup (B1 to B10): PrepareBackup chooses the mechanism and refuses what can't be done, before anything is touched.
// PrepareSnapshot captures every virtual machine with its mechanism (vm_capture.h): a guest's own snapshot is taken
// whole, a virtual machine without one is saved (B2); it returns when all are captured, or none is (B4, B9). Freeze and
// Thaw do nothing (B5). The provider cuts those that are not cut yet in CommitSnapshots. PostSnapshot lets those go on
// that this writer stopped (B6), and hands the guests' snapshots to the provider, whose copies become them (B7). Restore (R1 to R8): PreRestore powers off and deletes, PostRestore registers.
//
// Threads: the events come from the coordinator (writer.h); the other calls are thread-safe.
#ifndef UMBRA_AGENT_WRITERS_HYPERV_WRITER_H_
#define UMBRA_AGENT_WRITERS_HYPERV_WRITER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/cluster/cluster_hold.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/journal/intent_journal.h"
#include "agent/providers/checkpoint_provider.h"
#include "agent/providers/guest_freeze.h"
#include "agent/vss/restore_plan.h"
#include "agent/vss/writer.h"
#include "agent/writers/clustered_restore.h"
#include "agent/writers/component_options.h"
#include "agent/writers/hyperv_components.h"
#include "agent/writers/mechanism.h"
#include "agent/writers/vm_capture.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/threads.h"

namespace umbra::writers {

struct HypervWriterOptions {
  vss::Guid instance_id;
  std::string scratch_folder;
  providers::FreezeLimits freeze;
  absl::Duration guest_agent_timeout = absl::Seconds(2);
  guest::GuestWriters* guest_writers = nullptr;    // outlives the writer; null: no guest has writers of its own
  const cluster::ClusterTools* cluster = nullptr;  // outlives the writer; null: this host is in no failover cluster
  absl::Duration resume_patience = absl::Minutes(1);  // see CaptureRequest
  // Virtual machines of one set whose memory is saved at the same time. Each one that stands still waits for all the others of
  // its set; more at once share the disk that the memory is written to.
  size_t saves_at_once = 4;
  base::Threads* threads = &base::SystemThreads();
};

// A virtual machine in a backup, from PrepareSnapshot on.
struct CapturedVm {
  hypervisor::VmInfo vm;
  std::vector<ExcludedDisk> excluded_disks;
  BackupPlan plan;
  std::string configuration;
  CaptureFigures figures;
  CapturedState state;
};

class HypervWriter final : public vss::Writer {
 public:
  // All references outlive the writer.
  HypervWriter(const providers::PointInTimeTools& tools, providers::CheckpointProvider& provider,
               base::Filesystem& filesystem, base::Random& random, HypervWriterOptions options);
  ~HypervWriter() override;

  // Of one session, after its DoSnapshotSet. NOT_FOUND / VSS_OBJECT_NOT_FOUND for another one.
  absl::StatusOr<std::vector<CapturedVm>> Captured(const vss::Guid& session_id) const;
  // The saved memory of a virtual machine in it. NOT_FOUND / STATE_NOT_FOUND when there is none.
  absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> OpenState(const vss::Guid& session_id,
                                                                     const std::string& vm_uuid) const;
  // Between PreRestore and PostRestore of a restore in place: every file is complete and durable and they are about to take
  // their names, `disks` says which; a restart finishes the restore from here on. OK when the session restores nothing in
  // place.
  absl::Status FilesTakeNames(const vss::Guid& session_id, std::vector<journal::RestoredDisk> disks);
  // For the requester of a restore in place: a file that another virtual machine uses can't be replaced.
  absl::StatusOr<vss::RestoreProbe> ProbeFor(const std::string& vm_uuid);
  base::Filesystem& filesystem() { return filesystem_; }
  // Of one session, after its PostRestore; taken out.
  absl::StatusOr<hypervisor::DefinedVm> TakeRestored(const vss::Guid& session_id);
  // What became of the virtual machines of one restore that are resources of a cluster, after its PostRestore, well or
  // not; taken out.
  std::vector<ClusterOutcome> TakeClusterOutcomes(const vss::Guid& session_id);

  // --- vss::Writer ---
  const vss::WriterIdentity& identity() const override { return identity_; }
  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext& context) override;
  absl::Status OnPrepareBackup(vss::EventContext& context) override;
  absl::Status OnPrepareSnapshot(vss::EventContext& context) override;
  absl::Status OnFreeze(vss::EventContext&) override { return absl::OkStatus(); }  // B5
  absl::Status OnThaw(vss::EventContext&) override { return absl::OkStatus(); }    // B5
  absl::Status OnPostSnapshot(vss::EventContext& context) override;
  absl::Status OnBackupComplete(vss::EventContext& context) override;
  absl::Status OnBackupShutdown(vss::EventContext& context) override;
  absl::Status OnAbort(vss::EventContext& context) override;
  absl::Status OnPreRestore(vss::EventContext& context) override;
  absl::Status OnPostRestore(vss::EventContext& context) override;

 private:
  struct Work;    // of one backup session
  struct WorkVm;  // of one virtual machine in it

  // A virtual machine that was deleted for its restore.
  struct Restoring {
    journal::Intent intent;
    std::vector<std::string> checkpoints;  // names of those that it had
  };

  absl::StatusOr<std::vector<vss::BackupComponent>> Scope(const vss::EventContext& context);
  absl::StatusOr<WorkVm> Plan(const vss::EventContext& context, const vss::BackupComponent& component);
  absl::Status CheckNotBusy(const std::string& vm_uuid) const;
  absl::Status CheckVolumes(const vss::EventContext& context, const Work& work) const;
  absl::Status PrepareOne(const vss::EventContext& context, WorkVm& vm);
  std::unique_ptr<VmCapture> CaptureOf(const WorkVm& vm);
  absl::Status PrepareAndTake(const vss::EventContext& context, Work& work);
  static std::vector<WorkVm*> Stopping(Work& work, bool stops);
  absl::Status AfterSnapshot(Work& work);
  absl::StatusOr<BackupFacts> FactsOf(const vss::EventContext& context, const CapturedVm& captured);
  Work* FindWork(const vss::Guid& session_id) const;
  void Drop(const vss::Guid& session_id);

  void ForgetRestore(const vss::Guid& session_id);
  absl::Status CheckNameFree(const std::string& name);
  absl::Status CheckRestorable(const std::string& vm_uuid, const RestoreOptions& options, ClusteredRestore& clustered);
  absl::Status ForgetOlderRestores(const std::string& vm_uuid);
  absl::Status DeleteForRestore(const vss::Guid& session_id, const std::string& vm_uuid, const RestoreOptions& options,
                                ClusteredRestore& clustered);
  absl::Status RegisterAll(vss::EventContext& context);
  absl::StatusOr<hypervisor::DefinedVm> Register(const RestoreOptions& options);
  void WarnOfCheckpoints(const vss::Guid& session_id, const vss::BackupComponent& component,
                         hypervisor::DefinedVm* defined);
  void Link(const RestoreOptions& options, hypervisor::DefinedVm* defined);

  const providers::PointInTimeTools tools_;
  providers::CheckpointProvider& provider_;
  base::Filesystem& filesystem_;
  base::Random& random_;
  const HypervWriterOptions options_;
  const vss::WriterIdentity identity_;

  // The tables; what a Work holds belongs to its session, whose events come one after another.
  mutable absl::Mutex mu_;
  absl::flat_hash_map<vss::Guid, std::unique_ptr<Work>> work_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<vss::Guid, hypervisor::DefinedVm> restored_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<vss::Guid, std::unique_ptr<ClusteredRestore>> clustered_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<vss::Guid, std::vector<ClusterOutcome>> outcomes_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<vss::Guid, Restoring> restoring_ ABSL_GUARDED_BY(mu_);  // in place
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_HYPERV_WRITER_H_
