// A point in time as libvirt's pull-mode backup: QEMU copies what the guest overwrites into scratch files, and serves
// the view by NBD on a unix socket.
//
// With it a checkpoint may begin (change_tracking.h), and changes since an earlier one be exported. Neither may fail a
// backup: when libvirt refuses, the view is cut without, in the same moment.
//
// What it leaves on the host while it lasts: the domain's backup job, SCRATCH/TAG-UUID8.nbd and
// SCRATCH/TAG-UUID8-DISK.scratch. It ends with the job's "abort", which is the normal end of a pull backup.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_PULL_BACKUP_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_PULL_BACKUP_H_

#include <memory>
#include <string>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "agent/hypervisor/libvirt/connection.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"

namespace umbra::hypervisor {

// What the functions here work with; must outlive what they return.
struct PullBackupEnvironment {
  Connection& connection;
  base::Filesystem& files;
  base::Clock& clock;
};

// As Hypervisor::CheckNoJob.
absl::Status CheckNoBackupJob(virDomainPtr domain, const std::string& name);

// As Hypervisor::PreparePointInTime.
absl::StatusOr<std::unique_ptr<PreparedPointInTime>> PreparePullBackup(const PullBackupEnvironment& environment,
                                                                       const std::string& uuid,
                                                                       const PointInTimeOptions& options);

// As Hypervisor::CleanUp.
absl::StatusOr<CleanUpReport> CleanUpPullBackup(const PullBackupEnvironment& environment, const std::string& uuid,
                                                const std::string& scratch_folder, const std::string& owner_tag);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_PULL_BACKUP_H_
