// When something may be done: times of the week that are allowed, and times that are closed. Pure.
//
//   mon-fri 20:00-06:00            on each of the days from 20:00 on; past midnight it belongs to the day it began on
//   sat,sun 00:00-24:00
//   daily 22:00-04:00
//   2026-12-24..2026-12-27         closed only: whole days, the last one included
//   2026-12-24 18:00..2026-12-27 06:00
//
// All in local time: an edge that the clocks skip lies at the end of the gap, and an hour that they show twice belongs
// to what its local time belongs to, both times.
#ifndef UMBRA_SERVER_CALENDAR_WINDOWS_H_
#define UMBRA_SERVER_CALENDAR_WINDOWS_H_

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/civil_time.h"
#include "absl/time/time.h"

namespace umbra::calendar {

// A value; thread-safe to look at.
class Openings {
 public:
  // Always open.
  Openings() = default;

  // Open within any of `windows` (always, when there are none), and not within any of `closed`.
  // INVALID_ARGUMENT / INVALID_WINDOW: not of the above, or never open within a week without the dates.
  static absl::StatusOr<Openings> Parse(std::span<const std::string> windows, std::span<const std::string> closed);

  bool IsOpen(absl::Time time, absl::TimeZone zone) const;
  // The first open instant at or after `time`; absent when there is none within the next ten years.
  std::optional<absl::Time> OpenFrom(absl::Time time, absl::TimeZone zone) const;
  // The instant at which the open stretch that holds `time` ends; absent when `time` isn't open, or when it stays open
  // for a month and more.
  std::optional<absl::Time> OpenUntil(absl::Time time, absl::TimeZone zone) const;

 private:
  // [start, end) in minutes of a week that begins on Monday 00:00; `end` may lie in the next week.
  struct Weekly {
    int start;
    int end;
  };
  // [begin, end).
  struct Dates {
    absl::CivilMinute begin;
    absl::CivilMinute end;
  };

  static bool Holds(const std::vector<Weekly>& weekly, absl::CivilMinute local);
  static absl::Status ReadWeekly(std::string_view text, std::vector<Weekly>& weekly);
  static absl::Status ReadDates(std::string_view text, std::vector<Dates>& dates);
  bool OpenLocal(absl::CivilMinute local) const;
  // The first local time after `local` at which it may change whether it's open.
  absl::CivilMinute NextEdge(absl::CivilMinute local) const;
  // The first instant after `time` at which that may change.
  absl::Time NextChange(absl::Time time, absl::TimeZone zone) const;

  std::vector<Weekly> windows_;
  std::vector<Weekly> closed_weekly_;
  std::vector<Dates> closed_dates_;
};

}  // namespace umbra::calendar

#endif  // UMBRA_SERVER_CALENDAR_WINDOWS_H_
