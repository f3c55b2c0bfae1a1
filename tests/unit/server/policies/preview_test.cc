// Proves which points a machine would have by now: those that retention keeps of a schedule that always ran, bounded,
// and quickly also where a schedule is dense and retention reaches far.
#include "server/policies/preview.h"

#include "tests/unit/server/policies/fixture.h"

namespace umbra::policies {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;

class PreviewTest : public PoliciesTest {
 protected:
  std::vector<retention::Verdict> Expected(catalog::Policy policy, absl::Time now) {
    const auto compiled = CompiledPolicy::Compile(policy);
    EXPECT_TRUE(compiled.ok()) << compiled.status();
    return ExpectedPoints(*compiled, now);
  }
  static absl::Time At(const std::string& text) {
    absl::Time time;
    std::string error;
    EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M", text, &time, &error)) << text << error;
    return time;
  }
  static std::vector<std::string> Times(const std::vector<retention::Verdict>& verdicts) {
    std::vector<std::string> times;
    for (const auto& verdict : verdicts)
      times.push_back(absl::FormatTime("%Y-%m-%d %H:%M", verdict.time, absl::UTCTimeZone()));
    return times;
  }
};

TEST_F(PreviewTest, RetentionIsSaturated) {
  catalog::Policy policy = MakePolicy("p", "all", {"daily at 22:00"});
  policy.retention = {.daily = 3, .weekly = 2, .yearly = 2};
  const auto points = Expected(policy, At("2026-11-26 12:00"));  // a Thursday
  EXPECT_THAT(Times(points), ElementsAre("2026-11-25 22:00", "2026-11-24 22:00", "2026-11-23 22:00", "2026-11-22 22:00",
                                         "2025-12-31 22:00"));
  EXPECT_THAT(points[0].kept_by, Contains("daily 1 of 3 (2026-11-25)"));
  EXPECT_THAT(points[3].kept_by, ElementsAre("weekly 2 of 2 (week of 2026-11-16)"));
  EXPECT_THAT(points[4].kept_by, ElementsAre("yearly 2 of 2 (2025)"));
}

TEST_F(PreviewTest, ADenseScheduleWithAFarRuleIsNoMoreWork) {
  catalog::Policy policy = MakePolicy("p", "all", {"every 10 seconds"});
  policy.retention = {.last = 2, .hourly = 1, .yearly = 5};
  const auto points = Expected(policy, At("2026-11-26 12:00"));
  EXPECT_THAT(Times(points), ElementsAre("2026-11-26 12:00", "2026-11-26 11:59", "2025-12-31 23:59", "2024-12-31 23:59",
                                         "2023-12-31 23:59", "2022-12-31 23:59"));
}

TEST_F(PreviewTest, ThereAreAtMostAThousand) {
  catalog::Policy policy = MakePolicy("p", "all", {"every minute"});
  EXPECT_EQ(Expected(policy, At("2026-11-26 12:00")).size(), kExpectedPointsMax) << "without rules everything stays";
  policy.retention.yearly = 1000;
  const auto points = Expected(policy, At("2026-11-26 12:00"));
  EXPECT_GT(points.size(), 50u);
  EXPECT_LE(points.size(), kExpectedPointsMax);
}

TEST_F(PreviewTest, WithoutAScheduleThereIsNone) {
  EXPECT_TRUE(Expected(MakePolicy("p", "all"), At("2026-11-26 12:00")).empty());
}

TEST_F(PreviewTest, WindowsMakeOneRunOfMany) {
  catalog::Policy policy = MakePolicy("p", "all", {"hourly"});
  policy.windows = {"daily 22:00-23:30"};
  policy.retention.last = 3;
  EXPECT_THAT(Times(Expected(policy, At("2026-11-26 12:00"))),
              ElementsAre("2026-11-25 23:00", "2026-11-25 22:00", "2026-11-24 23:00"));
}

TEST_F(PreviewTest, APolicyTakesThePlaceOfTheOneOfItsName) {
  const std::vector<catalog::Policy> there = {MakePolicy("a", "name=a"), MakePolicy("c", "name=c")};
  catalog::Policy changed = MakePolicy("c", "name=other");
  EXPECT_EQ(WithPolicy(there, changed).All().size(), 2u);
  EXPECT_EQ(WithPolicy(there, changed).Find(catalog::PolicyId("c"))->record().selection.expression, "name=other");
  catalog::Policy rest = MakePolicy("b", "");
  rest.selection.everything_else = true;
  const PolicySet set = WithPolicy(there, rest);
  ASSERT_EQ(set.All().size(), 3u);
  EXPECT_EQ(set.All()[1].record().id, catalog::PolicyId("b")) << "in order of their names";
  const catalog::Subject subject{.key = Key("h1", "x"), .display_name = "x", .host_name = "h1"};
  EXPECT_EQ(set.Covering(subject).size(), 1u) << "those that are there count for the rest";
}

}  // namespace
}  // namespace umbra::policies
