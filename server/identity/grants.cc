#include "server/identity/grants.h"

#include <iterator>

#include "server/identity/identity.h"
#include "server/identity/permissions.h"
#include "storage/base/status.h"

namespace umbra::identity {

absl::StatusOr<std::vector<std::string>> PermissionsOf(const catalog::Stores& stores, const std::string& role) {
  if (const BuiltInRole* built_in = FindBuiltInRole(role); built_in != nullptr) return built_in->permissions;
  ASSIGN_OR_RETURN(catalog::CustomRole custom, stores.identity.GetRole(role));
  return std::move(custom.permissions);
}

absl::StatusOr<std::vector<Grant>> Resolve(const catalog::Stores& stores,
                                           const std::vector<catalog::RoleGrant>& grants) {
  std::vector<Grant> resolved;
  for (const catalog::RoleGrant& grant : grants) {
    auto permissions = PermissionsOf(stores, grant.role);
    if (absl::IsNotFound(permissions.status())) continue;
    RETURN_IF_ERROR(permissions.status());
    resolved.push_back({*std::move(permissions), grant.scope});
  }
  return resolved;
}

absl::Status CheckGrants(const catalog::Stores& stores, const std::vector<catalog::RoleGrant>& grants) {
  if (grants.size() > kGrantsMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "grants: more than {}", kGrantsMax);
  }
  for (const catalog::RoleGrant& grant : grants) {
    RETURN_IF_ERROR(PermissionsOf(stores, grant.role).status());
    RETURN_IF_ERROR(CheckScope(grant.scope));
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> HasAdmin(const catalog::Stores& stores) {
  ASSIGN_OR_RETURN(const std::vector<std::string> roles, stores.identity.RolesHeldEverywhere());
  for (const std::string& role : roles) {
    const auto permissions = PermissionsOf(stores, role);
    if (absl::IsNotFound(permissions.status())) continue;
    RETURN_IF_ERROR(permissions.status());
    if (Expand(*permissions).size() == std::size(kPermissions)) return true;
  }
  return false;
}

}  // namespace umbra::identity
