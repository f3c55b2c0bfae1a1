#include "agent/cluster/cluster_service.h"

#include "storage/base/status.h"

namespace umbra::cluster {

std::string_view NameOf(ResourceState state) {
  switch (state) {
    case ResourceState::kOnline:
      return "online";
    case ResourceState::kOffline:
      return "offline";
    case ResourceState::kDown:
      return "down";
    case ResourceState::kChanging:
      return "changing";
  }
  return "unknown";
}

std::string_view NameOf(DeedKind kind) {
  return kind == DeedKind::kPlannedSave ? "planned_save" : "offline";
}

bool ClusterResource::Is(const std::string& uuid, const std::string& name) const {
  return vm_uuid.empty() ? !name.empty() && vm_name == name : vm_uuid == uuid;
}

absl::StatusOr<std::optional<ClusterResource>> ClusterService::FindVm(const std::string& vm_uuid,
                                                                      const std::string& vm_name) {
  ASSIGN_OR_RETURN(const std::vector<ClusterResource> resources, ListResources());
  for (const ClusterResource& resource : resources) {
    if (resource.Is(vm_uuid, vm_name)) return resource;
  }
  return std::nullopt;
}

}  // namespace umbra::cluster
