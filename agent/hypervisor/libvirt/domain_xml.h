// The domain XML of libvirt: read for what a backup needs to know, written for a restore. Pure functions of text.
// Source: libvirt's "Domain XML format"; what QEMU does with each kind of disk was measured with libvirt 9.0.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_DOMAIN_XML_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_DOMAIN_XML_H_

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"

namespace umbra::hypervisor {

// A disk whose place only libvirt's storage driver knows.
struct PoolVolume {
  std::string disk;  // target
  std::string pool;
  std::string volume;
};

struct DomainDescription {
  VmInfo vm;  // without state and without the sizes of disks; pass-through devices appear as excluded disks
  bool guest_agent_configured = false;
  std::vector<PoolVolume> pool_volumes;  // their Disk has no path yet
};

// Errors: INVALID_ARGUMENT / INVALID_REQUEST this is no domain XML.
absl::StatusOr<DomainDescription> ParseDomain(std::string_view xml);

// Is there a switch that an adapter can be plugged into? `kind` is "network" or "bridge" (any host device).
using SwitchExists = std::function<bool(std::string_view kind, const std::string& name)>;

struct RewriteOptions {
  // Both empty: the VM keeps its identity. Else everything that two VMs can't share is made new or left to libvirt: MAC
  // addresses, generation id, log files, sockets, fixed display ports, UEFI variables; host devices are removed.
  std::string new_name;
  std::string new_uuid;
  std::vector<std::pair<std::string, std::string>> disk_paths;  // target -> file
  SwitchExists switch_exists;
};

struct RewrittenDomain {
  std::string xml;
  std::string uuid;
  std::string name;
  std::vector<Warning> warnings;
};

// Disks get the files of `disk_paths`; removable drives stay, empty; other disks are removed with a warning. An adapter
// whose switch is gone keeps its MAC address but is left unplugged: <interface type='ethernet'> with its link down.
// (<interface type='null'> would say that better, but crashes libvirtd 9.0, so it is never written.)
// Errors: INVALID_ARGUMENT / INVALID_REQUEST this is no domain XML, or it has no disk of a name in `disk_paths`.
absl::StatusOr<RewrittenDomain> RewriteDomain(std::string_view xml, const RewriteOptions& options);

// The <domainbackup> of a pull: `included` disks get a scratch file, all others are named with backup='no', since
// libvirt would decide by itself about disks that are not named. `live_xml` is that of the running VM.
// Errors: INVALID_ARGUMENT / INVALID_REQUEST a disk isn't there or can't be read.
// A disk with a checkpoint in `incremental` also exports its changes since then, as the bitmap kChangesBitmap.
inline constexpr char kChangesBitmap[] = "changes";
struct BackupDisk {
  std::string name;
  std::string scratch_file;
  std::string incremental = "";
};
absl::StatusOr<std::string> BackupXml(std::string_view live_xml, const std::vector<BackupDisk>& included,
                                      const std::string& socket);

// The <domaincheckpoint> that begins a checkpoint for `included` disks and no others.
// Errors: INVALID_ARGUMENT / INVALID_REQUEST a disk isn't there.
absl::StatusOr<std::string> NewCheckpointXml(std::string_view live_xml, const std::string& name,
                                          const std::vector<std::string>& included);

// The same of one that began earlier, to make it known to libvirt again.
absl::StatusOr<std::string> RedefinedCheckpointXml(std::string_view live_xml, const std::string& name,
                                                   const std::vector<std::string>& included);

// Targets of the disks that a checkpoint covers, of what virDomainCheckpointGetXMLDesc gives.
std::vector<std::string> CheckpointDisks(std::string_view checkpoint_xml);

// The <domainsnapshot> that writes memory and devices into `file` and leaves every disk alone.
absl::StatusOr<std::string> MemorySnapshotXml(std::string_view live_xml, const std::string& file);

// Of a saved state: its own description of the VM with the files of `disk_paths`, and adapters unplugged whose switch is
// gone. Nothing else may change: QEMU would refuse the memory.
absl::StatusOr<RewrittenDomain> RewriteSavedDomain(std::string_view xml, const RewriteOptions& options);

// The socket's path in what virDomainBackupGetXMLDesc gives; empty when there is none.
std::string BackupSocket(std::string_view backup_xml);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_DOMAIN_XML_H_
