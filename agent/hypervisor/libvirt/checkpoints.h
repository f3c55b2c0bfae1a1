// The VM's own snapshots, asked of libvirt and told to it. They are somebody else's: nothing here makes, reverts to or
// deletes one.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHECKPOINTS_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHECKPOINTS_H_

#include <libvirt/libvirt.h>

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/hypervisor/libvirt/checkpoint_xml.h"

namespace umbra::hypervisor {

// Parents before their children, with secrets. One that is deleted meanwhile is left out.
absl::StatusOr<std::vector<CheckpointXml>> ReadCheckpoints(virDomainPtr domain);

// Tells libvirt of checkpoints whose content is there already. What it refuses is logged and left out, with its
// children: the VM itself is as good without.
void DescribeCheckpoints(virDomainPtr domain, const std::vector<CheckpointXml>& checkpoints);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_CHECKPOINTS_H_
