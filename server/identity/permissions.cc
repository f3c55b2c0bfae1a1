#include "server/identity/permissions.h"

#include <algorithm>
#include <iterator>

namespace umbra::identity {
namespace {

bool EndsWith(std::string_view text, std::string_view end) {
  return text.size() >= end.size() && text.substr(text.size() - end.size()) == end;
}

// Of a viewer: everything that is only looked at, but not who may do what, and who did what.
std::vector<std::string> ViewPermissions(std::initializer_list<const char*> and_these = {}) {
  std::vector<std::string> permissions;
  for (const Permission& permission : kPermissions) {
    const bool of_people = Covers("users.*", permission.name) || Covers("audit.*", permission.name);
    if (EndsWith(permission.name, ".view") && !of_people) permissions.emplace_back(permission.name);
  }
  permissions.insert(permissions.end(), and_these.begin(), and_these.end());
  return permissions;
}

}  // namespace

bool IsPermission(std::string_view name) {
  return std::any_of(std::begin(kPermissions), std::end(kPermissions),
                     [&](const Permission& permission) { return permission.name == name; });
}

bool Covers(std::string_view pattern, std::string_view permission) {
  if (pattern == permission || pattern == "*") return true;
  if (!EndsWith(pattern, ".*")) return false;
  const std::string_view group = pattern.substr(0, pattern.size() - 1);  // with its dot
  return permission.size() > group.size() && permission.substr(0, group.size()) == group;
}

bool IsPermissionPattern(std::string_view pattern) {
  if (IsPermission(pattern)) return true;
  if (pattern != "*" && !EndsWith(pattern, ".*")) return false;
  return std::any_of(std::begin(kPermissions), std::end(kPermissions),
                     [&](const Permission& permission) { return Covers(pattern, permission.name); });
}

std::vector<std::string_view> Expand(std::span<const std::string> patterns) {
  std::vector<std::string_view> permissions;
  for (const Permission& permission : kPermissions) {
    const bool contained = std::any_of(patterns.begin(), patterns.end(),
                                       [&](const std::string& pattern) { return Covers(pattern, permission.name); });
    if (contained) permissions.push_back(permission.name);
  }
  return permissions;
}

const std::vector<BuiltInRole>& BuiltInRoles() {
  static const auto* roles = new std::vector<BuiltInRole>{
      {"viewer", "sees everything but users and the audit log, changes nothing", ViewPermissions()},
      {"operator", "keeps backups going: runs, cancels, holds, verifies",
       ViewPermissions({"backups.run", "policies.run", "jobs.cancel", "vms.manage", "points.hold", "maintenance.run"})},
      {"restore-operator", "brings data back: restores and downloads",
       ViewPermissions({"restores.run", "points.download", "jobs.cancel"})},
      {kAdminRole, "may do everything", {"*"}},
  };
  return *roles;
}

const BuiltInRole* FindBuiltInRole(std::string_view name) {
  const auto& roles = BuiltInRoles();
  const auto found =
      std::find_if(roles.begin(), roles.end(), [&](const BuiltInRole& role) { return role.name == name; });
  return found == roles.end() ? nullptr : &*found;
}

}  // namespace umbra::identity
