// A virtual machine as a component of the Hyper-V writer, and as the inventory shows it.
#ifndef UMBRA_AGENT_WRITERS_HYPERV_COMPONENTS_H_
#define UMBRA_AGENT_WRITERS_HYPERV_COMPONENTS_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cluster/cluster_service.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/vss/types.h"
#include "agent/vss/writer_metadata.h"
#include "agent/writers/mechanism.h"
#include "storage/base/filesystem.h"

namespace umbra::writers {

inline constexpr std::string_view kHypervWriterName = "Microsoft Hyper-V VSS Writer";
inline constexpr vss::Guid kHypervWriterId = vss::Guid::Literal("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");

// A virtual machine as the inventory shows it, before any backup runs (M2, B10).
struct VmDescription {
  hypervisor::VmInfo vm;
  hypervisor::GuestAgentInfo agent;
  MechanismChoice choice;
  std::vector<ExcludedDisk> excluded_disks;
  std::optional<cluster::ClusterResource> cluster_resource;  // set by VssHost
};

// Asks the hypervisor and, of running virtual machines, the guest agents (each for at most `guest_agent_timeout`).
absl::StatusOr<VmDescription> DescribeVm(hypervisor::Hypervisor& hypervisor, base::Filesystem& filesystem,
                                         const std::string& vm_uuid, absl::Duration guest_agent_timeout);
absl::StatusOr<std::vector<VmDescription>> DescribeVms(hypervisor::Hypervisor& hypervisor, base::Filesystem& filesystem,
                                                       absl::Duration guest_agent_timeout);

// The component's name is the uuid in upper case, its caption tells the mechanism; its files are the included disks
// (B10) and its volume is the one of the checkpoint provider.
vss::Component ComponentOf(const VmDescription& vm);
vss::ComponentId ComponentIdOf(const std::string& vm_uuid);
// The virtual machine's uuid, lower case.
std::string VmUuidOf(const std::string& component_name);

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_HYPERV_COMPONENTS_H_
