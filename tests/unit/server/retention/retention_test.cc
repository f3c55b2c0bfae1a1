// Proves which points each rule keeps, and over random histories that retention is idempotent, monotone, and never
// takes the newest good point, a held one or a locked one. Random tests print their seed.
#include "server/retention/retention.h"

#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <map>
#include <random>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace umbra::retention {
namespace {

using ::testing::ElementsAre;
using ::testing::UnorderedElementsAre;

absl::TimeZone Berlin() {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone("Europe/Berlin", &zone));
  return zone;
}

absl::Time At(const std::string& text) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M%z", text, &time, &error)) << text << error;
  return time;
}

// Named after their times.
std::vector<Point> Points(const std::vector<std::string>& times) {
  std::vector<Point> points;
  for (const std::string& time : times) points.push_back({time, At(time)});
  return points;
}

std::set<std::string> KeptBy(const std::vector<Point>& points, const std::vector<RuleSet>& sets) {
  std::set<std::string> kept;
  for (const Verdict& verdict : Decide(points, sets)) {
    if (verdict.keeps()) kept.insert(verdict.id);
  }
  return kept;
}

std::set<std::string> Kept(const std::vector<Point>& points, const Rules& rules) {
  return KeptBy(points, {{"p", rules, Berlin()}});
}

TEST(RetentionTest, LastKeepsTheNewest) {
  const auto points = Points({"2026-01-01 10:00+0000", "2026-01-03 10:00+0000", "2026-01-02 10:00+0000"});
  EXPECT_THAT(Kept(points, {.last = 2}), UnorderedElementsAre("2026-01-02 10:00+0000", "2026-01-03 10:00+0000"));
}

TEST(RetentionTest, DaysAreThoseOfTheZone) {
  // 23:30 UTC is the next day in Berlin.
  const auto points = Points({"2026-01-01 12:00+0000", "2026-01-01 23:30+0000", "2026-01-02 12:00+0000"});
  EXPECT_THAT(Kept(points, {.daily = 7}), UnorderedElementsAre("2026-01-01 12:00+0000", "2026-01-02 12:00+0000"));
}

TEST(RetentionTest, PeriodsWithoutPointsDoNotCount) {
  const auto points = Points({"2025-03-01 12:00+0000", "2026-01-02 12:00+0000", "2026-06-02 12:00+0000"});
  EXPECT_EQ(Kept(points, {.monthly = 3}).size(), 3u);
  EXPECT_THAT(Kept(points, {.yearly = 2}), UnorderedElementsAre("2025-03-01 12:00+0000", "2026-06-02 12:00+0000"));
}

TEST(RetentionTest, WeeksBeginOnMonday) {
  const auto points = Points({"2026-11-22 12:00+0000", "2026-11-23 12:00+0000", "2026-11-29 12:00+0000"});
  EXPECT_THAT(Kept(points, {.weekly = 2}), UnorderedElementsAre("2026-11-22 12:00+0000", "2026-11-29 12:00+0000"));
}

TEST(RetentionTest, AnHourShownTwiceIsTwoHours) {
  const auto points =
      Points({"2026-10-25 02:10+0200", "2026-10-25 02:40+0200", "2026-10-25 02:10+0100", "2026-10-25 02:40+0100"});
  EXPECT_THAT(Kept(points, {.hourly = 5}), UnorderedElementsAre("2026-10-25 02:40+0200", "2026-10-25 02:40+0100"));
}

TEST(RetentionTest, WithinIsCountedFromTheNewestPoint) {
  const auto points = Points({"2026-01-01 12:00+0000", "2026-01-05 12:00+0000", "2026-01-08 12:00+0000"});
  EXPECT_THAT(Kept(points, {.within = absl::Hours(72)}),
              UnorderedElementsAre("2026-01-05 12:00+0000", "2026-01-08 12:00+0000"));
}

TEST(RetentionTest, EachReasonIsTold) {
  auto points = Points({"2026-01-01 12:00+0000", "2026-01-02 12:00+0000", "2026-01-02 13:00+0000"});
  points[0].held = true;
  const auto verdicts = Decide(points, std::vector<RuleSet>{{"nightly", {.last = 1, .daily = 7}, Berlin()}});
  ASSERT_EQ(verdicts.size(), 3u);
  EXPECT_THAT(verdicts[0].kept_by,
              ElementsAre("newest good point", "nightly: last 1 of 1", "nightly: daily 1 of 7 (2026-01-02)"));
  EXPECT_THAT(verdicts[1].kept_by, ElementsAre());
  EXPECT_THAT(verdicts[2].kept_by, ElementsAre("held", "nightly: daily 2 of 7 (2026-01-01)"));
}

TEST(RetentionTest, WithoutRulesEverythingStays) {
  const auto points = Points({"2026-01-01 12:00+0000", "2026-01-02 12:00+0000"});
  EXPECT_EQ(Kept(points, Rules{}).size(), 2u);
  EXPECT_EQ(KeptBy(points, std::vector<RuleSet>{}).size(), 2u);
  EXPECT_EQ(KeptBy(points, {{"a", {.last = 1}, Berlin()}, {"b", {}, Berlin()}}).size(), 2u);
  EXPECT_TRUE(Decide({}, {}).empty());
}

TEST(RetentionTest, DamagedPointsTakeNoGoodOnesPlace) {
  auto points = Points({"2026-01-01 12:00+0000", "2026-01-02 12:00+0000", "2026-01-03 12:00+0000"});
  points[2].good = false;
  EXPECT_THAT(Kept(points, {.last = 1}), UnorderedElementsAre("2026-01-03 12:00+0000", "2026-01-02 12:00+0000"));
  for (Point& point : points) point.good = false;
  EXPECT_THAT(Kept(points, {.yearly = 0, .within = absl::Seconds(1)}), UnorderedElementsAre("2026-01-03 12:00+0000"));
}

TEST(RetentionTest, APointStaysWhileAnyPolicyWantsIt) {
  const auto points = Points({"2026-01-01 12:00+0000", "2026-02-01 12:00+0000", "2026-02-02 12:00+0000"});
  EXPECT_EQ(KeptBy(points, {{"a", {.last = 1}, Berlin()}, {"b", {.monthly = 2}, Berlin()}}),
            (std::set<std::string>{"2026-01-01 12:00+0000", "2026-02-02 12:00+0000"}));
}

// ---- Properties ----

class RetentionPropertyTest : public ::testing::Test {
 protected:
  RetentionPropertyTest() : seed_(Pick()), random_(seed_) {
    std::cout << "UMBRA_RETENTION_SEED=" << seed_ << std::endl;
  }
  static uint64_t Pick() {
    const char* const given = std::getenv("UMBRA_RETENTION_SEED");
    return given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  }
  int64_t Below(int64_t end) { return std::uniform_int_distribution<int64_t>(0, end - 1)(random_); }

  std::vector<Point> RandomPoints() {
    std::vector<Point> points;
    const int64_t span = 1 + Below(3) * Below(1200);  // days
    for (int64_t i = Below(60); i > 0; --i) {
      const absl::Time time = absl::FromUnixSeconds(1'700'000'000 + Below(span * 86'400));
      points.push_back({"p" + std::to_string(i), time, Below(8) != 0, Below(12) == 0, Below(12) == 0});
    }
    return points;
  }
  Rules RandomRules() {
    const auto count = [&] { return static_cast<int32_t>(Below(2) * Below(6)); };
    return {count(), count(), count(), count(), count(), count(), absl::Hours(24) * (Below(3) == 0 ? Below(30) : 0)};
  }
  std::vector<RuleSet> RandomSets() {
    std::vector<RuleSet> sets;
    for (int64_t i = 1 + Below(3); i > 0; --i) sets.push_back({"s" + std::to_string(i), RandomRules(), Berlin()});
    return sets;
  }

  const uint64_t seed_;
  std::mt19937_64 random_;
};

TEST_F(RetentionPropertyTest, TheLastGoodOneAndProtectedOnesNeverGo) {
  for (int round = 0; round < 3000; ++round) {
    const auto points = RandomPoints();
    const auto kept = KeptBy(points, RandomSets());
    const Point* newest = nullptr;
    for (const Point& point : points) {
      ASSERT_TRUE(!(point.held || point.locked) || kept.contains(point.id));
      if (point.good && (newest == nullptr || std::tie(point.time, point.id) > std::tie(newest->time, newest->id)))
        newest = &point;
    }
    ASSERT_TRUE(newest == nullptr || kept.contains(newest->id));
    ASSERT_EQ(kept.empty(), points.empty());
  }
}

TEST_F(RetentionPropertyTest, ASecondTimeRemovesNothing) {
  for (int round = 0; round < 3000; ++round) {
    auto points = RandomPoints();
    const auto sets = RandomSets();
    const auto kept = KeptBy(points, sets);
    std::erase_if(points, [&](const Point& point) { return !kept.contains(point.id); });
    ASSERT_EQ(KeptBy(points, sets), kept) << round;
  }
}

TEST_F(RetentionPropertyTest, AHigherCountOrAnotherPolicyNeverRemovesMore) {
  for (int round = 0; round < 3000; ++round) {
    const auto points = RandomPoints();
    auto sets = RandomSets();
    const auto kept = KeptBy(points, sets);
    Rules& rules = sets.front().rules;
    // A rule set without rules keeps everything: a first rule is no higher count.
    if (!rules.KeepsAll()) {
      int32_t* const counts[] = {&rules.last,   &rules.hourly,  &rules.daily,
                                 &rules.weekly, &rules.monthly, &rules.yearly};
      *counts[Below(6)] += 1 + static_cast<int32_t>(Below(5));
      rules.within += absl::Hours(Below(100));
    }
    const auto more = KeptBy(points, sets);
    ASSERT_TRUE(std::ranges::includes(more, kept)) << round;
    sets.push_back({"another", RandomRules(), Berlin()});
    ASSERT_TRUE(std::ranges::includes(KeptBy(points, sets), more)) << round;
  }
}

TEST_F(RetentionPropertyTest, TheOrderOfPointsAndPoliciesDoesNotMatter) {
  for (int round = 0; round < 1000; ++round) {
    auto points = RandomPoints();
    auto sets = RandomSets();
    const auto kept = KeptBy(points, sets);
    std::ranges::shuffle(points, random_);
    std::ranges::reverse(sets);
    ASSERT_EQ(KeptBy(points, sets), kept) << round;
  }
}

// The newest of `points` (newest first) before `before`.
const Point* NewestBefore(const std::vector<Point>& points, absl::Time before) {
  const auto found = std::ranges::find_if(points, [&](const Point& point) { return point.time < before; });
  return found == points.end() ? nullptr : &*found;
}

TEST_F(RetentionPropertyTest, AWalkGoesToEveryPointThatStays) {
  const char* const zones[] = {"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"};
  for (int round = 0; round < 600; ++round) {
    absl::TimeZone zone;
    ASSERT_TRUE(absl::LoadTimeZone(zones[Below(4)], &zone));
    // Regular, as schedules make them, over a year and more: minutes to weeks apart.
    const absl::Duration step = absl::Minutes(20 + Below(2) * Below(10'000));
    std::vector<Point> points;
    absl::Time time = absl::FromUnixSeconds(1'700'000'000 + Below(40'000'000));
    for (int64_t i = 0; i < 3000; ++i, time -= step) points.push_back({std::to_string(i), time});
    Rules rules = RandomRules();
    if (rules.KeepsAll()) rules.daily = 3;
    const RuleSet set{"", rules, zone};
    std::vector<Point> visited;
    Walk walk(set);
    std::optional<absl::Time> before = absl::InfiniteFuture();
    while (before) {
      const Point* const next = NewestBefore(points, *before);
      if (next == nullptr) break;
      visited.push_back(*next);
      before = walk.Before(next->time);
      ASSERT_TRUE(!before || *before <= next->time);
    }
    const auto told = [&](const std::vector<Point>& among) {
      std::map<std::string, std::vector<std::string>> kept;
      for (const Verdict& verdict : Decide(among, std::vector{set})) {
        if (verdict.keeps()) kept[verdict.id] = verdict.kept_by;
      }
      return kept;
    };
    ASSERT_EQ(told(visited), told(points)) << round;
    // Where the clocks change within an hour the walk goes from point to point; elsewhere nearly all stay.
    ASSERT_LE(visited.size(), told(visited).size() + 30) << round;
  }
}

TEST(RetentionTest, WithoutANameReasonsHaveNone) {
  const auto points = Points({"2026-01-01 12:00+0000", "2026-01-02 12:00+0000"});
  const auto verdicts = Decide(points, std::vector<RuleSet>{{"", {.daily = 7}, Berlin()}});
  EXPECT_THAT(verdicts[1].kept_by, ElementsAre("daily 2 of 7 (2026-01-01)"));
  EXPECT_THAT(Decide(points, std::vector<RuleSet>{{"", {}, Berlin()}})[1].kept_by, ElementsAre("keeps everything"));
}

TEST(RetentionTest, AWalkEndsWhenNothingOlderWouldStay) {
  Walk walk({"", {.last = 2}, Berlin()});
  const absl::Time newest = At("2026-01-02 12:00+0000");
  EXPECT_EQ(walk.Before(newest), newest);
  EXPECT_EQ(walk.Before(newest - absl::Hours(1)), std::nullopt);
  Walk all({"", {}, Berlin()});
  EXPECT_EQ(all.Before(newest), newest);
}

}  // namespace
}  // namespace umbra::retention
