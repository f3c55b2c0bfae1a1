// The disks of a VM that is off or saved, read as they lie there: a raw image's file itself, all others through one
// qemu-nbd per open disk, a child of ours that ends with its reader, or with us.
//
// Neither takes a lock on the image, because a lock would keep people from starting their VM for as long as a backup
// takes. Instead the view is lost when the VM was started or an image was written meanwhile, and Health says so: it
// must be asked after the last read. Changes are those of the base's bitmap in the image, and no checkpoint can begin.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_OFFLINE_VIEW_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_OFFLINE_VIEW_H_

#include <memory>
#include <string>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "agent/hypervisor/libvirt/pull_backup.h"

namespace umbra::hypervisor {

// As Hypervisor::PreparePointInTime for an offline view of `vm`, which is as Hypervisor::GetVm describes it.
absl::StatusOr<std::unique_ptr<PreparedPointInTime>> PrepareOfflineView(const PullBackupEnvironment& environment,
                                                                        const VmInfo& vm,
                                                                        const PointInTimeOptions& options);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_OFFLINE_VIEW_H_
