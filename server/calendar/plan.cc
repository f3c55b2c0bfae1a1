#include "server/calendar/plan.h"

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::calendar {
namespace {

// How far back runs are looked for.
constexpr absl::Duration kBackMax = absl::Hours(24 * 3660);
// Closed stretches without a run that one call goes back over: two years of nights.
constexpr int kClosedMax = 800;

}  // namespace

absl::StatusOr<Plan> Plan::Parse(std::span<const std::string> schedules, std::string_view zone,
                                 std::span<const std::string> windows, std::span<const std::string> closed) {
  Plan plan;
  for (const std::string& text : schedules) {
    ASSIGN_OR_RETURN(Schedule schedule, Schedule::Parse(text));
    plan.schedules_.push_back(std::move(schedule));
  }
  ASSIGN_OR_RETURN(plan.zone_, LoadZone(zone));
  ASSIGN_OR_RETURN(plan.openings_, Openings::Parse(windows, closed));
  return plan;
}

std::optional<absl::Time> Plan::NextDue(absl::Time after) const {
  std::optional<absl::Time> first;
  for (const Schedule& schedule : schedules_) {
    const std::optional<absl::Time> next = schedule.NextAfter(after, zone_);
    if (next && (!first || *next < *first)) first = next;
  }
  return first;
}

// Looks back twice as far each time: a year of missed minutes costs no more than a missed day of them.
absl::Time Plan::NewestDue(absl::Time some, absl::Time now) const {
  for (absl::Duration back = absl::Seconds(1); now - back > some; back *= 2) {
    std::optional<absl::Time> due = NextDue(now - back);
    if (!due || *due > now) continue;
    some = *due;
    break;
  }
  while (true) {
    const std::optional<absl::Time> due = NextDue(some);
    if (!due || *due > now) return some;
    some = *due;
  }
}

std::optional<absl::Time> Plan::DueBefore(absl::Time before) const {
  // Due times are whole seconds at least.
  const absl::Time until = before - absl::Nanoseconds(1);
  for (absl::Duration back = absl::Seconds(1); back < kBackMax; back *= 2) {
    const std::optional<absl::Time> due = NextDue(until - back);
    if (due && *due <= until) return NewestDue(*due, until);
  }
  return std::nullopt;
}

std::optional<absl::Time> Plan::LastOpenEnd(absl::Time closed) const {
  for (absl::Duration back = absl::Minutes(1); back < kBackMax; back *= 2) {
    std::optional<absl::Time> open = openings_.OpenFrom(closed - back, zone_);
    if (!open || *open >= closed) continue;
    // The last of those that lie in between. One that is open for a month and more is gone through by weeks.
    absl::Time end = *open;
    while (open && *open < closed) {
      end = openings_.OpenUntil(*open, zone_).value_or(*open + absl::Hours(24 * 7));
      open = openings_.OpenFrom(end, zone_);
    }
    return std::min(end, closed);
  }
  return std::nullopt;
}

std::optional<Run> Plan::Previous(absl::Time before, absl::Time now) const {
  for (int tries = 0; tries < kClosedMax; ++tries) {
    const std::optional<absl::Time> due = DueBefore(before);
    if (!due) return std::nullopt;
    const std::optional<absl::Time> start = openings_.OpenFrom(*due, zone_);
    if (!start) return std::nullopt;
    // What waits for an opening is part of that one's run, which may be due later.
    const bool newest = *start == *due || NewestDue(*due, *start) == *due;
    if (newest && *start <= now) return Run{*due, *due, *start, openings_.OpenUntil(*start, zone_)};
    if (*start == *due) {
      before = *due;  // it's due in the future
      continue;
    }
    const std::optional<absl::Time> end = LastOpenEnd(*due);
    if (!end) return std::nullopt;
    before = *end;
  }
  return std::nullopt;
}

std::optional<Run> Plan::Next(absl::Time done) const {
  const std::optional<absl::Time> first = NextDue(done);
  if (!first) return std::nullopt;
  const std::optional<absl::Time> start = openings_.OpenFrom(*first, zone_);
  if (!start) return std::nullopt;
  // Due times that wait for the same opening run together.
  const absl::Time due = *start > *first ? NewestDue(*first, *start) : *first;
  return Run{*first, due, *start, openings_.OpenUntil(*start, zone_)};
}

std::optional<Run> Plan::Ready(absl::Time done, absl::Time now) const {
  std::optional<Run> run = Next(done);
  if (!run || run->start > now) return std::nullopt;
  if (!openings_.IsOpen(now, zone_)) {
    // Missed, and it's too late today: all of it runs when the next window opens.
    return std::nullopt;
  }
  run->due = NewestDue(run->due, now);
  const std::optional<absl::Time> start = openings_.OpenFrom(run->due, zone_);
  if (start && *start <= now) run->start = *start;
  run->until = openings_.OpenUntil(now, zone_);
  return run;
}

}  // namespace umbra::calendar
