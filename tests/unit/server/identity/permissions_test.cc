// Proves the table of permissions: names of one form, groups and wildcards, and exactly what each built-in role
// contains.
#include "server/identity/permissions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

namespace umbra::identity {
namespace {

TEST(PermissionsTest, EachIsThereOnceWithAMeaning) {
  std::set<std::string_view> names;
  for (const Permission& permission : kPermissions) {
    EXPECT_TRUE(names.insert(permission.name).second) << permission.name;
    EXPECT_EQ(std::count(permission.name.begin(), permission.name.end(), '.'), 1) << permission.name;
    EXPECT_FALSE(permission.meaning.empty()) << permission.name;
    EXPECT_TRUE(IsPermission(permission.name));
    EXPECT_TRUE(IsPermissionPattern(permission.name));
  }
}

TEST(PermissionsTest, PatternsCoverAGroupOrAll) {
  EXPECT_TRUE(Covers("*", "jobs.view"));
  EXPECT_TRUE(Covers("jobs.*", "jobs.view"));
  EXPECT_TRUE(Covers("jobs.view", "jobs.view"));
  EXPECT_FALSE(Covers("jobs.view", "jobs.cancel"));
  EXPECT_FALSE(Covers("jobs.*", "jobs."));
  EXPECT_FALSE(Covers("jobs.*", "jobsx.view"));
  EXPECT_FALSE(Covers("job.*", "jobs.view"));
  EXPECT_FALSE(Covers("", "jobs.view"));
  EXPECT_FALSE(Covers("jobs", "jobs.view"));
  for (const char* pattern : {"", "jobs", "jobs.", ".*", "**", "nothing.*", "nothing.view", "jobs.*.*", "JOBS.*"}) {
    EXPECT_FALSE(IsPermissionPattern(pattern)) << pattern;
  }
}

std::vector<std::string> Of(std::string_view role) {
  const auto expanded = Expand(FindBuiltInRole(role)->permissions);
  return {expanded.begin(), expanded.end()};
}

TEST(PermissionsTest, BuiltInRoles) {
  const std::vector<std::string> views = {"hosts.view",   "vms.view",           "jobs.view",
                                          "points.view",  "policies.view",      "repositories.view",
                                          "catalog.view", "notifications.view", "events.view"};
  const auto with = [&](std::vector<std::string> more) {
    more.insert(more.end(), views.begin(), views.end());
    return more;
  };
  EXPECT_THAT(Of("viewer"), ::testing::UnorderedElementsAreArray(views));
  EXPECT_THAT(Of("operator"),
              ::testing::UnorderedElementsAreArray(with(
                  {"backups.run", "policies.run", "jobs.cancel", "vms.manage", "points.hold", "maintenance.run"})));
  EXPECT_THAT(Of("restore-operator"),
              ::testing::UnorderedElementsAreArray(with({"restores.run", "points.download", "jobs.cancel"})));
  EXPECT_EQ(Of("admin").size(), std::size(kPermissions));
  EXPECT_EQ(FindBuiltInRole("root"), nullptr);
  for (const BuiltInRole& role : BuiltInRoles()) {
    for (const std::string& permission : role.permissions) EXPECT_TRUE(IsPermissionPattern(permission)) << permission;
  }
}

}  // namespace
}  // namespace umbra::identity
