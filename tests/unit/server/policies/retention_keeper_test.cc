// Proves that retention removes what its dry run names, after a new point and in a sweep, and leaves everything else.
#include "server/policies/retention_keeper.h"

#include <set>

#include "tests/unit/server/policies/fixture.h"

namespace umbra::policies {
namespace {

class RetentionKeeperTest : public PoliciesTest {
 protected:
  RetentionKeeperTest() : keeper_(*catalog_, *events_, *repositories_, clock_, absl::Hours(24)), now_(clock_.Now()) {}

  std::set<std::string> Visible() {
    std::set<std::string> ids;
    const auto page =
        catalog_->Read([](const catalog::Stores& s) { return s.recovery_points.List({}, {.page_size = 1000}); });
    for (const auto& point : page->items) ids.insert(point.id.value);
    return ids;
  }
  std::set<std::string> DryRun() {
    const PolicySet set = *PolicySet::Load(*catalog_);
    std::set<std::string> kept;
    const auto verdicts = *DecideFor(*catalog_, set, {{catalog::HostId("h1"), "u1"}, "vm", ""}, clock_.Now());
    for (const auto& verdict : verdicts) {
      if (verdict.keeps()) kept.insert(verdict.id);
    }
    return kept;
  }
  void KeepLast(const std::string& id, int count, const std::string& expression = "all") {
    catalog::Policy policy = MakePolicy(id, expression);
    policy.retention.last = count;
    Insert(policy);
  }

  RetentionKeeper keeper_;
  const absl::Time now_;
};

TEST_F(RetentionKeeperTest, ASweepRemovesWhatTheDryRunNames) {
  for (int i = 0; i < 5; ++i) AddPoint("p" + std::to_string(i), now_ - absl::Hours(i));
  KeepLast("nightly", 2);
  const auto kept = DryRun();
  EXPECT_EQ(kept, (std::set<std::string>{"p0", "p1"}));
  EXPECT_EQ(*keeper_.Sweep(), 3);
  EXPECT_EQ(Visible(), kept);
  EXPECT_TRUE(repository_->protections["p4"].removed);
  EXPECT_EQ(EventsOf("RECOVERY_POINT_REMOVED").size(), 3u);
  EXPECT_EQ(*keeper_.Sweep(), 0);
}

TEST_F(RetentionKeeperTest, ANewPointMakesTheOldestGo) {
  KeepLast("nightly", 2);
  AddPoint("p1", now_ - absl::Hours(2));
  AddPoint("p2", now_ - absl::Hours(1));
  EXPECT_EQ(*keeper_.FollowEvents(), 0);
  AddPoint("p3", now_);
  EXPECT_EQ(*keeper_.FollowEvents(), 1);
  EXPECT_EQ(Visible(), (std::set<std::string>{"p2", "p3"}));
  EXPECT_EQ(*keeper_.FollowEvents(), 0);
}

TEST_F(RetentionKeeperTest, AChangedRuleIsAppliedToEverythingAtOnce) {
  for (int i = 0; i < 5; ++i) AddPoint("p" + std::to_string(i), now_ - absl::Hours(i));
  KeepLast("nightly", 4);
  EXPECT_EQ(*keeper_.FollowEvents(), 1);
  catalog::Policy policy = Get("nightly");
  policy.retention.last = 2;
  Write([&](catalog::Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.policies.Update(policy));
    return s.events.Append({.time = now_, .type = "POLICY_UPDATED", .resource = "policies/nightly"}).status();
  });
  EXPECT_EQ(*keeper_.FollowEvents(), 2);
  EXPECT_EQ(Visible(), (std::set<std::string>{"p0", "p1"}));
  EXPECT_EQ(*keeper_.FollowEvents(), 0);
}

TEST_F(RetentionKeeperTest, LabelsSelectPointsToo) {
  AddHost("h1", {});
  for (int i = 0; i < 3; ++i) AddPoint("p" + std::to_string(i), now_ - absl::Hours(i));
  KeepLast("prod", 1, "label.env=prod");
  EXPECT_EQ(*keeper_.Sweep(), 0);
  const catalog::HostId host("h1");
  Write([&](catalog::Stores& s) { return s.labels.Set({host, ""}, {{"env", "prod"}}); });
  Write([&](catalog::Stores& s) { return s.labels.Set({host, "u1"}, {{"env", "test"}}); });
  EXPECT_EQ(*keeper_.Sweep(), 0) << "its own label counts before its host's";
  Write([&](catalog::Stores& s) { return s.labels.Set({host, "u1"}, {}); });
  AddPoint("p3", now_ + absl::Hours(1));
  EXPECT_EQ(*keeper_.FollowEvents(), 3);
}

TEST_F(RetentionKeeperTest, WhatNoPolicySelectsStays) {
  for (int i = 0; i < 5; ++i) AddPoint("p" + std::to_string(i), now_ - absl::Hours(i));
  KeepLast("other", 1, "name=other*");
  EXPECT_EQ(*keeper_.Sweep(), 0);
  EXPECT_EQ(Visible().size(), 5u);
}

TEST_F(RetentionKeeperTest, EveryPolicyThatSelectsItSpeaks) {
  for (int i = 0; i < 5; ++i) AddPoint("p" + std::to_string(i), now_ - absl::Hours(i));
  KeepLast("a", 1);
  KeepLast("b", 3, "name=vm");
  EXPECT_EQ(*keeper_.Sweep(), 2);
  EXPECT_EQ(Visible(), (std::set<std::string>{"p0", "p1", "p2"}));
}

TEST_F(RetentionKeeperTest, HeldPointsAndTheNewestGoodOneStay) {
  for (int i = 0; i < 4; ++i) AddPoint("p" + std::to_string(i), now_ - absl::Hours(i));
  Write([&](catalog::Stores& s) {
    return s.recovery_points.SetProtection(catalog::RecoveryPointId("p3"), {.held = true, .held_by = "me"});
  });
  Write([&](catalog::Stores& s) {
    return s.verify.AddDamage({.repository = catalog::RepositoryId("main"),
                               .recovery_point = catalog::RecoveryPointId("p0"),
                               .disk = "vda",
                               .chunk_id = "c",
                               .reason = "X",
                               .message = "x",
                               .found_time = now_});
  });
  KeepLast("nightly", 1);
  EXPECT_EQ(*keeper_.Sweep(), 1);
  EXPECT_EQ(Visible(), (std::set<std::string>{"p0", "p1", "p3"}))
      << "p0 is damaged, p1 is the newest good one, p3 is held";
}

TEST_F(RetentionKeeperTest, TheThreadFollows) {
  KeepLast("nightly", 1);
  AddPoint("p1", now_ - absl::Hours(2));
  keeper_.Start();
  AddPoint("p2", now_ - absl::Hours(1));
  base::SystemClock real;
  const absl::Duration start = real.Monotonic();
  while (Visible().size() > 1 && real.Monotonic() - start < absl::Seconds(20)) real.Sleep(absl::Milliseconds(5));
  keeper_.Stop();
  EXPECT_EQ(Visible(), (std::set<std::string>{"p2"}));
}

}  // namespace
}  // namespace umbra::policies
