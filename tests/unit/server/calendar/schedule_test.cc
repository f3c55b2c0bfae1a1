// Proves what schedule expressions mean, and the laws of due times over every time zone of the machine: each local time
// is due exactly once, also over both changes of the clocks. Random tests print their seed.
#include "server/calendar/schedule.h"

#include <set>

#include "server/calendar/words.h"
#include "storage/base/status.h"
#include "tests/unit/server/calendar/zones.h"

namespace umbra::calendar {
namespace {

Schedule Must(std::string_view text) {
  auto schedule = Schedule::Parse(text);
  EXPECT_TRUE(schedule.ok()) << schedule.status();
  return schedule.ok() ? *schedule : *Schedule::Parse("daily");
}

absl::Time At(const std::string& text, const absl::TimeZone& zone) {
  absl::Time time;
  std::string error;
  EXPECT_TRUE(absl::ParseTime("%Y-%m-%d %H:%M:%E*S", text, zone, &time, &error)) << text << error;
  return time;
}

// The next `count` due times after `after`, in local time with the offset.
std::vector<std::string> Next(std::string_view schedule, const std::string& after, const std::string& zone_name,
                              int count) {
  const absl::TimeZone zone = Zone(zone_name);
  const Schedule parsed = Must(schedule);
  std::vector<std::string> due;
  absl::Time at = At(after, zone);
  for (int i = 0; i < count; ++i) {
    const auto next = parsed.NextAfter(at, zone);
    if (!next) break;
    at = *next;
    due.push_back(absl::FormatTime("%Y-%m-%d %H:%M%z", at, zone));
  }
  return due;
}

using Times = std::vector<std::string>;

TEST(ScheduleTest, EachFormMeansWhatItSays) {
  EXPECT_EQ(Next("daily at 22:00", "2026-03-01 21:59:59", "UTC", 2),
            (Times{"2026-03-01 22:00+0000", "2026-03-02 22:00+0000"}));
  EXPECT_EQ(Next("daily at 22:00", "2026-03-01 22:00:00", "UTC", 1), (Times{"2026-03-02 22:00+0000"}))
      << "after, not at";
  EXPECT_EQ(Next("Daily  at 06:00, 18:30", "2026-03-01 00:00:00", "UTC", 3),
            (Times{"2026-03-01 06:00+0000", "2026-03-01 18:30+0000", "2026-03-02 06:00+0000"}));
  EXPECT_EQ(Next("daily", "2026-03-01 12:00:00", "UTC", 1), (Times{"2026-03-02 00:00+0000"}));
  EXPECT_EQ(Next("weekdays at 01:00", "2026-11-27 12:00:00", "UTC", 1), (Times{"2026-11-30 01:00+0000"})) << "a Friday";
  EXPECT_EQ(Next("weekends at 01:00", "2026-11-27 12:00:00", "UTC", 3),
            (Times{"2026-11-28 01:00+0000", "2026-11-29 01:00+0000", "2026-12-05 01:00+0000"}));
  EXPECT_EQ(Next("weekly on sat,sun at 03:30", "2026-11-26 00:00:00", "UTC", 2),
            (Times{"2026-11-28 03:30+0000", "2026-11-29 03:30+0000"}));
  EXPECT_EQ(
      Next("weekly on fri-mon at 03:30", "2026-11-26 00:00:00", "UTC", 4),
      (Times{"2026-11-27 03:30+0000", "2026-11-28 03:30+0000", "2026-11-29 03:30+0000", "2026-11-30 03:30+0000"}));
  EXPECT_EQ(
      Next("monthly on 1,last at 02:00", "2026-01-15 00:00:00", "UTC", 4),
      (Times{"2026-01-31 02:00+0000", "2026-02-01 02:00+0000", "2026-02-28 02:00+0000", "2026-03-01 02:00+0000"}));
  EXPECT_EQ(Next("monthly on first sun,last fri at 02:00", "2026-11-02 00:00:00", "UTC", 3),
            (Times{"2026-11-27 02:00+0000", "2026-12-06 02:00+0000", "2026-12-25 02:00+0000"}));
  EXPECT_EQ(Next("monthly on 31", "2026-04-01 00:00:00", "UTC", 2),
            (Times{"2026-05-31 00:00+0000", "2026-07-31 00:00+0000"}))
      << "April has none";
  EXPECT_EQ(Next("yearly on 12-31 at 23:00", "2026-12-31 23:00:00", "UTC", 1), (Times{"2027-12-31 23:00+0000"}));
  EXPECT_EQ(Next("hourly", "2026-03-01 21:10:00", "UTC", 2), (Times{"2026-03-01 22:00+0000", "2026-03-01 23:00+0000"}));
  EXPECT_EQ(Next("hourly at :15", "2026-03-01 21:10:00", "UTC", 1), (Times{"2026-03-01 21:15+0000"}));
}

TEST(ScheduleTest, CronIsReadAsUsual) {
  EXPECT_EQ(Next("30 2 * * mon-fri", "2026-11-27 12:00:00", "UTC", 1), (Times{"2026-11-30 02:30+0000"}));
  EXPECT_EQ(Next("*/20 9-10 * * *", "2026-11-27 09:10:00", "UTC", 6),
            (Times{"2026-11-27 09:20+0000", "2026-11-27 09:40+0000", "2026-11-27 10:00+0000", "2026-11-27 10:20+0000",
                   "2026-11-27 10:40+0000", "2026-11-28 09:00+0000"}));
  EXPECT_EQ(Next("0 0 L * *", "2028-02-01 12:00:00", "UTC", 1), (Times{"2028-02-29 00:00+0000"}));
  EXPECT_EQ(Next("0 0 13 * fri", "2026-11-10 12:00:00", "UTC", 2),
            (Times{"2026-11-13 00:00+0000", "2026-11-20 00:00+0000"}))
      << "either is enough";
  EXPECT_EQ(Next("0 0 1 JAN,jul *", "2026-02-01 00:00:00", "UTC", 1), (Times{"2026-07-01 00:00+0000"}));
  EXPECT_EQ(Next("5/30 0 * * *", "2026-02-01 00:00:00", "UTC", 2),
            (Times{"2026-02-01 00:05+0000", "2026-02-01 00:35+0000"}));
  EXPECT_EQ(Next("0 0 * * 0", "2026-11-26 00:00:00", "UTC", 1), Next("0 0 * * 7", "2026-11-26 00:00:00", "UTC", 1));
  EXPECT_EQ(Next("0 0 * * 7", "2026-11-26 00:00:00", "UTC", 1), (Times{"2026-11-29 00:00+0000"}));
}

TEST(ScheduleTest, IntervalsCountElapsedTime) {
  EXPECT_EQ(Next("every 15 minutes", "2026-03-01 21:10:00", "UTC", 2),
            (Times{"2026-03-01 21:15+0000", "2026-03-01 21:30+0000"}));
  EXPECT_EQ(Next("every 6 hours", "2026-03-29 00:00:00", "Europe/Berlin", 3),
            (Times{"2026-03-29 01:00+0100", "2026-03-29 08:00+0200", "2026-03-29 14:00+0200"}));
  const Schedule ten = Must("every 10 seconds");
  const absl::Time start = absl::FromUnixSeconds(1'000'000'005) + absl::Milliseconds(3);
  EXPECT_EQ(ten.NextAfter(start, absl::UTCTimeZone()), absl::FromUnixSeconds(1'000'000'010));
  EXPECT_EQ(ten.NextAfter(absl::FromUnixSeconds(1'000'000'010), absl::UTCTimeZone()),
            absl::FromUnixSeconds(1'000'000'020));
  EXPECT_EQ(ten.NextAfter(absl::FromUnixSeconds(-5), absl::UTCTimeZone()), absl::UnixEpoch());
  EXPECT_EQ(Must("every minute").interval(), absl::Minutes(1));
  EXPECT_EQ(Must("every hour").interval(), absl::Hours(1));
}

TEST(ScheduleTest, WhatTheClocksSkipRunsWhenTheGapEnds) {
  EXPECT_EQ(Next("daily at 02:30", "2026-03-28 12:00:00", "Europe/Berlin", 2),
            (Times{"2026-03-29 03:00+0200", "2026-03-30 02:30+0200"}));
  EXPECT_EQ(Next("daily at 02:15,02:30,03:00", "2026-03-28 12:00:00", "Europe/Berlin", 2),
            (Times{"2026-03-29 03:00+0200", "2026-03-30 02:15+0200"}))
      << "what falls on one instant is one";
  EXPECT_EQ(Next("daily at 22:00", "2011-12-29 23:00:00", "Pacific/Apia", 2),
            (Times{"2011-12-31 00:00+1400", "2011-12-31 22:00+1400"}))
      << "a whole day was skipped";
}

TEST(ScheduleTest, WhatTheClocksShowTwiceRunsOnce) {
  EXPECT_EQ(Next("daily at 02:30", "2026-10-24 12:00:00", "Europe/Berlin", 2),
            (Times{"2026-10-25 02:30+0200", "2026-10-26 02:30+0100"}));
  EXPECT_EQ(Next("*/30 1-3 * * *", "2026-10-25 00:00:00", "Europe/Berlin", 7),
            (Times{"2026-10-25 01:00+0200", "2026-10-25 01:30+0200", "2026-10-25 02:00+0200", "2026-10-25 02:30+0200",
                   "2026-10-25 03:00+0100", "2026-10-25 03:30+0100", "2026-10-26 01:00+0100"}));
  // Lord Howe goes back half an hour, at 02:00.
  EXPECT_EQ(Next("daily at 01:45", "2026-04-04 12:00:00", "Australia/Lord_Howe", 2),
            (Times{"2026-04-05 01:45+1100", "2026-04-06 01:45+1030"}));
}

TEST(ScheduleTest, WhatNamesNoHourRunsInEveryHourThatPasses) {
  EXPECT_EQ(Next("hourly", "2026-10-25 01:30:00", "Europe/Berlin", 3),
            (Times{"2026-10-25 02:00+0200", "2026-10-25 02:00+0100", "2026-10-25 03:00+0100"}));
  EXPECT_EQ(Next("30 * * * *", "2026-03-29 01:00:00", "Europe/Berlin", 3),
            (Times{"2026-03-29 01:30+0100", "2026-03-29 03:00+0200", "2026-03-29 03:30+0200"}));
}

TEST(ScheduleTest, LeapDaysComeInLeapYearsOnly) {
  EXPECT_EQ(Next("yearly on 02-29 at 04:00", "2096-02-29 04:00:00", "UTC", 2),
            (Times{"2104-02-29 04:00+0000", "2108-02-29 04:00+0000"}));
}

TEST(ScheduleTest, WhatIsNoScheduleIsRefused) {
  for (const char* text : {"",
                           "  ",
                           "sometimes",
                           "daily at",
                           "daily at 24:00",
                           "daily at 7",
                           "daily 22:00",
                           "weekly",
                           "weekly on",
                           "weekly on at 03:00",
                           "weekly on xyz",
                           "monthly on 0",
                           "monthly on 32",
                           "monthly on fifth sun",
                           "yearly on 13-01",
                           "yearly on 02-30",
                           "every",
                           "every 0 minutes",
                           "every -1 minutes",
                           "every 5 fortnights",
                           "every 999999 hours",
                           "hourly at 15",
                           "60 * * * *",
                           "* 24 * * *",
                           "* * 0 * *",
                           "* * * 13 *",
                           "* * * * 8",
                           "*/0 * * * *",
                           "5-1 * * * *",
                           "0 0 30 2 *",
                           "* * * *",
                           "* * * * * *",
                           "1,,2 * * * *",
                           "daily at 22:00 please",
                           "daily at 22:0x"}) {
    const auto schedule = Schedule::Parse(text);
    EXPECT_EQ(base::ReasonOf(schedule.status()), "INVALID_SCHEDULE") << '"' << text << '"';
  }
}

TEST(ScheduleTest, ZonesAreThoseOfTheDatabase) {
  EXPECT_TRUE(LoadZone("Europe/Berlin").ok());
  EXPECT_EQ(*LoadZone(""), absl::UTCTimeZone());
  for (const char* name : {"Mars/Olympus", "/etc/localtime", "../../etc/passwd", ":UTC"}) {
    EXPECT_EQ(base::ReasonOf(LoadZone(name).status()), "INVALID_TIME_ZONE") << name;
  }
}

TEST(ScheduleTest, TheSpreadIsEvenAndAlwaysTheSame) {
  EXPECT_EQ(SpreadOffset("nightly", "a", absl::ZeroDuration()), absl::ZeroDuration());
  EXPECT_EQ(SpreadOffset("nightly", "host1/vm1", absl::Hours(1)), absl::Seconds(341)) << "kept for good";
  std::vector<int> tenths(10);
  for (int i = 0; i < 10'000; ++i) {
    const absl::Duration offset = SpreadOffset("nightly", "host/vm" + std::to_string(i), absl::Hours(1));
    ASSERT_GE(offset, absl::ZeroDuration());
    ASSERT_LT(offset, absl::Hours(1));
    ++tenths[offset / absl::Minutes(6)];
  }
  for (const int count : tenths) EXPECT_NEAR(count, 1000, 150);
}

// ---- Properties over all zones ----

std::string RandomSchedule(std::mt19937_64& random) {
  const auto minute = [&] { return std::to_string(Below(random, 60)); };
  switch (Below(random, 6)) {
    case 0:
      return "hourly at :" + std::string(1, static_cast<char>('0' + Below(random, 6))) + "0";
    case 1:
      return "*/" + std::to_string(1 + Below(random, 59)) + " * * * *";
    case 2:
      return minute() + " " + std::to_string(Below(random, 24)) + " * * *";
    case 3:
      return "*/" + std::to_string(1 + Below(random, 59)) + " 0-4,23 * * *";
    case 4:
      return minute() + " */" + std::to_string(1 + Below(random, 23)) + " L,1 * sun";
    default:
      return "*/7 " + std::to_string(Below(random, 24)) + " * * sat,sun";
  }
}

// The law, written down anew: walks local minutes, not instants.
std::set<absl::Time> Model(const Schedule& schedule, const absl::TimeZone& zone, absl::Time from, absl::Time to) {
  std::set<absl::Time> due;
  const auto add = [&](absl::Time t) {
    if (t > from && t <= to) due.insert(t);
  };
  const absl::CivilMinute end = absl::ToCivilMinute(to, zone) + 25 * 60;
  for (absl::CivilMinute local = absl::ToCivilMinute(from, zone) - 25 * 60; local <= end; ++local) {
    if (!schedule.MatchesLocal(absl::CivilSecond(local))) continue;
    const absl::TimeZone::TimeInfo info = zone.At(absl::CivilSecond(local));
    if (info.kind == absl::TimeZone::TimeInfo::SKIPPED) {
      add(info.trans);
      continue;
    }
    add(info.pre);
    if (info.kind == absl::TimeZone::TimeInfo::REPEATED && !schedule.names_hours()) add(info.post);
  }
  return due;
}

TEST(SchedulePropertyTest, EveryDueTimeComesExactlyOnceInEveryZone) {
  std::mt19937_64 random(Seed());
  const std::vector<std::string> names = ZoneNames();
  ASSERT_GT(names.size(), 500u);
  for (const std::string& name : names) {
    const absl::TimeZone zone = Zone(name);
    for (int round = 0; round < 3; ++round) {
      const absl::Time change = RandomChange(zone, random);
      const absl::Time from = change - absl::Hours(20) - absl::Seconds(Below(random, 7200));
      const absl::Time to = change + absl::Hours(20) + absl::Seconds(Below(random, 7200));
      const std::string text = RandomSchedule(random);
      const Schedule schedule = Must(text);
      const std::set<absl::Time> expected = Model(schedule, zone, from, to);
      std::vector<absl::Time> walked;
      for (auto at = schedule.NextAfter(from, zone); at && *at <= to; at = schedule.NextAfter(*at, zone)) {
        ASSERT_TRUE(walked.empty() || *at > walked.back()) << name << ' ' << text << ' ' << *at;
        walked.push_back(*at);
      }
      ASSERT_EQ(walked, std::vector<absl::Time>(expected.begin(), expected.end()))
          << name << " \"" << text << "\" around " << absl::FormatTime(change, zone);
    }
  }
}

TEST(SchedulePropertyTest, ADailyTimeComesOnceForEachDayOfTenYears) {
  std::mt19937_64 random(Seed());
  const std::vector<std::string> names = ZoneNames();
  for (int round = 0; round < 60; ++round) {
    const std::string& name = names[Below(random, static_cast<int64_t>(names.size()))];
    const absl::TimeZone zone = Zone(name);
    const int minute = static_cast<int>(Below(random, kMinutesPerDay));
    const Schedule schedule = Must(std::to_string(minute % 60) + " " + std::to_string(minute / 60) + " * * *");
    const absl::CivilDay first(2024, 1, 1), last(2034, 1, 1);
    int64_t runs = 0;
    const absl::Time end = zone.At(absl::CivilSecond(last)).pre;
    for (auto at = schedule.NextAfter(zone.At(absl::CivilSecond(first)).pre - absl::Nanoseconds(1), zone);
         at && *at < end; at = schedule.NextAfter(*at, zone)) {
      ++runs;
    }
    EXPECT_EQ(runs, last - first) << name << " minute " << minute;
  }
}

TEST(SchedulePropertyTest, NoTextBreaksTheReader) {
  std::mt19937_64 random(Seed());
  const std::string letters = "0123456789*/-,:L atsunmoevrydilk";
  for (int round = 0; round < 20'000; ++round) {
    std::string text = Below(random, 2) == 0 ? "" : "daily at ";
    for (int64_t length = Below(random, 24); length > 0; --length)
      text += letters[Below(random, static_cast<int64_t>(letters.size()))];
    const auto schedule = Schedule::Parse(text);
    if (schedule.ok()) {
      const absl::Time now = absl::FromUnixSeconds(1'800'000'000);
      const auto next = schedule->NextAfter(now, absl::UTCTimeZone());
      EXPECT_TRUE(next && *next > now) << text;
    }
  }
}

}  // namespace
}  // namespace umbra::calendar
