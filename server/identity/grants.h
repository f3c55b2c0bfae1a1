// Roles of the catalog and of the program, brought together: what grants say, resolved to permissions. Inside this
// room.
#ifndef UMBRA_SERVER_IDENTITY_GRANTS_H_
#define UMBRA_SERVER_IDENTITY_GRANTS_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/identity/principal.h"
#include "storage/catalog/catalog.h"

namespace umbra::identity {

// NOT_FOUND / ROLE_NOT_FOUND.
absl::StatusOr<std::vector<std::string>> PermissionsOf(const catalog::Stores& stores, const std::string& role);

// A role that is gone gives nothing.
absl::StatusOr<std::vector<Grant>> Resolve(const catalog::Stores& stores,
                                           const std::vector<catalog::RoleGrant>& grants);

// Roles that exist, scopes that can be, not too many. INVALID_ARGUMENT / INVALID_REQUEST, NOT_FOUND / ROLE_NOT_FOUND.
absl::Status CheckGrants(const catalog::Stores& stores, const std::vector<catalog::RoleGrant>& grants);

// Somebody who can sign in may do everything everywhere.
absl::StatusOr<bool> HasAdmin(const catalog::Stores& stores);

}  // namespace umbra::identity

#endif  // UMBRA_SERVER_IDENTITY_GRANTS_H_
