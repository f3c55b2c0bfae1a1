// Users, roles, API tokens and sessions. Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_IDENTITY_STORE_H_
#define UMBRA_STORAGE_CATALOG_IDENTITY_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/catalog/identity_records.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

// What secrets are recognized by (hashes) goes in and out by calls of its own, so that no record carries it along.
class IdentityStore {
 public:
  explicit IdentityStore(sqlite::Database& db) : db_(db) {}

  // ---- Users ----

  // ALREADY_EXISTS / USER_EXISTS.
  absl::Status InsertUser(const User& user, const std::string& password_hash);
  // display_name, disabled, grants and update_time; raises the revision. NOT_FOUND / USER_NOT_FOUND.
  absl::Status UpdateUser(const User& user);
  // Raises the revision. NOT_FOUND / USER_NOT_FOUND.
  absl::Status SetPassword(const UserId& name, const std::string& password_hash, absl::Time now);
  // No effect on a user that is gone.
  absl::Status SetLastSignIn(const UserId& name, absl::Time now);
  // The same password by another cost; nothing else changes, and nothing when it was changed meanwhile.
  absl::Status ReplacePasswordHash(const UserId& name, const std::string& before, const std::string& after);
  // With tokens and sessions. NOT_FOUND / USER_NOT_FOUND.
  absl::Status DeleteUser(const UserId& name);
  absl::StatusOr<User> GetUser(const UserId& name) const;
  // Absent: no such user. Empty: no password.
  absl::StatusOr<std::optional<std::string>> PasswordHash(const UserId& name) const;
  // Ordered by name, which is the key.
  absl::StatusOr<Page<User, UserId>> ListUsers(const ListOptions<UserId>& options) const;
  absl::StatusOr<int64_t> CountUsers() const;
  // The roles that users who can sign in hold without a scope, each once.
  absl::StatusOr<std::vector<std::string>> RolesHeldEverywhere() const;

  // ---- Roles ----

  // ALREADY_EXISTS / ROLE_EXISTS.
  absl::Status InsertRole(const CustomRole& role);
  // description, permissions and update_time; raises the revision. NOT_FOUND / ROLE_NOT_FOUND.
  absl::Status UpdateRole(const CustomRole& role);
  // NOT_FOUND / ROLE_NOT_FOUND.
  absl::Status DeleteRole(const std::string& name);
  // NOT_FOUND / ROLE_NOT_FOUND.
  absl::StatusOr<CustomRole> GetRole(const std::string& name) const;
  // Ordered by name; there are few.
  absl::StatusOr<std::vector<CustomRole>> AllRoles() const;
  absl::StatusOr<bool> RoleIsHeld(const std::string& name) const;

  // ---- API tokens ----

  absl::Status InsertToken(const ApiToken& token, const std::string& hash);
  // NOT_FOUND / API_TOKEN_NOT_FOUND.
  absl::Status DeleteToken(const ApiTokenId& id);
  absl::StatusOr<ApiToken> GetToken(const ApiTokenId& id) const;
  absl::StatusOr<std::optional<ApiToken>> FindToken(const std::string& hash) const;
  // Of one user (empty: those of nobody), or all. Ordered by id, which is the key.
  absl::StatusOr<Page<ApiToken, ApiTokenId>> ListTokens(const std::optional<UserId>& user,
                                                        const ListOptions<ApiTokenId>& options) const;
  absl::StatusOr<int64_t> CountTokens(const UserId& user) const;
  absl::Status SetTokenUsed(const ApiTokenId& id, absl::Time now);
  // Forgets those that expired before.
  absl::Status PruneTokens(absl::Time before);

  // ---- Sessions ----

  absl::Status InsertSession(const Session& session, const std::string& hash);
  // NOT_FOUND / SESSION_NOT_FOUND.
  absl::Status DeleteSession(const SessionId& id);
  absl::Status DeleteSessionsOf(const UserId& user);
  // Forgets all but the newest `count`; returns how many.
  absl::StatusOr<int64_t> KeepNewestSessions(const UserId& user, int count);
  absl::StatusOr<Session> GetSession(const SessionId& id) const;
  absl::StatusOr<std::optional<Session>> FindSession(const std::string& hash) const;
  // Newest first; there are few.
  absl::StatusOr<std::vector<Session>> ListSessions(const UserId& user) const;
  absl::Status SetSessionSeen(const SessionId& id, absl::Time now);
  // Forgets those that expired, or were last seen, before.
  absl::Status PruneSessions(absl::Time expired_before, absl::Time seen_before);

 private:
  absl::Status WriteGrants(std::string_view insert, const std::string& holder, const std::vector<RoleGrant>& grants);
  absl::StatusOr<std::vector<RoleGrant>> ReadGrants(std::string_view query, const std::string& holder) const;
  absl::Status WritePermissions(const CustomRole& role);
  absl::StatusOr<std::vector<std::string>> ReadPermissions(const std::string& role) const;
  template <typename... Args>
  absl::StatusOr<std::optional<ApiToken>> QueryToken(std::string_view query, const Args&... args) const;
  template <typename... Args>
  absl::StatusOr<std::optional<Session>> QuerySession(std::string_view query, const Args&... args) const;

  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_IDENTITY_STORE_H_
