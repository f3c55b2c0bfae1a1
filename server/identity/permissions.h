// Everything that can be permitted, with a sentence each, and the roles that come with the product. The texts are
// stored, in proto options and in people's scripts: they never change.
#ifndef UMBRA_SERVER_IDENTITY_PERMISSIONS_H_
#define UMBRA_SERVER_IDENTITY_PERMISSIONS_H_

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace umbra::identity {

struct Permission {
  std::string_view name;     // "GROUP.VERB"
  std::string_view meaning;  // "Whoever has it may ..."
};

inline constexpr Permission kPermissions[] = {
    {"hosts.view", "see hosts, what they report, and their labels"},
    {"hosts.manage", "change, drain and remove hosts, and label them"},
    {"hosts.enrol", "make tokens with which new hosts enrol"},
    {"vms.view", "see virtual machines, file sets and writers, and how they would be backed up"},
    {"vms.manage", "label virtual machines"},
    {"jobs.view", "see jobs and follow them"},
    {"jobs.cancel", "cancel jobs"},
    {"backups.run", "back virtual machines and file sets up"},
    {"restores.run", "restore recovery points to machines or folders"},
    {"maintenance.run", "verify and prune repositories, and copy or rebuild the catalog's index"},
    {"points.view", "see recovery points and the names of what is in them"},
    {"points.remove", "remove recovery points, and undelete them"},
    {"points.hold", "hold recovery points, so that nothing removes them, and release them"},
    {"points.download", "read what is in recovery points, without a restore"},
    {"policies.view", "see policies, what they cover, and what they would do"},
    {"policies.manage", "make, change and remove policies"},
    {"policies.run", "run policies out of their schedule"},
    {"repositories.view", "see repositories and their figures"},
    {"repositories.manage", "change repositories"},
    {"keys.manage", "see, add, remove and rotate the keys of repositories"},
    {"catalog.view", "see the state of the catalog and its copies"},
    {"catalog.manage", "check and back up the catalog"},
    {"notifications.view", "see notification channels and messages"},
    {"notifications.manage", "make, change, test and remove notification channels"},
    {"events.view", "see events and follow them"},
    {"users.view", "see users, roles, tokens and sessions"},
    {"users.manage", "make, change and remove users, roles and tokens, within what the caller may do"},
    {"audit.view", "read, export and verify the audit log"},
};

// It is in the table above.
bool IsPermission(std::string_view name);

// `pattern`, which is a permission, "GROUP.*" or "*", contains `permission`.
bool Covers(std::string_view pattern, std::string_view permission);

// It is a permission, "*", or "GROUP.*" of a group that has some.
bool IsPermissionPattern(std::string_view pattern);

// What `patterns` contain, in the order of the table.
std::vector<std::string_view> Expand(std::span<const std::string> patterns);

struct BuiltInRole {
  std::string_view name;
  std::string_view description;
  std::vector<std::string> permissions;
};

inline constexpr char kAdminRole[] = "admin";

// viewer, operator, restore-operator, admin.
const std::vector<BuiltInRole>& BuiltInRoles();
// Null: there is none of this name.
const BuiltInRole* FindBuiltInRole(std::string_view name);

}  // namespace umbra::identity

#endif  // UMBRA_SERVER_IDENTITY_PERMISSIONS_H_
