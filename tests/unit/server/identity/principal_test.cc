// Proves who may do what to what: scopes against a second, simple statement of the rule, the intersection of a token
// with its user, and that nobody can pass on what he doesn't have. Random tests print their seed.
#include "server/identity/principal.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <iostream>
#include <random>

#include "server/identity/permissions.h"
#include "storage/base/status.h"

namespace umbra::identity {
namespace {

Principal WithGrants(std::vector<Grant> grants) {
  Principal principal;
  principal.kind = Principal::Kind::kUser;
  principal.name = "users/alice";
  principal.grants = std::move(grants);
  return principal;
}

TEST(PrincipalTest, NobodyMayDoNothing) {
  for (const Permission& permission : kPermissions) {
    EXPECT_FALSE(Allows({}, permission.name, {}));
    EXPECT_FALSE(Allows({}, permission.name, {.name = "hosts/h1"}));
    EXPECT_FALSE(AllowsSomewhere({}, permission.name));
  }
}

TEST(PrincipalTest, TheWholeSystemNeedsAGrantWithoutScope) {
  const Principal scoped = WithGrants({{{"hosts.*"}, {.hosts = {"hosts/h1"}}}});
  EXPECT_FALSE(Allows(scoped, "hosts.view", {}));
  EXPECT_TRUE(AllowsSomewhere(scoped, "hosts.view"));
  EXPECT_TRUE(Allows(WithGrants({{{"hosts.*"}, {}}}), "hosts.view", {}));
}

TEST(PrincipalTest, AHostIsWhatIsOnIt) {
  const Principal p = WithGrants({{{"*"}, {.hosts = {"hosts/h1"}}}});
  EXPECT_TRUE(Allows(p, "hosts.view", {.name = "hosts/h1"}));
  EXPECT_TRUE(Allows(p, "vms.view", {.name = "hosts/h1/virtualMachines/v1"}));
  EXPECT_TRUE(Allows(p, "points.view", {.name = "recoveryPoints/p", .host = "hosts/h1"}));
  EXPECT_FALSE(Allows(p, "hosts.view", {.name = "hosts/h11"})) << "a longer name isn't below it";
  EXPECT_FALSE(Allows(p, "hosts.view", {.name = "hosts/h"}));
  EXPECT_FALSE(Allows(p, "points.view", {.name = "recoveryPoints/p", .host = "hosts/h2"}));
  EXPECT_FALSE(Allows(p, "points.view", {.name = "recoveryPoints/p"}));
}

TEST(PrincipalTest, PoliciesAndLabels) {
  const Principal p =
      WithGrants({{{"jobs.*", "vms.view"}, {.policies = {"policies/gold"}, .labels = {"env=prod", "a=b=c"}}}});
  EXPECT_TRUE(Allows(p, "jobs.view", {.name = "jobs/j", .policy = "policies/gold"}));
  EXPECT_TRUE(Allows(p, "vms.view", {.name = "hosts/h/virtualMachines/v", .labels = {{"env", "prod"}}}));
  EXPECT_TRUE(Allows(p, "vms.view", {.name = "hosts/h/virtualMachines/v", .labels = {{"a", "b=c"}}}));
  EXPECT_FALSE(Allows(p, "vms.view", {.name = "hosts/h/virtualMachines/v", .labels = {{"env", "production"}}}));
  EXPECT_FALSE(Allows(p, "vms.view", {.name = "hosts/h/virtualMachines/v", .labels = {{"ENV", "prod"}}}));
  EXPECT_FALSE(Allows(p, "jobs.view", {.name = "jobs/j", .policy = "policies/golden"}));
  EXPECT_FALSE(Allows(p, "vms.manage", {.name = "hosts/h/virtualMachines/v", .labels = {{"env", "prod"}}}));
}

TEST(PrincipalTest, PermissionAndObjectComeFromOneGrant) {
  const Principal p = WithGrants({{{"vms.view"}, {.hosts = {"hosts/h1"}}}, {{"backups.run"}, {.hosts = {"hosts/h2"}}}});
  EXPECT_FALSE(Allows(p, "backups.run", {.name = "hosts/h1/virtualMachines/v"}));
  EXPECT_FALSE(Allows(p, "vms.view", {.name = "hosts/h2/virtualMachines/v"}));
}

TEST(PrincipalTest, ATokenIsBoundedByItsUser) {
  Principal token = WithGrants({{{"*"}, {.labels = {"env=prod"}}}});
  token.bounded = true;
  token.bounds = {{{"vms.view"}, {.hosts = {"hosts/h1"}}}};
  const Object both{.name = "hosts/h1/virtualMachines/v", .labels = {{"env", "prod"}}};
  EXPECT_TRUE(Allows(token, "vms.view", both));
  EXPECT_FALSE(Allows(token, "backups.run", both)) << "its user may not";
  EXPECT_FALSE(Allows(token, "vms.view", {.name = "hosts/h1/virtualMachines/v"})) << "it may not itself";
  EXPECT_FALSE(AllowsSomewhere(token, "backups.run"));
  token.bounds.clear();
  EXPECT_FALSE(Allows(token, "vms.view", both)) << "its user lost everything";
}

TEST(PrincipalTest, ScopesHaveForms) {
  EXPECT_TRUE(CheckScope({}).ok());
  EXPECT_TRUE(CheckScope({.hosts = {"hosts/h"}, .policies = {"policies/p"}, .labels = {"k=v", "k="}}).ok());
  const Scope bad[] = {{.hosts = {"h1"}},
                       {.hosts = {"hosts/"}},
                       {.hosts = {"hosts/h/virtualMachines/v"}},
                       {.hosts = {""}},
                       {.policies = {"hosts/h"}},
                       {.labels = {"env"}},
                       {.labels = {"=prod"}},
                       {.hosts = {"hosts/h", "hosts/h"}},
                       {.hosts = {"hosts/" + std::string(600, 'a')}},
                       {.labels = std::vector<std::string>(300, "k=v")}};
  for (const Scope& scope : bad) EXPECT_EQ(base::ReasonOf(CheckScope(scope)), "INVALID_REQUEST");
}

// ---- Random principals and objects over few names, so that they meet ----

class PrincipalPropertyTest : public ::testing::Test {
 protected:
  PrincipalPropertyTest() {
    const char* const given = std::getenv("UMBRA_IDENTITY_SEED");
    const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
    std::cout << "UMBRA_IDENTITY_SEED=" << seed << std::endl;
    engine_.seed(seed);
  }

  int Below(int end) { return std::uniform_int_distribution<int>(0, end - 1)(engine_); }
  std::string Host() { return "hosts/h" + std::string(static_cast<size_t>(1 + Below(3)), '1'); }
  std::string Policy() { return "policies/p" + std::to_string(Below(3)); }
  std::pair<std::string, std::string> Label() {
    return {"k" + std::to_string(Below(2)), "v" + std::to_string(Below(2))};
  }
  std::string Pattern() {
    const std::string name(kPermissions[Below(static_cast<int>(std::size(kPermissions)))].name);
    const int kind = Below(10);
    return kind == 0 ? "*" : kind < 4 ? name.substr(0, name.find('.')) + ".*" : name;
  }

  Scope RandomScope() {
    Scope scope;
    if (Below(4) == 0) return scope;
    for (int i = Below(3); i > 0; --i) scope.hosts.push_back(Host());
    for (int i = Below(2); i > 0; --i) scope.policies.push_back(Policy());
    for (int i = Below(3); i > 0; --i) {
      const auto [key, value] = Label();
      scope.labels.push_back(key + "=" + value);
    }
    return scope;
  }
  std::vector<Grant> RandomGrants() {
    std::vector<Grant> grants(static_cast<size_t>(Below(4)));
    for (Grant& grant : grants) {
      for (int i = 1 + Below(3); i > 0; --i) grant.permissions.push_back(Pattern());
      grant.scope = RandomScope();
    }
    return grants;
  }
  Principal RandomPrincipal() {
    Principal principal = WithGrants(RandomGrants());
    principal.bounded = Below(2) == 0;
    if (principal.bounded) principal.bounds = RandomGrants();
    return principal;
  }
  Object RandomObject() {
    switch (Below(5)) {
      case 0:
        return {};
      case 1:
        return {.name = Host()};
      case 2:
        return {.name = Policy()};
      default:
        break;
    }
    Object object{.name = Host() + "/virtualMachines/v"};
    if (Below(2) == 0) {
      object.name = "jobs/j";
      object.host = Host();
    }
    if (Below(2) == 0) object.policy = Policy();
    for (int i = Below(3); i > 0; --i) object.labels.insert(Label());
    return object;
  }

  std::mt19937_64 engine_;
};

// The rule once more, put as plainly as it can be.
bool Matches(const Scope& scope, const Object& object) {
  if (scope.hosts.empty() && scope.policies.empty() && scope.labels.empty()) return true;
  for (const std::string& host : scope.hosts) {
    if (object.host == host || object.name == host || object.name.starts_with(host + "/")) return true;
  }
  for (const std::string& policy : scope.policies) {
    if (object.policy == policy || object.name == policy || object.name.starts_with(policy + "/")) return true;
  }
  for (const auto& [key, value] : object.labels) {
    for (const std::string& label : scope.labels) {
      if (label == key + "=" + value) return true;
    }
  }
  return false;
}

TEST_F(PrincipalPropertyTest, AScopeContainsWhatAnEntryOfItMatches) {
  int contained = 0;
  for (int i = 0; i < 20'000; ++i) {
    const Scope scope = RandomScope();
    const Object object = RandomObject();
    ASSERT_EQ(Contains(scope, object), Matches(scope, object)) << i << " " << object.name;
    contained += Contains(scope, object);
  }
  EXPECT_GT(contained, 1000);
  EXPECT_LT(contained, 19'000);
}

TEST_F(PrincipalPropertyTest, WhatIsGivenOnIsNeverMoreThanTheGiverMay) {
  int given = 0;
  for (int i = 0; i < 5'000; ++i) {
    const Principal giver = RandomPrincipal();
    const Principal taker = WithGrants(RandomGrants());
    if (!CheckMayGrant(giver, taker.grants).ok()) continue;
    given += !taker.grants.empty();
    for (int j = 0; j < 20; ++j) {
      const Object object = RandomObject();
      for (const Permission& permission : kPermissions) {
        if (Allows(taker, permission.name, object)) {
          ASSERT_TRUE(Allows(giver, permission.name, object)) << i << " " << permission.name << " " << object.name;
        }
      }
    }
  }
  EXPECT_GT(given, 20);
}

TEST_F(PrincipalPropertyTest, WhoMayEverythingMayGiveEverythingAndEverybodyHisOwn) {
  const Principal admin = WithGrants({{{"*"}, {}}});
  for (int i = 0; i < 1'000; ++i) {
    const Principal somebody = WithGrants(RandomGrants());
    ASSERT_TRUE(CheckMayGrant(admin, somebody.grants).ok());
    ASSERT_TRUE(CheckMayGrant(somebody, somebody.grants).ok());
  }
}

}  // namespace
}  // namespace umbra::identity
