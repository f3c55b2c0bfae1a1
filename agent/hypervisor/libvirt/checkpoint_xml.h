// The VM's own snapshots as libvirt describes them (<domainsnapshot>), and how they travel inside a VM's configuration.
// Pure functions of text. What people and hypervisors call snapshots is called checkpoints here (hypervisor.h).
//
// In a configuration the descriptions lie in an element of our own under <metadata>, parents first. They never reach
// libvirt there: TakeCheckpoints takes them out before a VM is defined.
// Source: libvirt's "Snapshot XML format"; what virDomainSnapshotCreateXML asks of a redefinition.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHECKPOINT_XML_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHECKPOINT_XML_H_

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"

namespace umbra::hypervisor {

struct CheckpointXml {
  std::string xml;  // <domainsnapshot>
  bool current = false;
};

// `current` is taken over. Errors: INVALID_ARGUMENT / INVALID_REQUEST this is no <domainsnapshot> with a name.
absl::StatusOr<OwnCheckpoint> ParseCheckpoint(const CheckpointXml& checkpoint);

// libvirt's own word for one that has no memory and whose VM ran: redefining it takes a flag.
bool IsDiskOnly(std::string_view checkpoint_xml);

// `checkpoints`: parents before their children. What is beyond kCheckpointsBytesMax is left out, so that a
// configuration stays small enough for journal and wire. Without any, `domain_xml` comes back as it is. Errors:
// INVALID_ARGUMENT / INVALID_REQUEST this is no domain XML.
inline constexpr size_t kCheckpointsBytesMax = 512 * base::kKiB;
absl::StatusOr<std::string> EmbedCheckpoints(std::string_view domain_xml,
                                             const std::vector<CheckpointXml>& checkpoints);

struct ConfigurationParts {
  std::string domain_xml;  // as it was before EmbedCheckpoints, but for white space
  std::vector<CheckpointXml> checkpoints;
};
absl::StatusOr<ConfigurationParts> TakeCheckpoints(std::string_view configuration);

// Those whose content is there after the disks' files were replaced: all of it lies in other files, and `exists` says
// yes to each. A kept one whose parent is not kept hangs on the nearest ancestor that is.
std::vector<CheckpointXml> KeptCheckpoints(const std::vector<CheckpointXml>& checkpoints,
                                           const std::vector<std::string>& replaced_files,
                                           const std::function<bool(const std::string& path)>& exists);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHECKPOINT_XML_H_
