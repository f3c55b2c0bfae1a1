#include "agent/writers/clustered_restore.h"

#include <optional>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::writers {

using cluster::ResourceState;

ClusteredRestore::ClusteredRestore(const cluster::ClusterTools* tools, std::string owner_tag)
    : tools_(tools), owner_tag_(std::move(owner_tag)) {}

absl::Status ClusteredRestore::Check(const std::string& vm_uuid, const std::string& vm_name, bool may_take_offline) {
  if (tools_ == nullptr) return absl::OkStatus();
  ASSIGN_OR_RETURN(std::optional<cluster::ClusterResource> resource, tools_->service.FindVm(vm_uuid, vm_name));
  if (!resource.has_value()) return absl::OkStatus();
  if (resource->state != ResourceState::kOffline && !may_take_offline) {
    const std::string where = resource->node.empty() ? "" : " on " + resource->node;
    return base::Error(
        absl::StatusCode::kFailedPrecondition, "CLUSTER_RESOURCE_ONLINE",
        "{} is the cluster's resource {}, which is {}{}: the cluster would take the restore for a failure. "
        "Take the resource offline in the cluster first, or let the restore do it (--take-cluster-offline)",
        vm_name.empty() ? vm_uuid : vm_name, resource->id, NameOf(resource->state), where);
  }
  vms_.push_back({vm_uuid, *std::move(resource), nullptr});
  return absl::OkStatus();
}

absl::Status ClusteredRestore::CheckNewName(const std::string& name) {
  if (tools_ == nullptr) return absl::OkStatus();
  const auto resources = tools_->service.ListResources();
  if (!resources.ok()) {
    base::Log("writers")->warn("name not compared with the cluster's name=\"{}\" error=\"{}\"", name,
                               base::Describe(resources.status()));
    return absl::OkStatus();
  }
  for (const cluster::ClusterResource& resource : *resources) {
    if (resource.vm_name != name) continue;
    return base::Error(absl::StatusCode::kAlreadyExists, "VM_EXISTS",
                       "the cluster's resource {} is a virtual machine named {}", resource.id, name);
  }
  return absl::OkStatus();
}

absl::Status ClusteredRestore::TakeOffline() {
  for (Vm& vm : vms_) {
    if (vm.resource.state == ResourceState::kOffline) continue;
    auto hold = cluster::ClusterHold::Begin(*tools_, cluster::DeedKind::kOffline, vm.resource, vm.uuid, owner_tag_);
    if (!hold.ok()) {
      for (Vm& taken : vms_) taken.hold.reset();
      return hold.status();
    }
    vm.hold = *std::move(hold);
  }
  return absl::OkStatus();
}

absl::Status ClusteredRestore::BeforeDelete(const std::string& vm_uuid) {
  for (Vm& vm : vms_) {
    if (vm.uuid == vm_uuid && vm.hold != nullptr) return vm.hold->VmWillBeDeleted();
  }
  return absl::OkStatus();
}

std::vector<ClusterOutcome> ClusteredRestore::End() {
  std::vector<ClusterOutcome> outcomes;
  for (Vm& vm : vms_) {
    ClusterOutcome outcome{.vm_uuid = vm.uuid, .resource = vm.resource.id, .taken_offline = vm.hold != nullptr};
    outcome.brought_back = vm.hold != nullptr ? vm.hold->End() : cluster::EndLeftOver(*tools_, vm.uuid);
    if (!outcome.brought_back.ok()) {
      base::Log("writers")->warn("resource not brought back vm={} resource={} error=\"{}\"", vm.uuid, vm.resource.id,
                                 base::Describe(outcome.brought_back));
    }
    const auto now = tools_->service.FindVm(vm.uuid, vm.resource.vm_name);
    outcome.online = now.ok() && now->has_value() && (*now)->state == ResourceState::kOnline;
    outcomes.push_back(std::move(outcome));
  }
  vms_.clear();
  return outcomes;
}

}  // namespace umbra::writers
