#include "server/api/identity_calls.h"

#include <algorithm>
#include <utility>

#include "server/api/convert.h"
#include "server/api/identity_convert.h"
#include "server/api/paging.h"
#include "server/identity/permissions.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

using base::Invalid;
using identity::Principal;

// It is the caller's own, or he may do it to anybody's.
absl::Status CheckOwnOr(const Principal& caller, const std::string& user, std::string_view permission) {
  if (!user.empty() && user == caller.user) return absl::OkStatus();
  if (identity::Allows(caller, permission, {})) return absl::OkStatus();
  return base::Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                     "{} lacks the permission {} for what isn't his own", caller.name, permission);
}

// Which of `fields` a mask names; all of them when it is empty or "*". INVALID_REQUEST for others.
absl::StatusOr<std::vector<std::string>> Masked(const google::protobuf::FieldMask& mask,
                                                std::vector<std::string> fields) {
  if (mask.paths().empty() || (mask.paths_size() == 1 && mask.paths(0) == "*")) return fields;
  for (const std::string& path : mask.paths()) {
    if (std::find(fields.begin(), fields.end(), path) == fields.end()) {
      return Invalid("update_mask: '{}' can't be changed", path.substr(0, 80));
    }
  }
  return std::vector<std::string>(mask.paths().begin(), mask.paths().end());
}

bool Has(const std::vector<std::string>& fields, std::string_view field) {
  return std::find(fields.begin(), fields.end(), field) != fields.end();
}

}  // namespace

// ---- Users ----

absl::Status IdentityCalls::CreateUser(const Principal& caller, const v1::CreateUserRequest& request,
                                       v1::User& response) {
  identity::NewUser wanted;
  ASSIGN_OR_RETURN(wanted.name, ParseUserName(request.user().name(), "user.name", Principal()));
  wanted.display_name = request.user().display_name();
  wanted.password = request.password();
  wanted.disabled = request.user().disabled();
  ASSIGN_OR_RETURN(wanted.grants, FromProto(request.user().grants()));
  ASSIGN_OR_RETURN(const identity::User user, identity_.CreateUser(caller, wanted));
  ToProto(user, &response);
  return absl::OkStatus();
}

absl::Status IdentityCalls::GetUser(const Principal& caller, const v1::GetUserRequest& request, v1::User& response) {
  ASSIGN_OR_RETURN(const std::string name, ParseUserName(request.name(), "name", caller));
  RETURN_IF_ERROR(CheckOwnOr(caller, name, "users.view"));
  ASSIGN_OR_RETURN(const identity::User user, identity_.GetUser(name));
  ToProto(user, &response);
  return absl::OkStatus();
}

absl::Status IdentityCalls::ListUsers(const v1::ListUsersRequest& request, v1::ListUsersResponse& response) {
  constexpr char kList[] = "users";
  ASSIGN_OR_RETURN(const auto text, ListOptionsOf<std::string>(request, kList));
  catalog::ListOptions<catalog::UserId> options{.page_size = text.page_size};
  if (text.after_key.has_value()) options.after_key = catalog::UserId(*text.after_key);
  ASSIGN_OR_RETURN(const auto page, identity_.ListUsers(options));
  for (const identity::User& user : page.items) ToProto(user, response.add_users());
  if (page.next_key.has_value()) response.set_next_page_token(MakePageToken(kList, KeyText(page.next_key->value)));
  return absl::OkStatus();
}

absl::Status IdentityCalls::UpdateUser(const Principal& caller, const v1::UpdateUserRequest& request,
                                       v1::User& response) {
  ASSIGN_OR_RETURN(const std::string name, ParseUserName(request.user().name(), "user.name", caller));
  ASSIGN_OR_RETURN(const auto fields, Masked(request.update_mask(), {"display_name", "disabled", "grants"}));
  identity::UserChange change;
  ASSIGN_OR_RETURN(change.revision, RevisionOf(request.user().etag()));
  if (Has(fields, "display_name")) change.display_name = request.user().display_name();
  if (Has(fields, "disabled")) change.disabled = request.user().disabled();
  if (Has(fields, "grants")) {
    ASSIGN_OR_RETURN(change.grants, FromProto(request.user().grants()));
  }
  ASSIGN_OR_RETURN(const identity::User user, identity_.UpdateUser(caller, name, change));
  ToProto(user, &response);
  return absl::OkStatus();
}

absl::Status IdentityCalls::DeleteUser(const Principal& caller, const v1::DeleteUserRequest& request) {
  ASSIGN_OR_RETURN(const std::string name, ParseUserName(request.name(), "name", caller));
  ASSIGN_OR_RETURN(const int64_t revision, RevisionOf(request.etag()));
  return identity_.DeleteUser(caller, name, revision);
}

absl::Status IdentityCalls::SetPassword(const Principal& caller, const std::string& peer,
                                        const v1::SetPasswordRequest& request) {
  ASSIGN_OR_RETURN(const std::string name, ParseUserName(request.name(), "name", caller));
  // His own only with the old one, whatever he may: who finds a browser open can't take the account over.
  if (name == caller.user) return identity_.ChangePassword(name, request.old_password(), request.new_password(), peer);
  RETURN_IF_ERROR(CheckOwnOr(caller, name, "users.manage"));
  return identity_.SetPassword(caller, name, request.new_password());
}

// ---- Roles ----

absl::Status IdentityCalls::CreateRole(const Principal& caller, const v1::CreateRoleRequest& request,
                                       v1::Role& response) {
  identity::Role wanted;
  ASSIGN_OR_RETURN(wanted.name, ParseRoleName(request.role().name(), "role.name"));
  wanted.description = request.role().description();
  wanted.permissions = {request.role().permissions().begin(), request.role().permissions().end()};
  ASSIGN_OR_RETURN(const identity::Role role, identity_.CreateRole(caller, wanted));
  ToProto(role, &response);
  return absl::OkStatus();
}

absl::Status IdentityCalls::GetRole(const v1::GetRoleRequest& request, v1::Role& response) {
  ASSIGN_OR_RETURN(const std::string name, ParseRoleName(request.name(), "name"));
  ASSIGN_OR_RETURN(const identity::Role role, identity_.GetRole(name));
  ToProto(role, &response);
  return absl::OkStatus();
}

absl::Status IdentityCalls::ListRoles(const v1::ListRolesRequest& request, v1::ListRolesResponse& response) {
  constexpr char kList[] = "roles";
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<int64_t>(request, kList));
  ASSIGN_OR_RETURN(const std::vector<identity::Role> roles, identity_.ListRoles());
  // There are few, and in an order that isn't that of their names: the key is how many were seen.
  const size_t begin = std::min(static_cast<size_t>(std::max<int64_t>(options.after_key.value_or(0), 0)), roles.size());
  const size_t end = std::min(begin + static_cast<size_t>(options.page_size), roles.size());
  for (size_t i = begin; i < end; ++i) ToProto(roles[i], response.add_roles());
  if (end < roles.size()) response.set_next_page_token(MakePageToken(kList, KeyText(static_cast<int64_t>(end))));
  return absl::OkStatus();
}

absl::Status IdentityCalls::UpdateRole(const Principal& caller, const v1::UpdateRoleRequest& request,
                                       v1::Role& response) {
  ASSIGN_OR_RETURN(const std::string name, ParseRoleName(request.role().name(), "role.name"));
  ASSIGN_OR_RETURN(const auto fields, Masked(request.update_mask(), {"description", "permissions"}));
  identity::RoleChange change;
  ASSIGN_OR_RETURN(change.revision, RevisionOf(request.role().etag()));
  const auto& permissions = request.role().permissions();
  if (Has(fields, "description")) change.description = request.role().description();
  if (Has(fields, "permissions")) change.permissions.emplace(permissions.begin(), permissions.end());
  ASSIGN_OR_RETURN(const identity::Role role, identity_.UpdateRole(caller, name, change));
  ToProto(role, &response);
  return absl::OkStatus();
}

absl::Status IdentityCalls::DeleteRole(const Principal& caller, const v1::DeleteRoleRequest& request) {
  ASSIGN_OR_RETURN(const std::string name, ParseRoleName(request.name(), "name"));
  ASSIGN_OR_RETURN(const int64_t revision, RevisionOf(request.etag()));
  return identity_.DeleteRole(caller, name, revision);
}

absl::Status IdentityCalls::ListPermissions(v1::ListPermissionsResponse& response) {
  std::vector<identity::Permission> permissions(std::begin(identity::kPermissions), std::end(identity::kPermissions));
  std::ranges::sort(permissions, {}, &identity::Permission::name);
  for (const identity::Permission& permission : permissions) {
    v1::Permission* const added = response.add_permissions();
    added->set_id(std::string(permission.name));
    added->set_description(std::string(permission.meaning));
  }
  return absl::OkStatus();
}

// ---- API tokens ----

absl::Status IdentityCalls::CreateApiToken(const Principal& caller, const v1::CreateApiTokenRequest& request,
                                           v1::CreateApiTokenResponse& response) {
  identity::NewApiToken wanted;
  ASSIGN_OR_RETURN(wanted.user, ParseUserName(request.parent(), "parent", caller));
  RETURN_IF_ERROR(CheckOwnOr(caller, wanted.user, "users.manage"));
  wanted.description = request.token().display_name();
  ASSIGN_OR_RETURN(wanted.grants, FromProto(request.token().grants()));
  if (request.token().has_expire_time()) wanted.expire_time = FromProto(request.token().expire_time());
  ASSIGN_OR_RETURN(identity::CreatedToken created, identity_.CreateToken(caller, wanted));
  ToProto(created.token, response.mutable_token());
  response.set_secret(std::move(created.text));
  return absl::OkStatus();
}

absl::Status IdentityCalls::ListApiTokens(const Principal& caller, const v1::ListApiTokensRequest& request,
                                          v1::ListApiTokensResponse& response) {
  std::optional<std::string> user;
  if (request.parent() != "users/-") {
    ASSIGN_OR_RETURN(user, ParseUserName(request.parent(), "parent", caller));
  }
  RETURN_IF_ERROR(CheckOwnOr(caller, user.value_or(""), "users.view"));
  const std::string list = "tokens " + user.value_or("-");
  ASSIGN_OR_RETURN(const auto text, ListOptionsOf<std::string>(request, list));
  catalog::ListOptions<catalog::ApiTokenId> options{.page_size = text.page_size};
  if (text.after_key.has_value()) options.after_key = catalog::ApiTokenId(*text.after_key);
  if (user.has_value()) RETURN_IF_ERROR(identity_.GetUser(*user).status());
  ASSIGN_OR_RETURN(const auto page, identity_.ListTokens(user, options));
  for (const identity::ApiToken& token : page.items) ToProto(token, response.add_tokens());
  if (page.next_key.has_value()) response.set_next_page_token(MakePageToken(list, KeyText(page.next_key->value)));
  return absl::OkStatus();
}

absl::Status IdentityCalls::DeleteApiToken(const Principal& caller, const v1::DeleteApiTokenRequest& request) {
  ASSIGN_OR_RETURN(const UserPartName name, ParseApiTokenName(request.name(), "name", caller));
  RETURN_IF_ERROR(CheckOwnOr(caller, name.user, "users.manage"));
  const catalog::ApiTokenId id(name.id);
  ASSIGN_OR_RETURN(const identity::ApiToken token, identity_.GetToken(id));
  if (token.user.value != name.user) {
    return base::Error(absl::StatusCode::kNotFound, "API_TOKEN_NOT_FOUND", "the user has no token {}", id);
  }
  return identity_.RevokeToken(id);
}

// ---- Sessions ----

absl::Status IdentityCalls::CreateSession(const std::string& peer, const std::string& client,
                                          const v1::CreateSessionRequest& request,
                                          v1::CreateSessionResponse& response) {
  const std::string& user = request.user();
  identity::SignInRequest wanted{.name = user.starts_with("users/") ? user.substr(6) : user,
                                 .password = request.password(),
                                 .peer = peer,
                                 .client = client};
  ASSIGN_OR_RETURN(identity::SignedIn signed_in, identity_.SignIn(wanted));
  ToProto(signed_in.session, response.mutable_session());
  response.set_session_secret(std::move(signed_in.secret));
  return absl::OkStatus();
}

absl::Status IdentityCalls::ListSessions(const Principal& caller, const v1::ListSessionsRequest& request,
                                         v1::ListSessionsResponse& response) {
  ASSIGN_OR_RETURN(const std::string user, ParseUserName(request.parent(), "parent", caller));
  RETURN_IF_ERROR(CheckOwnOr(caller, user, "users.view"));
  ASSIGN_OR_RETURN(const std::vector<identity::Session> sessions, identity_.ListSessions(user));
  for (const identity::Session& session : sessions) ToProto(session, response.add_sessions());
  return absl::OkStatus();
}

absl::Status IdentityCalls::DeleteSession(const Principal& caller, const v1::DeleteSessionRequest& request) {
  ASSIGN_OR_RETURN(const UserPartName name, ParseSessionName(request.name(), "name", caller));
  RETURN_IF_ERROR(CheckOwnOr(caller, name.user, "users.manage"));
  const catalog::SessionId id(name.id);
  ASSIGN_OR_RETURN(const identity::Session session, identity_.GetSession(id));
  if (session.user.value != name.user) {
    return base::Error(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND", "the user has no session {}", id);
  }
  return identity_.RevokeSession(id);
}

absl::Status IdentityCalls::GetIdentity(const Principal& caller, v1::Identity& response) {
  ToProto(caller, &response);
  if (caller.session.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const identity::Session session, identity_.GetSession(catalog::SessionId(caller.session)));
  ToProto(session, response.mutable_session());
  return absl::OkStatus();
}

// ---- The audit log ----

absl::Status ListAuditEntries(identity::AuditLog& log, const v1::ListAuditEntriesRequest& request,
                              v1::ListAuditEntriesResponse& response) {
  const std::string list = fmt::format("audit {} {} {} {} {}", request.principal(), request.method(), request.object(),
                                       request.failures_only(), request.oldest_first());
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<int64_t>(request, list));
  ASSIGN_OR_RETURN(const auto page, log.List({.principal = request.principal(),
                                              .method = request.method(),
                                              .object = request.object(),
                                              .failed_only = request.failures_only(),
                                              .oldest_first = request.oldest_first()},
                                             options));
  for (const identity::AuditEntry& entry : page.items) ToProto(entry, response.add_entries());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

absl::Status VerifyAuditLog(identity::AuditLog& log, const v1::VerifyAuditLogRequest& request,
                            v1::VerifyAuditLogResponse& response) {
  std::optional<catalog::AuditAnchor> known;
  if ((request.known_number() != 0) != !request.known_hash().empty()) {
    return Invalid("known_number, known_hash: one says nothing without the other");
  }
  if (request.known_number() != 0) known = catalog::AuditAnchor{request.known_number(), request.known_hash()};
  ASSIGN_OR_RETURN(const identity::AuditCheck check, log.Verify(known));
  response.set_entry_count(check.entry_count);
  response.set_first_broken(check.broken_number);
  response.set_problem(check.problem);
  response.set_newest_number(check.head.number);
  response.set_newest_hash(check.head.hash);
  return absl::OkStatus();
}

}  // namespace umbra::api
