// Looks at network devices from where libvirt's daemon stands: it may live in another network namespace than the agent,
// and libvirt's API has no dependable question for a plain bridge.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_DAEMON_NETWORK_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_DAEMON_NETWORK_H_

#include <optional>
#include <string>
#include <string_view>

#include "storage/base/filesystem.h"

namespace umbra::hypervisor {

// Path of the daemon's unix socket for a libvirt URI: its "socket" parameter, or the first of the default places that
// exists. Empty: not local, so nothing can be said.
std::string DaemonSocket(std::string_view uri, base::Filesystem& files);

// The root folder of the daemon behind `socket`, which may have its own mounts: "/proc/ID/root"; empty when it can't be
// found out.
std::string DaemonRoot(const std::string& socket);

// Does the daemon behind `socket` see the network device `name`? By the peer's process id and its /proc/ID/net/dev.
// Empty when that can't be found out.
std::optional<bool> DaemonSeesDevice(const std::string& socket, const std::string& name, base::Filesystem& files);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_DAEMON_NETWORK_H_
