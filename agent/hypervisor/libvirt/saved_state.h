// A VM's memory and devices as a libvirt save image, without the VM ever ending: it is suspended, an external snapshot of
// its memory alone is taken, and it stays suspended until somebody resumes it. The file is what `virsh restore` takes.
// Source: libvirt's "Snapshot XML format"; what it costs was measured with libvirt 9.0 and QEMU 7.2.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_SAVED_STATE_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_SAVED_STATE_H_

#include <string>

#include "agent/hypervisor/hypervisor.h"
#include "agent/hypervisor/libvirt/domain_xml.h"
#include "agent/hypervisor/libvirt/pull_backup.h"

namespace umbra::hypervisor {

// As the calls of Hypervisor with these names.
absl::Status CheckCanSaveDomain(const PullBackupEnvironment& environment, const std::string& uuid,
                                const SaveOptions& options);
absl::StatusOr<SavedState> SaveDomain(const PullBackupEnvironment& environment, const std::string& uuid,
                                      const SaveOptions& options);
// `rewrite` has the disks' paths and the switches.
absl::Status StartDomainFromState(const PullBackupEnvironment& environment, const std::string& uuid,
                                  const std::string& state_path, const RewriteOptions& rewrite, bool paused);
absl::Status SyncDomainClock(const PullBackupEnvironment& environment, const std::string& uuid, absl::Duration timeout);

// Where libvirt's daemon keeps the managed save image of `name`, seen from here: the daemon may live in another mount
// namespace. Empty when there is none that can be reached.
std::string ManagedSavePath(const std::string& daemon_socket, const std::string& name, base::Filesystem& files);

// The state that SaveDomain left; false when there was none.
absl::StatusOr<bool> RemoveSavedState(base::Filesystem& files, const std::string& uuid, const std::string& folder,
                                      const std::string& owner_tag);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_SAVED_STATE_H_
