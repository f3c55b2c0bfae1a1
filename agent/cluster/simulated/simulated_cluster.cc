#include "agent/cluster/simulated/simulated_cluster.h"

#include <fmt/format.h>

#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::cluster {
namespace {

// Deed::former: how the setting was before ours.
constexpr std::string_view kOn = "on";
constexpr std::string_view kOff = "off";

}  // namespace

SimulatedCluster::SimulatedCluster(std::vector<SimulatedNode> nodes, base::Clock& clock)
    : nodes_(std::move(nodes)), clock_(clock) {
  UMBRA_CHECK(!nodes_.empty());
}

SimulatedCluster::~SimulatedCluster() {
  {
    absl::MutexLock lock(&mu_);
    stop_ = true;
  }
  if (monitor_.joinable()) monitor_.join();
}

absl::StatusOr<SimulatedCluster::Resource*> SimulatedCluster::FindLocked(const std::string& resource) {
  if (!available_) return base::Error(absl::StatusCode::kUnavailable, "CLUSTER_UNAVAILABLE", "no node answers");
  const auto found = resources_.find(resource);
  if (found == resources_.end()) {
    return base::Error(absl::StatusCode::kNotFound, "CLUSTER_RESOURCE_NOT_FOUND", "the cluster has no resource {}",
                       resource);
  }
  return &found->second;
}

bool SimulatedCluster::RunsLocked(const Resource& resource) const {
  const auto vm = HypervisorOf(resource).GetVm(resource.vm_uuid);
  return vm.ok() && vm->state == hypervisor::VmState::kRunning;
}

void SimulatedCluster::RememberLocked(Resource& resource) {
  const auto vm = HypervisorOf(resource).GetVm(resource.vm_uuid);
  auto configuration = HypervisorOf(resource).Configuration(resource.vm_uuid);
  if (!vm.ok() || !configuration.ok()) return;
  resource.configuration = *std::move(configuration);
  resource.disk_paths.clear();
  for (const hypervisor::Disk& disk : vm->disks) {
    if (disk.exclusion == hypervisor::DiskExclusion::kNone) resource.disk_paths.emplace_back(disk.name, disk.path);
  }
}

absl::Status SimulatedCluster::StartLocked(const std::string& id, Resource& resource) {
  if (start_fails_) return base::Error(absl::StatusCode::kDeadlineExceeded, "CLUSTER_TIMEOUT", "{} did not start", id);
  hypervisor::Hypervisor& node = HypervisorOf(resource);
  if (absl::IsNotFound(node.GetVm(resource.vm_uuid).status())) {
    RETURN_IF_ERROR(
        node.DefineVm({.configuration = resource.configuration, .disk_paths = resource.disk_paths}).status());
  }
  return base::Annotate(node.Start(resource.vm_uuid), "start {}", id);
}

absl::Status SimulatedCluster::StopLocked(const std::string& id, Resource& resource) {
  if (stop_fails_) return base::Error(absl::StatusCode::kDeadlineExceeded, "CLUSTER_TIMEOUT", "{} did not stop", id);
  const absl::Status stopped = HypervisorOf(resource).PowerOff(resource.vm_uuid);
  return absl::IsNotFound(stopped) ? absl::OkStatus() : base::Annotate(stopped, "stop {}", id);
}

void SimulatedCluster::FailOverLocked(const std::string& id, Resource& resource) {
  ++resource.failovers;
  const std::string& from = nodes_[resource.node].name;
  absl::Status status = HypervisorOf(resource).PowerOff(resource.vm_uuid);
  resource.node = (resource.node + 1) % nodes_.size();
  if (status.ok() || absl::IsNotFound(status)) status = StartLocked(id, resource);
  base::Log("cluster")->warn("resource failed over resource={} from={} to={} error=\"{}\"", id, from,
                             nodes_[resource.node].name, base::Describe(status));
}

void SimulatedCluster::Monitor() {
  absl::MutexLock lock(&mu_);
  for (auto& [id, resource] : resources_) {
    if (!resource.target_online || resource.maintenance) continue;
    if (RunsLocked(resource)) {
      RememberLocked(resource);
    } else {
      FailOverLocked(id, resource);
    }
  }
}

void SimulatedCluster::StartMonitor(absl::Duration interval) {
  UMBRA_CHECK(!monitor_.joinable());
  monitor_ = std::jthread([this, interval] {
    while (true) {
      {
        absl::MutexLock lock(&mu_);
        if (clock_.AwaitFor(mu_, absl::Condition(&stop_), interval)) return;
      }
      Monitor();
    }
  });
}

absl::StatusOr<std::string> SimulatedCluster::AddVm(const std::string& vm_uuid, const std::string& node) {
  Resource resource;
  while (resource.node < nodes_.size() && nodes_[resource.node].name != node) ++resource.node;
  if (resource.node == nodes_.size()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "there is no node {}", node);
  }
  ASSIGN_OR_RETURN(const hypervisor::VmInfo vm, HypervisorOf(resource).GetVm(vm_uuid));
  resource.vm_uuid = vm.uuid;
  resource.vm_name = vm.name;
  resource.target_online = vm.state == hypervisor::VmState::kRunning;
  const std::string id = "vm-" + vm.name;
  absl::MutexLock lock(&mu_);
  RememberLocked(resource);
  resources_[id] = std::move(resource);
  return id;
}

absl::Status SimulatedCluster::SetTargetLocked(const std::string& id, bool online) {
  ASSIGN_OR_RETURN(Resource* const resource, FindLocked(id));
  resource->target_online = online;
  if (resource->maintenance || RunsLocked(*resource) == online) return absl::OkStatus();
  return online ? StartLocked(id, *resource) : StopLocked(id, *resource);
}

absl::Status SimulatedCluster::SetTarget(const std::string& resource, bool online) {
  absl::MutexLock lock(&mu_);
  return SetTargetLocked(resource, online);
}

void SimulatedCluster::SetMaintenance(const std::string& resource, bool maintenance) {
  absl::MutexLock lock(&mu_);
  resources_.at(resource).maintenance = maintenance;
}

int SimulatedCluster::Failovers(const std::string& resource) const {
  absl::MutexLock lock(&mu_);
  return resources_.at(resource).failovers;
}

bool SimulatedCluster::InMaintenance(const std::string& resource) const {
  absl::MutexLock lock(&mu_);
  return resources_.at(resource).maintenance;
}

void SimulatedCluster::SetAvailable(bool available) {
  absl::MutexLock lock(&mu_);
  available_ = available;
}

void SimulatedCluster::SetStopFails(bool fails) {
  absl::MutexLock lock(&mu_);
  stop_fails_ = fails;
}

void SimulatedCluster::SetStartFails(bool fails) {
  absl::MutexLock lock(&mu_);
  start_fails_ = fails;
}

absl::StatusOr<std::string> SimulatedCluster::Describe() {
  absl::MutexLock lock(&mu_);
  if (!available_) return base::Error(absl::StatusCode::kUnavailable, "CLUSTER_UNAVAILABLE", "no node answers");
  return fmt::format("simulated, {} nodes", nodes_.size());
}

absl::StatusOr<std::vector<ClusterResource>> SimulatedCluster::ListResources() {
  absl::MutexLock lock(&mu_);
  if (!available_) return base::Error(absl::StatusCode::kUnavailable, "CLUSTER_UNAVAILABLE", "no node answers");
  std::vector<ClusterResource> list;
  for (const auto& [id, resource] : resources_) {
    ClusterResource told{.id = id, .vm_name = resource.vm_name, .vm_uuid = resource.vm_uuid};
    told.managed = !resource.maintenance;
    // As with a real cluster, this is what it believes: it learns of a virtual machine's end from its monitor.
    const bool known_down = !resource.target_online && !RunsLocked(resource);
    told.state = known_down ? ResourceState::kOffline : ResourceState::kOnline;
    if (!known_down) told.node = nodes_[resource.node].name;
    list.push_back(std::move(told));
  }
  return list;
}

absl::StatusOr<Deed> SimulatedCluster::Plan(DeedKind kind, const std::string& resource) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(const Resource* const found, FindLocked(resource));
  if (kind == DeedKind::kPlannedSave) return Deed{kind, resource, std::string(found->maintenance ? kOn : kOff)};
  if (found->maintenance) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "CLUSTER_RESOURCE_UNMANAGED",
                       "the cluster was told to leave {} alone, so it can't take it offline", resource);
  }
  return Deed{kind, resource, std::string(found->target_online ? kOn : kOff)};
}

absl::Status SimulatedCluster::Begin(const Deed& deed) {
  absl::MutexLock lock(&mu_);
  if (deed.kind == DeedKind::kOffline) return SetTargetLocked(deed.resource, false);
  ASSIGN_OR_RETURN(Resource* const resource, FindLocked(deed.resource));
  resource->maintenance = true;
  return absl::OkStatus();
}

absl::Status SimulatedCluster::End(const Deed& deed) {
  absl::MutexLock lock(&mu_);
  const absl::StatusOr<Resource*> resource = FindLocked(deed.resource);
  if (absl::IsNotFound(resource.status())) return absl::OkStatus();
  RETURN_IF_ERROR(resource.status());
  if (deed.kind == DeedKind::kPlannedSave) {
    (*resource)->maintenance = deed.former == kOn;
    return absl::OkStatus();
  }
  if ((*resource)->target_online || deed.former == kOff) return absl::OkStatus();
  return SetTargetLocked(deed.resource, true);
}

}  // namespace umbra::cluster
