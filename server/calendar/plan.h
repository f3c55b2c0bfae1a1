// Schedules and openings together: the runs that follow from them. Pure.
#ifndef UMBRA_SERVER_CALENDAR_PLAN_H_
#define UMBRA_SERVER_CALENDAR_PLAN_H_

#include <algorithm>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/calendar/schedule.h"
#include "server/calendar/windows.h"

namespace umbra::calendar {

// Stands for every due time from `first_due` to `due`: those of one moment are one run.
struct Run {
  absl::Time first_due;
  absl::Time due;
  absl::Time start;                 // not before `due`; later when that lies in a closed time
  std::optional<absl::Time> until;  // when the window that holds `start` ends

  // How far the run's jobs may spread from `start`: `wished`, but not beyond `until`.
  absl::Duration Spread(absl::Duration wished) const { return until ? std::min(wished, *until - start) : wished; }
};

// A value; thread-safe to look at.
class Plan {
 public:
  // INVALID_ARGUMENT / INVALID_SCHEDULE, INVALID_TIME_ZONE, INVALID_WINDOW.
  static absl::StatusOr<Plan> Parse(std::span<const std::string> schedules, std::string_view zone,
                                    std::span<const std::string> windows, std::span<const std::string> closed);

  // The first run of due times after `done`; absent: nothing is due any more. Asked again with its `due`, it gives the
  // run after it, so that every due time is part of exactly one run.
  std::optional<Run> Next(absl::Time done) const;
  // The run of every due time after `done` that could have begun by `now`; absent when there is none.
  std::optional<Run> Ready(absl::Time done, absl::Time now) const;

  // Looks back: the newest run that began by `now`, of those whose `due` is before `before`. Asked again with an
  // earlier `before`, it gives the runs before that one, as if nobody had ever been late. Its `first_due` is its `due`:
  // which others it stands for isn't looked for. Absent: there is none within ten years or so.
  std::optional<Run> Previous(absl::Time before, absl::Time now) const;

  absl::TimeZone zone() const { return zone_; }
  const Openings& openings() const { return openings_; }

 private:
  std::optional<absl::Time> NextDue(absl::Time after) const;
  // The newest due time not later than `now`; `some` is one of them.
  absl::Time NewestDue(absl::Time some, absl::Time now) const;
  // The newest due time before `before`.
  std::optional<absl::Time> DueBefore(absl::Time before) const;
  // When the last opening before `closed`, which isn't open, ended.
  std::optional<absl::Time> LastOpenEnd(absl::Time closed) const;

  std::vector<Schedule> schedules_;
  absl::TimeZone zone_;
  Openings openings_;
};

}  // namespace umbra::calendar

#endif  // UMBRA_SERVER_CALENDAR_PLAN_H_
