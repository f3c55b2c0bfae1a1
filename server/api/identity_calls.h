// What the calls about users, roles, tokens, sessions and the audit log do, apart from the way they come
// (server/api/identity_service.h).
//
// The door has let the caller in and knows who he is. What depends on whose resource it is (everybody his own, others'
// with users.view or users.manage) is decided here, what nobody may whatever he has in server/identity.
#ifndef UMBRA_SERVER_API_IDENTITY_CALLS_H_
#define UMBRA_SERVER_API_IDENTITY_CALLS_H_

#include <string>

#include "absl/status/status.h"
#include "server/identity/audit_log.h"
#include "server/identity/identity.h"
#include "umbra/v1/identity.pb.h"

namespace umbra::api {

// Thread-safe; those with a password block for a quarter of a
// second or, when others come with passwords too, for several.
class IdentityCalls {
 public:
  using Principal = identity::Principal;
  explicit IdentityCalls(identity::Identity& identity) : identity_(identity) {}

  absl::Status CreateUser(const Principal& caller, const v1::CreateUserRequest& request, v1::User& response);
  absl::Status GetUser(const Principal& caller, const v1::GetUserRequest& request, v1::User& response);
  absl::Status ListUsers(const v1::ListUsersRequest& request, v1::ListUsersResponse& response);
  absl::Status UpdateUser(const Principal& caller, const v1::UpdateUserRequest& request, v1::User& response);
  absl::Status DeleteUser(const Principal& caller, const v1::DeleteUserRequest& request);
  absl::Status SetPassword(const Principal& caller, const std::string& peer, const v1::SetPasswordRequest& request);

  absl::Status CreateRole(const Principal& caller, const v1::CreateRoleRequest& request, v1::Role& response);
  absl::Status GetRole(const v1::GetRoleRequest& request, v1::Role& response);
  absl::Status ListRoles(const v1::ListRolesRequest& request, v1::ListRolesResponse& response);
  absl::Status UpdateRole(const Principal& caller, const v1::UpdateRoleRequest& request, v1::Role& response);
  absl::Status DeleteRole(const Principal& caller, const v1::DeleteRoleRequest& request);
  static absl::Status ListPermissions(v1::ListPermissionsResponse& response);

  absl::Status CreateApiToken(const Principal& caller, const v1::CreateApiTokenRequest& request,
                              v1::CreateApiTokenResponse& response);
  absl::Status ListApiTokens(const Principal& caller, const v1::ListApiTokensRequest& request,
                             v1::ListApiTokensResponse& response);
  absl::Status DeleteApiToken(const Principal& caller, const v1::DeleteApiTokenRequest& request);

  absl::Status CreateSession(const std::string& peer, const std::string& client,
                             const v1::CreateSessionRequest& request, v1::CreateSessionResponse& response);
  absl::Status ListSessions(const Principal& caller, const v1::ListSessionsRequest& request,
                            v1::ListSessionsResponse& response);
  absl::Status DeleteSession(const Principal& caller, const v1::DeleteSessionRequest& request);
  absl::Status GetIdentity(const Principal& caller, v1::Identity& response);

 private:
  identity::Identity& identity_;
};

// Of the audit log.
absl::Status ListAuditEntries(identity::AuditLog& log, const v1::ListAuditEntriesRequest& request,
                              v1::ListAuditEntriesResponse& response);
absl::Status VerifyAuditLog(identity::AuditLog& log, const v1::VerifyAuditLogRequest& request,
                            v1::VerifyAuditLogResponse& response);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_IDENTITY_CALLS_H_
