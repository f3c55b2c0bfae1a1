// The VSS engine of one host, assembled: coordinator, Hyper-V writer, checkpoint provider and journal around a
// hypervisor. The door through which a runner comes in.
//
// Threads: thread-safe; backups and restores of different virtual machines may run at the same time. Two jobs on one
// virtual machine are the caller's mistake to avoid; the second gets FAILED_PRECONDITION / VM_BUSY.
#ifndef UMBRA_AGENT_WRITERS_VSS_HOST_H_
#define UMBRA_AGENT_WRITERS_VSS_HOST_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cluster/cluster_service.h"
#include "agent/cluster/deed_journal.h"
#include "agent/guest/guest_writers.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/journal/healing.h"
#include "agent/providers/guest_freeze.h"
#include "agent/vss/writer.h"
#include "agent/writers/file_set_restore.h"
#include "agent/writers/file_set_writer.h"
#include "agent/writers/hyperv_components.h"
#include "agent/writers/vm_backup.h"
#include "agent/writers/vm_restore.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/threads.h"

namespace umbra::writers {

struct VssHostOptions {
  std::string scratch_folder;  // for copy-before-write; must exist and be usable by the hypervisor
  std::string journal_folder;  // for intents; made when needed
  // The failover cluster that this host is in; outlives the host. Null: none.
  cluster::ClusterService* cluster = nullptr;
  std::string cluster_journal_folder;  // for what the cluster is asked for; with `cluster`
  providers::FreezeLimits freeze;
  // Longest wait for one guest's agent in an inventory. A healthy one answers in milliseconds.
  absl::Duration guest_agent_timeout = absl::Seconds(2);
  // Services of this host that can join a backup (VmBackupOptions::file_sets), their copies and their intents.
  struct FileSets {
    std::vector<FileSet> sets;                  // passed CheckFileSets
    base::CommandRunner* commands = nullptr;    // these two outlive the host; not null when there are sets
    base::FolderCopier* copier = nullptr;
    std::string copies_folder;   // on the file system of the sets' folders, where blocks can be shared
    std::string intents_folder;  // made when needed
  } file_sets = {};
  guest::GuestWriters* guest_writers = nullptr;  // outlives the host; null: no guest has writers of its own
  absl::Duration resume_patience = absl::Minutes(1);  // see CaptureRequest
  size_t saves_at_once = 4;                            // see HypervWriterOptions
  base::Threads* threads = &base::SystemThreads();     // outlives the host
};

class VssHost {
 public:
  // Everything passed outlives the host. Makes the folders of its journals: its errors are those of base::Filesystem.
  static absl::StatusOr<std::unique_ptr<VssHost>> Create(hypervisor::Hypervisor& hypervisor,
                                                         base::Filesystem& filesystem, base::Clock& clock,
                                                         base::Random& random, VssHostOptions options);
  ~VssHost();  // backups and restores are gone
  VssHost(const VssHost&) = delete;
  VssHost& operator=(const VssHost&) = delete;

  // Puts back what a predecessor that died left. Call it before the first assignment is accepted, and again from time
  // to time while the report has open intents. Leaves the work of this process alone.
  absl::StatusOr<journal::HealReport> Heal();

  absl::StatusOr<std::vector<VmDescription>> DescribeVms();
  // For the inventory; component_count is that of the last inventory.
  std::vector<vss::WriterStatus> Writers();

  std::unique_ptr<VmBackup> NewBackup(VmBackupOptions options);
  std::unique_ptr<VmRestore> NewRestore(VmRestoreOptions options);
  std::unique_ptr<FileSetRestore> NewFileSetRestore(FileSetRestoreOptions options);

  // As they are configured.
  const std::vector<FileSet>& file_sets() const;

 private:
  struct Parts;
  explicit VssHost(std::unique_ptr<Parts> parts);
  absl::Status HealFileSets();
  void AddResources(std::vector<VmDescription>& vms);
  void HealClusterAfter(const journal::HealReport& virtual_machines, cluster::JournalList deeds);

  const std::unique_ptr<Parts> parts_;
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_VSS_HOST_H_
