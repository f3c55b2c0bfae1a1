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

absl::StatusOr<std::optional<ClusterResource>> ClusterService::FindVm(const std::string& vm_uuid,
                                                                      const std::string& vm_name) {
  ASSIGN_OR_RETURN(const std::vector<ClusterResource> resources, ListResources());
  for (const ClusterResource& resource : resources) {
    const bool same =
        resource.vm_uuid.empty() ? !vm_name.empty() && resource.vm_name == vm_name : resource.vm_uuid == vm_uuid;
    if (same) return resource;
  }
  return std::nullopt;
}

}  // namespace umbra::cluster
