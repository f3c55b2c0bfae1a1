// Users and roles of Identity.
#include <algorithm>
#include <set>
#include <utility>

#include "server/identity/grants.h"
#include "server/identity/identity.h"
#include "server/identity/permissions.h"
#include "server/identity/secrets.h"
#include "storage/base/invalid.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/base/utf8.h"

namespace umbra::identity {
namespace {

using base::Invalid;
using catalog::CustomRole;
using catalog::Stores;
using catalog::UserId;

constexpr size_t kNameSizeMax = 64;
constexpr size_t kDisplayNameSizeMax = 128;
constexpr size_t kDescriptionSizeMax = 512;
constexpr size_t kRolePermissionsMax = 100;

bool IsName(std::string_view name, std::string_view beside_letters) {
  const auto is_plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= kNameSizeMax && is_plain(name.front()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return is_plain(c) || beside_letters.find(c) != std::string_view::npos; });
}

absl::Status CheckUserName(const std::string& name) {
  // "users/me" is whoever asks.
  if (IsName(name, "-.") && name != "me") return absl::OkStatus();
  return Invalid("name: a user's has up to {} of a-z 0-9 - . and begins with a letter or digit; 'me' is none",
                 kNameSizeMax);
}

absl::Status CheckText(std::string_view field, const std::string& text, size_t size_max) {
  if (text.size() > size_max) return Invalid("{}: longer than {} bytes", field, size_max);
  const bool printable = std::none_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  if (!printable || base::ValidUtf8(text) != text) return Invalid("{}: not plain UTF-8 text of one line", field);
  return absl::OkStatus();
}

absl::Status CheckUserRevision(const User& user, int64_t revision) {
  if (revision == 0 || revision == user.revision) return absl::OkStatus();
  return base::Error(absl::StatusCode::kAborted, "USER_CHANGED", "the user {} was changed since it was read",
                     user.name);
}

absl::Status CheckRoleRevision(const CustomRole& role, int64_t revision) {
  if (revision == 0 || revision == role.revision) return absl::OkStatus();
  return base::Error(absl::StatusCode::kAborted, "ROLE_CHANGED", "the role {} was changed since it was read",
                     role.name);
}

// The caller may do all that the user may: who may touch a more powerful one could become him.
absl::Status CheckMayTouch(const Stores& stores, const Principal& caller, const User& user) {
  ASSIGN_OR_RETURN(const std::vector<Grant> held, Resolve(stores, user.grants));
  return CheckMayGrant(caller, held);
}

absl::Status CheckMayGive(const Stores& stores, const Principal& caller, const std::vector<RoleGrant>& grants) {
  RETURN_IF_ERROR(CheckGrants(stores, grants));
  ASSIGN_OR_RETURN(const std::vector<Grant> wanted, Resolve(stores, grants));
  return CheckMayGrant(caller, wanted);
}

// Ordered, each once, each known.
absl::StatusOr<std::vector<std::string>> CheckedPermissions(const std::vector<std::string>& permissions) {
  if (permissions.empty()) return Invalid("permissions: a role needs at least one");
  if (permissions.size() > kRolePermissionsMax) return Invalid("permissions: more than {}", kRolePermissionsMax);
  for (const std::string& permission : permissions) {
    if (!IsPermissionPattern(permission))
      return Invalid("permissions: there is no permission {}", base::ValidUtf8(permission));
  }
  const std::set<std::string> once(permissions.begin(), permissions.end());
  return std::vector<std::string>(once.begin(), once.end());
}

absl::Status CheckNotBuiltIn(const std::string& name) {
  if (FindBuiltInRole(name) == nullptr) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition, "ROLE_BUILT_IN",
                     "the role {} comes with the product and stays as it is", name);
}

Role RoleOf(const BuiltInRole& role) {
  return {.name = std::string(role.name),
          .description = std::string(role.description),
          .permissions = role.permissions,
          .built_in = true,
          .create_time = absl::UnixEpoch(),
          .update_time = absl::UnixEpoch(),
          .revision = 1};
}

Role RoleOf(CustomRole role) {
  return {.name = std::move(role.name),
          .description = std::move(role.description),
          .permissions = std::move(role.permissions),
          .create_time = role.create_time,
          .update_time = role.update_time,
          .revision = role.revision};
}

std::string FirstCredentialText(const std::string& password) {
  return fmt::format(
      "# The first user of this umbrad. Sign in, take another password, and this file goes.\n"
      "user: {}\npassword: {}\n",
      kFirstUser, password);
}

}  // namespace

absl::Status Identity::Change(absl::FunctionRef<absl::Status(Stores&)> work) {
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const bool had, HasAdmin(stores));
    RETURN_IF_ERROR(work(stores));
    ASSIGN_OR_RETURN(const bool has, HasAdmin(stores));
    if (!had || has) return absl::OkStatus();
    return base::Error(absl::StatusCode::kFailedPrecondition, "LAST_ADMIN",
                       "after this nobody who can sign in could do everything; give another user the role {} first",
                       kAdminRole);
  }));
  Forget();
  return absl::OkStatus();
}

// ---- The first one ----

absl::Status Identity::EnsureFirstUser() {
  ASSIGN_OR_RETURN(const int64_t count,
                   catalog_.Read([](const Stores& stores) { return stores.identity.CountUsers(); }));
  if (count > 0) return absl::OkStatus();
  const std::string password = NewPasswordText(random_);
  ASSIGN_OR_RETURN(const std::string hash, passwords_.Hash(password));
  // The file first: a user whose password nobody has would be there for good.
  RETURN_IF_ERROR(base::Annotate(filesystem_.WriteFileAtomic(first_credential_path_, FirstCredentialText(password)),
                                 "write the first credential"));
  User user;
  user.name = UserId(kFirstUser);
  user.display_name = "Administrator";
  user.grants = {{.role = kAdminRole}};
  user.create_time = user.update_time = user.password_time = clock_.Now();
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) { return stores.identity.InsertUser(user, hash); }));
  base::Log("identity")->info("first user made user={} password_is_in={}", kFirstUser, first_credential_path_);
  return absl::OkStatus();
}

void Identity::RemoveFirstCredential(const std::string& user) {
  if (user != kFirstUser) return;
  const absl::Status removed = filesystem_.Remove(first_credential_path_);
  if (removed.ok() || absl::IsNotFound(removed)) return;
  base::Log("identity")
      ->warn("file with a password that is no longer right not removed error={}", base::Describe(removed));
}

// ---- Users ----

absl::StatusOr<User> Identity::CreateUser(const Principal& caller, const NewUser& wanted) {
  RETURN_IF_ERROR(CheckUserName(wanted.name));
  RETURN_IF_ERROR(CheckText("display_name", wanted.display_name, kDisplayNameSizeMax));
  std::string hash;
  if (!wanted.password.empty()) {
    RETURN_IF_ERROR(CheckPassword(wanted.password, wanted.name));
    ASSIGN_OR_RETURN(hash, passwords_.Hash(wanted.password));
  }
  User user;
  user.name = UserId(wanted.name);
  user.display_name = wanted.display_name;
  user.disabled = wanted.disabled;
  user.grants = wanted.grants;
  user.create_time = user.update_time = user.password_time = clock_.Now();
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    RETURN_IF_ERROR(CheckMayGive(stores, caller, user.grants));
    ASSIGN_OR_RETURN(const int64_t count, stores.identity.CountUsers());
    if (count >= kUsersMax) return Invalid("there are {} users already", count);
    return stores.identity.InsertUser(user, hash);
  }));
  base::Log("identity")->info("user made user={} by={}", user.name, caller.name);
  return GetUser(wanted.name);
}

absl::StatusOr<User> Identity::GetUser(const std::string& name) {
  return catalog_.Read([&](const Stores& stores) { return stores.identity.GetUser(UserId(name)); });
}

absl::StatusOr<catalog::Page<User, UserId>> Identity::ListUsers(const catalog::ListOptions<UserId>& options) {
  return catalog_.Read([&](const Stores& stores) { return stores.identity.ListUsers(options); });
}

absl::StatusOr<User> Identity::UpdateUser(const Principal& caller, const std::string& name, const UserChange& change) {
  if (change.display_name.has_value()) {
    RETURN_IF_ERROR(CheckText("display_name", *change.display_name, kDisplayNameSizeMax));
  }
  RETURN_IF_ERROR(Change([&](Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(User user, stores.identity.GetUser(UserId(name)));
    RETURN_IF_ERROR(CheckUserRevision(user, change.revision));
    RETURN_IF_ERROR(CheckMayTouch(stores, caller, user));
    if (change.grants.has_value()) {
      RETURN_IF_ERROR(CheckMayGive(stores, caller, *change.grants));
      user.grants = *change.grants;
    }
    if (change.display_name.has_value()) user.display_name = *change.display_name;
    if (change.disabled.has_value()) user.disabled = *change.disabled;
    user.update_time = clock_.Now();
    if (user.disabled) RETURN_IF_ERROR(stores.identity.DeleteSessionsOf(user.name));
    return stores.identity.UpdateUser(user);
  }));
  base::Log("identity")->info("user changed user={} by={}", name, caller.name);
  return GetUser(name);
}

absl::Status Identity::DeleteUser(const Principal& caller, const std::string& name, int64_t revision) {
  RETURN_IF_ERROR(Change([&](Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const User user, stores.identity.GetUser(UserId(name)));
    RETURN_IF_ERROR(CheckUserRevision(user, revision));
    RETURN_IF_ERROR(CheckMayTouch(stores, caller, user));
    return stores.identity.DeleteUser(user.name);
  }));
  RemoveFirstCredential(name);
  base::Log("identity")->info("user removed user={} by={}", name, caller.name);
  return absl::OkStatus();
}

absl::Status Identity::StorePassword(const std::string& name, const std::string& hash,
                                     absl::FunctionRef<absl::Status(const Stores&)> check) {
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    RETURN_IF_ERROR(check(stores));
    RETURN_IF_ERROR(stores.identity.SetPassword(UserId(name), hash, clock_.Now()));
    return stores.identity.DeleteSessionsOf(UserId(name));
  }));
  Forget();
  RemoveFirstCredential(name);
  base::Log("identity")->info("password changed user={}", name);
  return absl::OkStatus();
}

absl::Status Identity::ChangePassword(const std::string& name, const std::string& current, const std::string& next,
                                      const std::string& peer) {
  ASSIGN_OR_RETURN(const std::string before, VerifyPassword(name, current, peer));
  RETURN_IF_ERROR(CheckPassword(next, name));
  if (next == current) {
    return base::Error(absl::StatusCode::kInvalidArgument, "PASSWORD_UNFIT", "the new password is the old one");
  }
  ASSIGN_OR_RETURN(const std::string hash, passwords_.Hash(next));
  return StorePassword(name, hash, [&](const Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const std::optional<std::string> now, stores.identity.PasswordHash(UserId(name)));
    if (now == before) return absl::OkStatus();
    return base::Error(absl::StatusCode::kAborted, "USER_CHANGED", "the password was changed meanwhile");
  });
}

absl::Status Identity::SetPassword(const Principal& caller, const std::string& name, const std::string& next) {
  RETURN_IF_ERROR(GetUser(name).status());
  RETURN_IF_ERROR(CheckPassword(next, name));
  ASSIGN_OR_RETURN(const std::string hash, passwords_.Hash(next));
  return StorePassword(name, hash, [&](const Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const User user, stores.identity.GetUser(UserId(name)));
    return CheckMayTouch(stores, caller, user);
  });
}

// ---- Roles ----

absl::StatusOr<std::vector<Role>> Identity::ListRoles() {
  std::vector<Role> roles;
  for (const BuiltInRole& role : BuiltInRoles()) roles.push_back(RoleOf(role));
  ASSIGN_OR_RETURN(std::vector<CustomRole> custom,
                   catalog_.Read([](const Stores& stores) { return stores.identity.AllRoles(); }));
  for (CustomRole& role : custom) roles.push_back(RoleOf(std::move(role)));
  return roles;
}

absl::StatusOr<Role> Identity::GetRole(const std::string& name) {
  if (const BuiltInRole* role = FindBuiltInRole(name); role != nullptr) return RoleOf(*role);
  ASSIGN_OR_RETURN(CustomRole role, catalog_.Read([&](const Stores& stores) { return stores.identity.GetRole(name); }));
  return RoleOf(std::move(role));
}

absl::StatusOr<Role> Identity::CreateRole(const Principal& caller, const Role& wanted) {
  if (!IsName(wanted.name, "-")) return Invalid("name: a role's has up to {} of a-z 0-9 -", kNameSizeMax);
  RETURN_IF_ERROR(CheckText("description", wanted.description, kDescriptionSizeMax));
  if (FindBuiltInRole(wanted.name) != nullptr) {
    return base::Error(absl::StatusCode::kAlreadyExists, "ROLE_EXISTS", "there is a role {} already", wanted.name);
  }
  CustomRole role{.name = wanted.name, .description = wanted.description};
  ASSIGN_OR_RETURN(role.permissions, CheckedPermissions(wanted.permissions));
  RETURN_IF_ERROR(CheckMayGrant(caller, {{role.permissions, {}}}));
  role.create_time = role.update_time = clock_.Now();
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<CustomRole> all, stores.identity.AllRoles());
    if (all.size() >= kRolesMax) return Invalid("there are {} roles already", all.size());
    return stores.identity.InsertRole(role);
  }));
  base::Log("identity")->info("role made role={} by={}", role.name, caller.name);
  return GetRole(role.name);
}

absl::StatusOr<Role> Identity::UpdateRole(const Principal& caller, const std::string& name, const RoleChange& change) {
  RETURN_IF_ERROR(CheckNotBuiltIn(name));
  if (change.description.has_value()) {
    RETURN_IF_ERROR(CheckText("description", *change.description, kDescriptionSizeMax));
  }
  RETURN_IF_ERROR(Change([&](Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(CustomRole role, stores.identity.GetRole(name));
    RETURN_IF_ERROR(CheckRoleRevision(role, change.revision));
    RETURN_IF_ERROR(CheckMayGrant(caller, {{role.permissions, {}}}));
    if (change.permissions.has_value()) {
      ASSIGN_OR_RETURN(role.permissions, CheckedPermissions(*change.permissions));
      RETURN_IF_ERROR(CheckMayGrant(caller, {{role.permissions, {}}}));
    }
    if (change.description.has_value()) role.description = *change.description;
    role.update_time = clock_.Now();
    return stores.identity.UpdateRole(role);
  }));
  base::Log("identity")->info("role changed role={} by={}", name, caller.name);
  return GetRole(name);
}

absl::Status Identity::DeleteRole(const Principal& caller, const std::string& name, int64_t revision) {
  RETURN_IF_ERROR(CheckNotBuiltIn(name));
  RETURN_IF_ERROR(Change([&](Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const CustomRole role, stores.identity.GetRole(name));
    RETURN_IF_ERROR(CheckRoleRevision(role, revision));
    RETURN_IF_ERROR(CheckMayGrant(caller, {{role.permissions, {}}}));
    ASSIGN_OR_RETURN(const bool held, stores.identity.RoleIsHeld(name));
    if (!held) return stores.identity.DeleteRole(name);
    return base::Error(absl::StatusCode::kFailedPrecondition, "ROLE_IN_USE",
                       "users or tokens have the role {}; take it from them first", name);
  }));
  base::Log("identity")->info("role removed role={} by={}", name, caller.name);
  return absl::OkStatus();
}

}  // namespace umbra::identity
