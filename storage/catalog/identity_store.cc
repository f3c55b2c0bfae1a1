#include "storage/catalog/identity_store.h"

#include "storage/base/status.h"
#include "storage/catalog/page.h"

namespace umbra::catalog {
namespace {

#define USER_COLUMNS                                                                                            \
  "name, display_name, disabled, create_time_us, update_time_us, password_time_us, last_sign_in_us, revision, " \
  "password_hash <> '' "
constexpr char kInsertUser[] =
    "INSERT INTO user (name, display_name, disabled, create_time_us, update_time_us, password_time_us, "
    "last_sign_in_us, password_hash, revision) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1)";
constexpr char kUpdateUser[] =
    "UPDATE user SET display_name = ?2, disabled = ?3, update_time_us = ?4, revision = revision + 1 WHERE name = ?1";
constexpr char kSetPassword[] =
    "UPDATE user SET password_hash = ?2, password_time_us = ?3, update_time_us = ?3, revision = revision + 1 "
    "WHERE name = ?1";
constexpr char kReplacePasswordHash[] = "UPDATE user SET password_hash = ?3 WHERE name = ?1 AND password_hash = ?2";
constexpr char kSetLastSignIn[] = "UPDATE user SET last_sign_in_us = ?2 WHERE name = ?1";
constexpr char kDeleteUser[] = "DELETE FROM user WHERE name = ?";
constexpr char kGetUser[] = "SELECT " USER_COLUMNS "FROM user WHERE name = ?";
constexpr char kPasswordHash[] = "SELECT password_hash FROM user WHERE name = ?";
constexpr char kListUsers[] = "SELECT " USER_COLUMNS "FROM user WHERE name > ? ORDER BY name LIMIT ?";
constexpr char kCountUsers[] = "SELECT COUNT(*) FROM user";
constexpr char kRolesHeldEverywhere[] =
    "SELECT DISTINCT g.role FROM user AS u JOIN user_grant AS g ON g.user_name = u.name "
    "WHERE u.disabled = 0 AND u.password_hash <> '' AND g.scope_kind = 0 ORDER BY g.role";

constexpr char kInsertUserGrant[] =
    "INSERT INTO user_grant (user_name, position, role, scope_kind, scope_value) VALUES (?, ?, ?, ?, ?)";
constexpr char kUserGrants[] =
    "SELECT position, role, scope_kind, scope_value FROM user_grant WHERE user_name = ? "
    "ORDER BY position, scope_kind, scope_value";
constexpr char kDeleteUserGrants[] = "DELETE FROM user_grant WHERE user_name = ?";

constexpr char kInsertRole[] =
    "INSERT INTO role (name, description, create_time_us, update_time_us, revision) VALUES (?, ?, ?, ?, 1)";
constexpr char kUpdateRole[] =
    "UPDATE role SET description = ?2, update_time_us = ?3, revision = revision + 1 WHERE name = ?1";
constexpr char kDeleteRole[] = "DELETE FROM role WHERE name = ?";
#define ROLE_COLUMNS "name, description, create_time_us, update_time_us, revision "
constexpr char kGetRole[] = "SELECT " ROLE_COLUMNS "FROM role WHERE name = ?";
constexpr char kAllRoles[] = "SELECT " ROLE_COLUMNS "FROM role ORDER BY name";
constexpr char kInsertPermission[] = "INSERT INTO role_permission (role, permission) VALUES (?, ?)";
constexpr char kDeletePermissions[] = "DELETE FROM role_permission WHERE role = ?";
constexpr char kPermissions[] = "SELECT permission FROM role_permission WHERE role = ? ORDER BY permission";
constexpr char kRoleIsHeld[] =
    "SELECT EXISTS (SELECT 1 FROM user_grant WHERE role = ?1) OR EXISTS (SELECT 1 FROM api_token_grant WHERE role = "
    "?1)";

#define TOKEN_COLUMNS "id, user_name, description, creator, create_time_us, expire_time_us, last_used_us "
constexpr char kInsertToken[] =
    "INSERT INTO api_token (id, user_name, description, creator, create_time_us, expire_time_us, last_used_us, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kDeleteToken[] = "DELETE FROM api_token WHERE id = ?";
constexpr char kGetToken[] = "SELECT " TOKEN_COLUMNS "FROM api_token WHERE id = ?";
constexpr char kFindToken[] = "SELECT " TOKEN_COLUMNS "FROM api_token WHERE hash = ?";
constexpr char kListTokens[] = "SELECT " TOKEN_COLUMNS "FROM api_token WHERE id > ? ORDER BY id LIMIT ?";
constexpr char kListTokensOf[] =
    "SELECT " TOKEN_COLUMNS "FROM api_token WHERE user_name IS ? AND id > ? ORDER BY id LIMIT ?";
constexpr char kCountTokens[] = "SELECT COUNT(*) FROM api_token WHERE user_name IS ?";
constexpr char kSetTokenUsed[] = "UPDATE api_token SET last_used_us = ?2 WHERE id = ?1";
constexpr char kPruneTokens[] = "DELETE FROM api_token WHERE expire_time_us < ?";
constexpr char kInsertTokenGrant[] =
    "INSERT INTO api_token_grant (token_id, position, role, scope_kind, scope_value) VALUES (?, ?, ?, ?, ?)";
constexpr char kTokenGrants[] =
    "SELECT position, role, scope_kind, scope_value FROM api_token_grant WHERE token_id = ? "
    "ORDER BY position, scope_kind, scope_value";

#define SESSION_COLUMNS "id, user_name, peer, client, create_time_us, expire_time_us, last_seen_us "
constexpr char kInsertSession[] =
    "INSERT INTO session (id, user_name, peer, client, create_time_us, expire_time_us, last_seen_us, hash) "
    "VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kDeleteSession[] = "DELETE FROM session WHERE id = ?";
constexpr char kDeleteSessionsOf[] = "DELETE FROM session WHERE user_name = ?";
constexpr char kKeepNewestSessions[] =
    "DELETE FROM session WHERE user_name = ?1 AND id NOT IN "
    "(SELECT id FROM session WHERE user_name = ?1 ORDER BY create_time_us DESC, id DESC LIMIT ?2)";
constexpr char kGetSession[] = "SELECT " SESSION_COLUMNS "FROM session WHERE id = ?";
constexpr char kFindSession[] = "SELECT " SESSION_COLUMNS "FROM session WHERE hash = ?";
constexpr char kListSessions[] =
    "SELECT " SESSION_COLUMNS "FROM session WHERE user_name = ? ORDER BY create_time_us DESC, id DESC";
constexpr char kSetSessionSeen[] = "UPDATE session SET last_seen_us = ?2 WHERE id = ?1";
constexpr char kPruneSessions[] = "DELETE FROM session WHERE expire_time_us < ?1 OR last_seen_us < ?2";

// Values of scope_kind; stored, never renumbered.
enum class ScopeKind { kEverything = 0, kHost = 1, kPolicy = 2, kLabel = 3 };

absl::Status NoUser(const UserId& name) {
  return base::Error(absl::StatusCode::kNotFound, "USER_NOT_FOUND", "there is no user {}", name);
}

absl::Status NoRole(const std::string& name) {
  return base::Error(absl::StatusCode::kNotFound, "ROLE_NOT_FOUND", "there is no role {}", name);
}

absl::Status NoToken(const ApiTokenId& id) {
  return base::Error(absl::StatusCode::kNotFound, "API_TOKEN_NOT_FOUND", "there is no token {}", id);
}

absl::Status NoSession(const SessionId& id) {
  return base::Error(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND", "there is no session {}", id);
}

User ReadUser(const sqlite::Row& row) {
  return {.name = UserId(row.Text(0)),
          .display_name = row.Text(1),
          .disabled = row.Bool(2),
          .create_time = row.Time(3),
          .update_time = row.Time(4),
          .password_time = row.Time(5),
          .last_sign_in = row.OptionalTime(6),
          .revision = row.Int(7),
          .has_password = row.Bool(8)};
}

CustomRole ReadRole(const sqlite::Row& row) {
  return {.name = row.Text(0),
          .description = row.Text(1),
          .create_time = row.Time(2),
          .update_time = row.Time(3),
          .revision = row.Int(4)};
}

ApiToken ReadToken(const sqlite::Row& row) {
  return {.id = ApiTokenId(row.Text(0)),
          .user = UserId(row.Text(1)),
          .description = row.Text(2),
          .creator = row.Text(3),
          .create_time = row.Time(4),
          .expire_time = row.Time(5),
          .last_used = row.OptionalTime(6)};
}

Session ReadSession(const sqlite::Row& row) {
  return {.id = SessionId(row.Text(0)),
          .user = UserId(row.Text(1)),
          .peer = row.Text(2),
          .client = row.Text(3),
          .create_time = row.Time(4),
          .expire_time = row.Time(5),
          .last_seen = row.Time(6)};
}

// NULL stands for "of no user".
std::optional<std::string> OwnerColumn(const UserId& user) {
  if (user.empty()) return std::nullopt;
  return user.value;
}

void AddToScope(AccessScope& scope, ScopeKind kind, std::string value) {
  switch (kind) {
    case ScopeKind::kEverything:
      return;
    case ScopeKind::kHost:
      scope.hosts.push_back(std::move(value));
      return;
    case ScopeKind::kPolicy:
      scope.policies.push_back(std::move(value));
      return;
    case ScopeKind::kLabel:
      scope.labels.push_back(std::move(value));
      return;
  }
}

}  // namespace

// ---- Grants ----

absl::Status IdentityStore::WriteGrants(std::string_view insert, const std::string& holder,
                                        const std::vector<RoleGrant>& grants) {
  for (size_t i = 0; i < grants.size(); ++i) {
    const RoleGrant& grant = grants[i];
    const auto put = [&](ScopeKind kind, const std::vector<std::string>& values) -> absl::Status {
      for (const std::string& value : values) {
        RETURN_IF_ERROR(db_.Run(insert, holder, static_cast<int64_t>(i), grant.role, kind, value));
      }
      return absl::OkStatus();
    };
    if (grant.scope.everything()) RETURN_IF_ERROR(put(ScopeKind::kEverything, {""}));
    RETURN_IF_ERROR(put(ScopeKind::kHost, grant.scope.hosts));
    RETURN_IF_ERROR(put(ScopeKind::kPolicy, grant.scope.policies));
    RETURN_IF_ERROR(put(ScopeKind::kLabel, grant.scope.labels));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<RoleGrant>> IdentityStore::ReadGrants(std::string_view query,
                                                                 const std::string& holder) const {
  std::vector<RoleGrant> grants;
  int64_t position = -1;
  RETURN_IF_ERROR(db_.Query(
      query,
      [&](const sqlite::Row& row) {
        if (grants.empty() || row.Int(0) != position) grants.push_back({.role = row.Text(1)});
        position = row.Int(0);
        AddToScope(grants.back().scope, row.Enum<ScopeKind>(2), row.Text(3));
      },
      holder));
  return grants;
}

// ---- Users ----

absl::Status IdentityStore::InsertUser(const User& user, const std::string& password_hash) {
  const absl::Status inserted =
      db_.Run(kInsertUser, user.name.value, user.display_name, user.disabled, user.create_time, user.update_time,
              user.password_time, user.last_sign_in, password_hash);
  if (absl::IsAlreadyExists(inserted)) {
    return base::Error(absl::StatusCode::kAlreadyExists, "USER_EXISTS", "there is a user {} already", user.name);
  }
  RETURN_IF_ERROR(inserted);
  return WriteGrants(kInsertUserGrant, user.name.value, user.grants);
}

absl::Status IdentityStore::UpdateUser(const User& user) {
  RETURN_IF_ERROR(db_.Run(kUpdateUser, user.name.value, user.display_name, user.disabled, user.update_time));
  if (db_.ChangedRows() == 0) return NoUser(user.name);
  RETURN_IF_ERROR(db_.Run(kDeleteUserGrants, user.name.value));
  return WriteGrants(kInsertUserGrant, user.name.value, user.grants);
}

absl::Status IdentityStore::SetPassword(const UserId& name, const std::string& password_hash, absl::Time now) {
  RETURN_IF_ERROR(db_.Run(kSetPassword, name.value, password_hash, now));
  return db_.ChangedRows() == 0 ? NoUser(name) : absl::OkStatus();
}

absl::Status IdentityStore::ReplacePasswordHash(const UserId& name, const std::string& before,
                                                const std::string& after) {
  return db_.Run(kReplacePasswordHash, name.value, before, after);
}

absl::Status IdentityStore::SetLastSignIn(const UserId& name, absl::Time now) {
  return db_.Run(kSetLastSignIn, name.value, now);
}

absl::Status IdentityStore::DeleteUser(const UserId& name) {
  RETURN_IF_ERROR(db_.Run(kDeleteUser, name.value));
  return db_.ChangedRows() == 0 ? NoUser(name) : absl::OkStatus();
}

absl::StatusOr<User> IdentityStore::GetUser(const UserId& name) const {
  std::optional<User> user;
  RETURN_IF_ERROR(db_.Query(
      kGetUser, [&](const sqlite::Row& row) { user = ReadUser(row); }, name.value));
  if (!user.has_value()) return NoUser(name);
  ASSIGN_OR_RETURN(user->grants, ReadGrants(kUserGrants, name.value));
  return *std::move(user);
}

absl::StatusOr<std::optional<std::string>> IdentityStore::PasswordHash(const UserId& name) const {
  std::optional<std::string> hash;
  RETURN_IF_ERROR(db_.Query(
      kPasswordHash, [&](const sqlite::Row& row) { hash = row.Text(0); }, name.value));
  return hash;
}

absl::StatusOr<Page<User, UserId>> IdentityStore::ListUsers(const ListOptions<UserId>& options) const {
  std::vector<User> users;
  RETURN_IF_ERROR(db_.Query(
      kListUsers, [&](const sqlite::Row& row) { users.push_back(ReadUser(row)); },
      options.after_key.value_or(UserId()).value, RowLimit(options)));
  for (User& user : users) {
    ASSIGN_OR_RETURN(user.grants, ReadGrants(kUserGrants, user.name.value));
  }
  return MakePage(std::move(users), options, [](const User& user) { return user.name; });
}

absl::StatusOr<int64_t> IdentityStore::CountUsers() const {
  int64_t count = 0;
  RETURN_IF_ERROR(db_.Query(kCountUsers, [&](const sqlite::Row& row) { count = row.Int(0); }));
  return count;
}

absl::StatusOr<std::vector<std::string>> IdentityStore::RolesHeldEverywhere() const {
  std::vector<std::string> roles;
  RETURN_IF_ERROR(db_.Query(kRolesHeldEverywhere, [&](const sqlite::Row& row) { roles.push_back(row.Text(0)); }));
  return roles;
}

// ---- Roles ----

absl::Status IdentityStore::WritePermissions(const CustomRole& role) {
  for (const std::string& permission : role.permissions) {
    RETURN_IF_ERROR(db_.Run(kInsertPermission, role.name, permission));
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> IdentityStore::ReadPermissions(const std::string& role) const {
  std::vector<std::string> permissions;
  RETURN_IF_ERROR(db_.Query(
      kPermissions, [&](const sqlite::Row& row) { permissions.push_back(row.Text(0)); }, role));
  return permissions;
}

absl::Status IdentityStore::InsertRole(const CustomRole& role) {
  const absl::Status inserted = db_.Run(kInsertRole, role.name, role.description, role.create_time, role.update_time);
  if (absl::IsAlreadyExists(inserted)) {
    return base::Error(absl::StatusCode::kAlreadyExists, "ROLE_EXISTS", "there is a role {} already", role.name);
  }
  RETURN_IF_ERROR(inserted);
  return WritePermissions(role);
}

absl::Status IdentityStore::UpdateRole(const CustomRole& role) {
  RETURN_IF_ERROR(db_.Run(kUpdateRole, role.name, role.description, role.update_time));
  if (db_.ChangedRows() == 0) return NoRole(role.name);
  RETURN_IF_ERROR(db_.Run(kDeletePermissions, role.name));
  return WritePermissions(role);
}

absl::Status IdentityStore::DeleteRole(const std::string& name) {
  RETURN_IF_ERROR(db_.Run(kDeleteRole, name));
  return db_.ChangedRows() == 0 ? NoRole(name) : absl::OkStatus();
}

absl::StatusOr<CustomRole> IdentityStore::GetRole(const std::string& name) const {
  std::optional<CustomRole> role;
  RETURN_IF_ERROR(db_.Query(
      kGetRole, [&](const sqlite::Row& row) { role = ReadRole(row); }, name));
  if (!role.has_value()) return NoRole(name);
  ASSIGN_OR_RETURN(role->permissions, ReadPermissions(name));
  return *std::move(role);
}

absl::StatusOr<std::vector<CustomRole>> IdentityStore::AllRoles() const {
  std::vector<CustomRole> roles;
  RETURN_IF_ERROR(db_.Query(kAllRoles, [&](const sqlite::Row& row) { roles.push_back(ReadRole(row)); }));
  for (CustomRole& role : roles) {
    ASSIGN_OR_RETURN(role.permissions, ReadPermissions(role.name));
  }
  return roles;
}

absl::StatusOr<bool> IdentityStore::RoleIsHeld(const std::string& name) const {
  bool held = false;
  RETURN_IF_ERROR(db_.Query(
      kRoleIsHeld, [&](const sqlite::Row& row) { held = row.Bool(0); }, name));
  return held;
}

// ---- API tokens ----

template <typename... Args>
absl::StatusOr<std::optional<ApiToken>> IdentityStore::QueryToken(std::string_view query, const Args&... args) const {
  std::optional<ApiToken> token;
  RETURN_IF_ERROR(db_.Query(
      query, [&](const sqlite::Row& row) { token = ReadToken(row); }, args...));
  if (token.has_value()) {
    ASSIGN_OR_RETURN(token->grants, ReadGrants(kTokenGrants, token->id.value));
  }
  return token;
}

absl::Status IdentityStore::InsertToken(const ApiToken& token, const std::string& hash) {
  RETURN_IF_ERROR(db_.Run(kInsertToken, token.id.value, OwnerColumn(token.user), token.description, token.creator,
                          token.create_time, token.expire_time, token.last_used, hash));
  return WriteGrants(kInsertTokenGrant, token.id.value, token.grants);
}

absl::Status IdentityStore::DeleteToken(const ApiTokenId& id) {
  RETURN_IF_ERROR(db_.Run(kDeleteToken, id.value));
  return db_.ChangedRows() == 0 ? NoToken(id) : absl::OkStatus();
}

absl::StatusOr<ApiToken> IdentityStore::GetToken(const ApiTokenId& id) const {
  ASSIGN_OR_RETURN(std::optional<ApiToken> token, QueryToken(kGetToken, id.value));
  if (!token.has_value()) return NoToken(id);
  return *std::move(token);
}

absl::StatusOr<std::optional<ApiToken>> IdentityStore::FindToken(const std::string& hash) const {
  return QueryToken(kFindToken, hash);
}

absl::StatusOr<Page<ApiToken, ApiTokenId>> IdentityStore::ListTokens(const std::optional<UserId>& user,
                                                                     const ListOptions<ApiTokenId>& options) const {
  std::vector<ApiToken> tokens;
  const auto on_row = [&](const sqlite::Row& row) { tokens.push_back(ReadToken(row)); };
  const std::string after = options.after_key.value_or(ApiTokenId()).value;
  RETURN_IF_ERROR(user.has_value() ? db_.Query(kListTokensOf, on_row, OwnerColumn(*user), after, RowLimit(options))
                                   : db_.Query(kListTokens, on_row, after, RowLimit(options)));
  for (ApiToken& token : tokens) {
    ASSIGN_OR_RETURN(token.grants, ReadGrants(kTokenGrants, token.id.value));
  }
  return MakePage(std::move(tokens), options, [](const ApiToken& token) { return token.id; });
}

absl::StatusOr<int64_t> IdentityStore::CountTokens(const UserId& user) const {
  int64_t count = 0;
  RETURN_IF_ERROR(db_.Query(
      kCountTokens, [&](const sqlite::Row& row) { count = row.Int(0); }, OwnerColumn(user)));
  return count;
}

absl::Status IdentityStore::SetTokenUsed(const ApiTokenId& id, absl::Time now) {
  return db_.Run(kSetTokenUsed, id.value, now);
}

absl::Status IdentityStore::PruneTokens(absl::Time before) {
  return db_.Run(kPruneTokens, before);
}

// ---- Sessions ----

template <typename... Args>
absl::StatusOr<std::optional<Session>> IdentityStore::QuerySession(std::string_view query, const Args&... args) const {
  std::optional<Session> session;
  RETURN_IF_ERROR(db_.Query(
      query, [&](const sqlite::Row& row) { session = ReadSession(row); }, args...));
  return session;
}

absl::Status IdentityStore::InsertSession(const Session& session, const std::string& hash) {
  return db_.Run(kInsertSession, session.id.value, session.user.value, session.peer, session.client,
                 session.create_time, session.expire_time, session.last_seen, hash);
}

absl::Status IdentityStore::DeleteSession(const SessionId& id) {
  RETURN_IF_ERROR(db_.Run(kDeleteSession, id.value));
  return db_.ChangedRows() == 0 ? NoSession(id) : absl::OkStatus();
}

absl::Status IdentityStore::DeleteSessionsOf(const UserId& user) {
  return db_.Run(kDeleteSessionsOf, user.value);
}

absl::StatusOr<int64_t> IdentityStore::KeepNewestSessions(const UserId& user, int count) {
  RETURN_IF_ERROR(db_.Run(kKeepNewestSessions, user.value, count));
  return db_.ChangedRows();
}

absl::StatusOr<Session> IdentityStore::GetSession(const SessionId& id) const {
  ASSIGN_OR_RETURN(std::optional<Session> session, QuerySession(kGetSession, id.value));
  if (!session.has_value()) return NoSession(id);
  return *std::move(session);
}

absl::StatusOr<std::optional<Session>> IdentityStore::FindSession(const std::string& hash) const {
  return QuerySession(kFindSession, hash);
}

absl::StatusOr<std::vector<Session>> IdentityStore::ListSessions(const UserId& user) const {
  std::vector<Session> sessions;
  RETURN_IF_ERROR(db_.Query(
      kListSessions, [&](const sqlite::Row& row) { sessions.push_back(ReadSession(row)); }, user.value));
  return sessions;
}

absl::Status IdentityStore::SetSessionSeen(const SessionId& id, absl::Time now) {
  return db_.Run(kSetSessionSeen, id.value, now);
}

absl::Status IdentityStore::PruneSessions(absl::Time expired_before, absl::Time seen_before) {
  return db_.Run(kPruneSessions, expired_before, seen_before);
}

}  // namespace umbra::catalog
