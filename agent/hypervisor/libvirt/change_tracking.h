// What libvirt and QEMU know of changed blocks: checkpoints of a domain, each a persistent dirty bitmap in the qcow2
// image of every disk that it covers.
//
// A bitmap records from its checkpoint on, whatever checkpoints come later, so one of ours is enough and those of other
// tools don't matter. QEMU writes it into the image when it ends in order; after a kill it is marked in use, and nobody
// uses it again.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHANGE_TRACKING_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHANGE_TRACKING_H_

#include <string>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "agent/hypervisor/libvirt/pull_backup.h"

namespace umbra::hypervisor {

// One disk of a view that is being prepared.
struct DiskTracking {
  TrackedDisk disk;         // as it is now
  bool trackable = false;   // its format can keep a bitmap
  absl::Status since_base;  // OK: the domain has the base's checkpoint for it, and it is the same disk
};

// In the order of `disks`. Errors: the hypervisor can't be asked.
absl::StatusOr<std::vector<DiskTracking>> LookAtTracking(const PullBackupEnvironment& environment, virDomainPtr domain,
                                                         const std::vector<Disk>& disks, const Checkpoint& base);

// The checkpoint was forgotten by libvirt alone ("--metadata"), so its bitmaps are still in the images: removes them.
// Of a domain that runs; `live_xml` is its description. Failing is harmless: bitmaps cost a little.
void RemoveForgottenBitmaps(virDomainPtr domain, const std::string& live_xml, const Checkpoint& checkpoint);

// As Hypervisor::RemoveCheckpoints.
absl::StatusOr<CleanUpReport> RemoveDomainCheckpoints(const PullBackupEnvironment& environment, const std::string& uuid,
                                                      const std::string& keep);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHANGE_TRACKING_H_
