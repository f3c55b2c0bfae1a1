#include "agent/writers/hyperv_components.h"

#include <fmt/format.h>

#include "agent/providers/checkpoint_provider.h"
#include "storage/base/status.h"

namespace umbra::writers {
namespace {

absl::StatusOr<VmDescription> Describe(hypervisor::Hypervisor& hypervisor, base::Filesystem& filesystem,
                                       hypervisor::VmInfo vm, absl::Duration guest_agent_timeout) {
  VmDescription description;
  if (vm.state == hypervisor::VmState::kRunning) {
    ASSIGN_OR_RETURN(description.agent, hypervisor.QueryGuestAgent(vm.uuid, guest_agent_timeout));
  } else {
    description.agent.state = hypervisor::GuestAgentState::kGuestOff;
  }
  const auto volume_of = [&](const std::string& path) { return filesystem.VolumeOf(path).value_or(""); };
  description.choice = ChooseMechanism(vm, description.agent, volume_of);
  description.excluded_disks = ExcludedDisks(vm, description.agent);
  description.vm = std::move(vm);
  return description;
}

}  // namespace

absl::StatusOr<VmDescription> DescribeVm(hypervisor::Hypervisor& hypervisor, base::Filesystem& filesystem,
                                         const std::string& vm_uuid, absl::Duration guest_agent_timeout) {
  ASSIGN_OR_RETURN(hypervisor::VmInfo vm, hypervisor.GetVm(vm_uuid));
  return Describe(hypervisor, filesystem, std::move(vm), guest_agent_timeout);
}

absl::StatusOr<std::vector<VmDescription>> DescribeVms(hypervisor::Hypervisor& hypervisor, base::Filesystem& filesystem,
                                                       absl::Duration guest_agent_timeout) {
  ASSIGN_OR_RETURN(std::vector<hypervisor::VmInfo> vms, hypervisor.ListVms());
  std::vector<VmDescription> descriptions;
  for (hypervisor::VmInfo& vm : vms) {
    auto description = Describe(hypervisor, filesystem, std::move(vm), guest_agent_timeout);
    if (absl::IsNotFound(description.status())) continue;  // deleted meanwhile
    RETURN_IF_ERROR(description.status());
    descriptions.push_back(*std::move(description));
  }
  return descriptions;
}

vss::Component ComponentOf(const VmDescription& description) {
  const bool child = description.choice.mechanism == BackupMechanism::kChildSnapshot;
  vss::Component component;
  component.name = ComponentIdOf(description.vm.uuid).name;
  component.caption =
      fmt::format("Backup Using {}\\{}", child ? "Child Partition Snapshot" : "Saved State", description.vm.name);
  component.flags = vss::kComponentBackupRecovery;  // B7 writes to the copy
  for (const hypervisor::Disk& disk : IncludedDisks(description.vm)) {
    const size_t slash = disk.path.rfind('/');
    vss::FileSet files;
    files.path = base::DirectoryOf(disk.path);
    files.filespec = slash == std::string::npos ? disk.path : disk.path.substr(slash + 1);
    component.files.push_back(std::move(files));
  }
  component.volumes.push_back(providers::CheckpointProvider::VolumeOf(description.vm.uuid));
  return component;
}

vss::ComponentId ComponentIdOf(const std::string& vm_uuid) {
  const auto guid = vss::Guid::Parse(vm_uuid);
  return {kHypervWriterId, "", guid.has_value() ? guid->ToUpperString() : vm_uuid};
}

std::string VmUuidOf(const std::string& component_name) {
  const auto guid = vss::Guid::Parse(component_name);
  return guid.has_value() ? guid->ToString() : component_name;
}

}  // namespace umbra::writers
