// When something is due: an expression, read once, that gives one instant after the other. Pure: no clock of its own.
//
// Expressions (case doesn't matter, blanks may be repeated):
//   every 10 seconds | every minute | every 15 minutes | every 6 hours
//   hourly [at :15]                          each hour, at that minute
//   daily [at 22:00[,23:30...]]              without a time: at 00:00
//   weekdays [at ...]   weekends [at ...]
//   weekly on sat,sun [at ...]               days: mon..sun, ranges such as mon-fri
//   monthly on 1,15,last [at ...]            days of the month; "last" is the last one, however long the month
//   monthly on first sun,last fri [at ...]   first, second, third, fourth, last
//   yearly on 02-29,12-31 [at ...]           month-day; February 29 is due in leap years only
//   30 2 * * mon-fri                         cron: minute, hour, day of month, month, day of week; names, lists,
//   ranges,
//                                            steps, L (last day of month). As usual, when day of month and day of week
//                                            are both restricted, either is enough.
//
// Laws (docs/adr/0040):
//   - "every ..." counts elapsed time, from 1970-01-01 00:00 UTC: no time zone and no change of clocks touches it.
//   - What names an hour is a set of local times, each due exactly once: one that the clocks skip at the instant at
//   which
//     the gap ends, one that they show twice at the first.
//   - What names no hour ("hourly", cron with * as hour) is due in every hour that passes, also in both of a pair that
//   the
//     clocks show twice; a skipped local time is due at the end of the gap.
//   - Due times that fall on one instant are one.
//   - A day that a month doesn't have (31 in April) is not due in that month.
#ifndef UMBRA_SERVER_CALENDAR_SCHEDULE_H_
#define UMBRA_SERVER_CALENDAR_SCHEDULE_H_

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace umbra::calendar {

// A shorter interval would be a loop, not a schedule.
inline constexpr absl::Duration kIntervalMin = absl::Seconds(1);
inline constexpr absl::Duration kIntervalMax = absl::Hours(24 * 366);

// Which days; every part is a set of bits.
struct DayRule {
  uint16_t months = 0xfff;                     // bit 0: January
  uint32_t month_days = 0;                     // bit 0: the first; 0 and no last_day: not restricted by it
  bool last_day = false;                       // the last day of the month
  uint8_t weekdays = 0;                        // bit 0: Monday; 0: not restricted by it
  std::array<uint8_t, 5> nth_weekdays = {};    // [0]..[3]: first to fourth, [4]: last; bits as in weekdays
  std::vector<std::pair<int, int>> year_days;  // month, day; empty: not restricted by it

  // Either of the restrictions is enough; without any, every day of `months` matches.
  bool Matches(absl::CivilDay day) const;
};

// A value; thread-safe to look at.
class Schedule {
 public:
  // INVALID_ARGUMENT / INVALID_SCHEDULE: no expression of the above, or one that is never due (30 February).
  static absl::StatusOr<Schedule> Parse(std::string_view text);

  // The first due instant after `after`; absent when there is none within the next ten years or so.
  std::optional<absl::Time> NextAfter(absl::Time after, absl::TimeZone zone) const;

  bool is_interval() const { return interval_ > absl::ZeroDuration(); }
  absl::Duration interval() const { return interval_; }
  // True for a set of local times: the hour is named.
  bool names_hours() const { return !is_interval() && !every_hour_; }
  // Whether a local time belongs to the set, for tests: seconds must be 0 and the day and minute must match.
  bool MatchesLocal(absl::CivilSecond local) const;

 private:
  friend class ScheduleParser;
  // The first local time of the set that is `from` or later, not later than `until`.
  std::optional<absl::CivilSecond> FirstLocal(absl::CivilSecond from, absl::CivilSecond until) const;
  // Not even a day of the set lies within ten years.
  bool NeverDue() const;

  absl::Duration interval_ = absl::ZeroDuration();
  DayRule days_;
  std::bitset<24 * 60> minutes_;  // of the day
  bool every_hour_ = false;
};

// An IANA zone by its name, such as "Europe/Berlin"; empty means UTC.
// INVALID_ARGUMENT / INVALID_TIME_ZONE: not known on this machine.
absl::StatusOr<absl::TimeZone> LoadZone(std::string_view name);

// Where in [0, spread) the runs of `member` start, the same each time: a hash of both texts. Whole seconds.
absl::Duration SpreadOffset(std::string_view group, std::string_view member, absl::Duration spread);

}  // namespace umbra::calendar

#endif  // UMBRA_SERVER_CALENDAR_SCHEDULE_H_
