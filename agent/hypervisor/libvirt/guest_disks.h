// Which disks a guest attached by itself, read from what the QEMU guest agent answers. Pure functions of text; what
// can't be read tells of no disk, because agents differ in what they know.
//
// Windows names the bus ("iscsi"). Linux names none for what doesn't hang on a PCI device: a SCSI disk without one,
// among disks that have one, comes from a software initiator. Source: qemu/qga/qapi-schema.json, guest-get-disks and
// guest-get-fsinfo.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_GUEST_DISKS_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_GUEST_DISKS_H_

#include <string_view>
#include <vector>

#include "agent/hypervisor/hypervisor.h"

namespace umbra::hypervisor {

// `disks_reply` to guest-get-disks and `filesystems_reply` to guest-get-fsinfo; either may be empty, when the agent
// doesn't know the command. In the order of the replies, each once.
std::vector<GuestDisk> OwnDisks(std::string_view disks_reply, std::string_view filesystems_reply);

// Adds the names of `own_disks` to those `filesystems` that lie on them.
void AddOwnDisks(std::string_view filesystems_reply, const std::vector<GuestDisk>& own_disks,
                 std::vector<GuestFilesystem>& filesystems);

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_GUEST_DISKS_H_
