// Proves that every due time is part of exactly one run, whatever windows and missed time do to it.
#include "server/calendar/plan.h"

#include <algorithm>

#include "tests/unit/server/calendar/zones.h"

namespace umbra::calendar {
namespace {

using Texts = std::vector<std::string>;

Plan Must(const Texts& schedules, const std::string& zone, const Texts& windows = {}, const Texts& closed = {}) {
  auto plan = Plan::Parse(schedules, zone, windows, closed);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return *plan;
}

absl::Time At(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M", text, &time, &error)) << text << error;
  return time;
}

TEST(PlanTest, SeveralSchedulesAreOnePlan) {
  const Plan plan = Must({"daily at 22:00", "weekly on sun at 12:00", "0 12 * * sun"}, "UTC");
  auto run = plan.Next(At("2026-11-28 22:00"));
  ASSERT_TRUE(run);
  EXPECT_EQ(run->start, At("2026-11-29 12:00")) << "once, although two schedules name it";
  EXPECT_EQ(plan.Next(run->due)->start, At("2026-11-29 22:00"));
  EXPECT_EQ(Must({}, "UTC").Next(At("2026-11-28 22:00")), std::nullopt);
}

TEST(PlanTest, ADueTimeOutsideTheWindowsWaitsAndTakesOthersWithIt) {
  const Plan plan = Must({"hourly"}, "UTC", {"daily 22:00-23:30"});
  const auto run = plan.Next(At("2026-11-28 23:00"));
  ASSERT_TRUE(run);
  EXPECT_EQ(run->first_due, At("2026-11-29 00:00"));
  EXPECT_EQ(run->due, At("2026-11-29 22:00"));
  EXPECT_EQ(run->start, At("2026-11-29 22:00"));
  EXPECT_EQ(run->until, At("2026-11-29 23:30"));
  EXPECT_EQ(plan.Next(run->due)->start, At("2026-11-29 23:00"));
}

TEST(PlanTest, WhatWasMissedRunsOnce) {
  const Plan plan = Must({"every 10 seconds"}, "UTC");
  const absl::Time done = At("2026-01-01 00:00");
  EXPECT_EQ(plan.Ready(done, done + absl::Seconds(9)), std::nullopt);
  EXPECT_EQ(plan.Ready(done, done + absl::Seconds(10))->due, done + absl::Seconds(10));
  const auto run = plan.Ready(done, done + absl::Hours(24 * 365) + absl::Seconds(7));
  ASSERT_TRUE(run);
  EXPECT_EQ(run->due, done + absl::Hours(24 * 365));
  EXPECT_EQ(plan.Ready(run->due, done + absl::Hours(24 * 365) + absl::Seconds(9)), std::nullopt);
}

TEST(PlanTest, WhatWasMissedWaitsForTheNextWindow) {
  const Plan plan = Must({"daily at 22:00"}, "UTC", {"daily 20:00-06:00"});
  const absl::Time done = At("2026-11-20 22:00");
  EXPECT_EQ(plan.Ready(done, At("2026-11-24 12:00")), std::nullopt) << "closed";
  const auto run = plan.Ready(done, At("2026-11-24 20:00"));
  ASSERT_TRUE(run);
  EXPECT_EQ(run->due, At("2026-11-23 22:00"));
  EXPECT_EQ(run->until, At("2026-11-25 06:00"));
}

TEST(PlanTest, LooksBackFromRunToRun) {
  const Plan plan = Must({"daily at 22:00", "monthly on 1 at 12:00"}, "UTC");
  const absl::Time now = At("2026-12-01 21:59");
  auto run = plan.Previous(now, now);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->due, At("2026-12-01 12:00"));
  run = plan.Previous(run->due, now);
  ASSERT_TRUE(run);
  EXPECT_EQ(run->due, At("2026-11-30 22:00"));
  EXPECT_EQ(plan.Previous(At("2026-11-02 00:00"), now)->due, At("2026-11-01 22:00"));
  EXPECT_EQ(Must({}, "UTC").Previous(now, now), std::nullopt);
  EXPECT_EQ(Must({"yearly on 02-29"}, "UTC").Previous(now, now)->due, At("2024-02-29 00:00"));
}

TEST(PlanTest, LookingBackARunThatHasNotBegunIsNone) {
  const Plan plan = Must({"hourly"}, "UTC", {"daily 22:00-23:30"});
  const auto run = plan.Previous(At("2026-11-29 12:00"), At("2026-11-29 12:00"));
  ASSERT_TRUE(run);
  EXPECT_EQ(run->due, At("2026-11-28 23:00")) << "what was due since waits for 22:00";
  EXPECT_EQ(plan.Previous(At("2026-11-28 23:00"), At("2026-11-29 12:00"))->due, At("2026-11-28 22:00"))
      << "with all that was due since 00:00";
  EXPECT_EQ(plan.Previous(At("2026-11-28 22:00"), At("2026-11-29 12:00"))->due, At("2026-11-27 23:00"));
}

TEST(PlanPropertyTest, LookingBackGivesTheRunsThatLookingAheadGives) {
  std::mt19937_64 random(Seed());
  const std::vector<std::string> names = ZoneNames();
  const Texts schedules[] = {{"hourly"},
                             {"daily at 02:30,22:00", "*/40 1-3 * * *"},
                             {"every 25 minutes"},
                             {"0 */3 * * *"},
                             {"weekly on sun at 02:30", "monthly on last at 23:00"}};
  const Texts windows[] = {
      {}, {"daily 01:00-05:00"}, {"mon-fri 20:00-06:00", "sat,sun 00:00-24:00"}, {"daily 02:10-02:50"}};
  for (int round = 0; round < 200; ++round) {
    const std::string& name = names[Below(random, static_cast<int64_t>(names.size()))];
    const Plan plan = Must(schedules[Below(random, 5)], name, windows[Below(random, 4)]);
    const absl::Time begin = RandomChange(Zone(name), random) - absl::Hours(60 + Below(random, 500));
    const absl::Time now = begin + absl::Hours(100 + Below(random, 600));
    std::vector<absl::Time> ahead, back;
    for (auto run = plan.Next(begin); run && run->start <= now; run = plan.Next(run->due)) ahead.push_back(run->due);
    for (auto run = plan.Previous(now + absl::Nanoseconds(1), now); run && run->due > begin;
         run = plan.Previous(run->due, now)) {
      back.push_back(run->due);
      ASSERT_LE(run->start, now);
      ASSERT_TRUE(plan.openings().IsOpen(run->start, plan.zone()));
    }
    std::ranges::reverse(back);
    ASSERT_EQ(back, ahead) << name;
  }
}

TEST(PlanPropertyTest, EveryDueTimeIsPartOfExactlyOneRun) {
  std::mt19937_64 random(Seed());
  const std::vector<std::string> names = ZoneNames();
  const Texts schedules[] = {
      {"hourly"}, {"daily at 02:30,22:00", "*/40 1-3 * * *"}, {"every 25 minutes"}, {"0 */3 * * *"}};
  const Texts windows[] = {
      {}, {"daily 01:00-05:00"}, {"mon-fri 20:00-06:00", "sat,sun 00:00-24:00"}, {"daily 02:10-02:50"}};
  for (int round = 0; round < 400; ++round) {
    const std::string& name = names[Below(random, static_cast<int64_t>(names.size()))];
    const Texts& when = schedules[Below(random, 4)];
    const Plan open = Must(when, name);
    const Plan plan = Must(when, name, windows[Below(random, 4)]);
    const absl::Time begin = RandomChange(Zone(name), random) - absl::Hours(30);
    // Now and then somebody asks; sometimes nobody does for long.
    absl::Time done = begin;
    absl::Time now = begin;
    std::vector<calendar::Run> runs;
    while (now < begin + absl::Hours(100)) {
      now += absl::Minutes(Below(random, 10) == 0 ? Below(random, 900) : 1 + Below(random, 20));
      const auto run = plan.Ready(done, now);
      if (!run) continue;
      ASSERT_GT(run->first_due, done);
      ASSERT_GE(run->due, run->first_due);
      ASSERT_GE(run->start, run->due);
      ASSERT_LE(run->start, now);
      ASSERT_TRUE(plan.openings().IsOpen(run->start, plan.zone()));
      done = run->due;
      runs.push_back(*run);
    }
    absl::Time at = begin;
    for (const calendar::Run& run : runs) {
      // The due times of a run are those that follow on the last one's: none is left out, none comes twice.
      ASSERT_EQ(open.Next(at)->due, run.first_due) << name;
      while (at < run.due) at = open.Next(at)->due;
      ASSERT_EQ(at, run.due) << name;
    }
  }
}

}  // namespace
}  // namespace umbra::calendar
