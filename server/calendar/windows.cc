#include "server/calendar/windows.h"

#include <algorithm>

#include "server/calendar/words.h"
#include "storage/base/status.h"

namespace umbra::calendar {
namespace {

constexpr int kMinutesPerWeek = 7 * kMinutesPerDay;
constexpr absl::Duration kAhead = absl::Hours(24 * 3660);
constexpr absl::Duration kOpenMax = absl::Hours(24 * 31);
constexpr uint8_t kEveryDay = 0x7f;

absl::Status Bad(std::string_view text, std::string_view why) {
  return base::Error(
      absl::StatusCode::kInvalidArgument, "INVALID_WINDOW",
      "window \"{}\": {}; examples: mon-fri 20:00-06:00, sat,sun 00:00-24:00, daily 22:00-04:00, and for "
      "closed times also 2026-12-24..2026-12-27",
      text, why);
}

int MinuteOfWeek(absl::CivilMinute local) {
  return WeekdayOf(absl::CivilDay(local)) * kMinutesPerDay + local.hour() * 60 + local.minute();
}

// "2026-12-24" or "2026-12-24 18:00"; of a bare day its first minute, or with `whole_day` the one after its last.
std::optional<absl::CivilMinute> DateTime(std::string_view text, bool whole_day) {
  const std::vector<std::string_view> words = Words(text);
  const std::optional<absl::CivilDay> day = words.empty() ? std::nullopt : Date(words[0]);
  if (!day || words.size() > 2) return std::nullopt;
  if (words.size() == 1) return absl::CivilMinute(whole_day ? *day + 1 : *day);
  const std::optional<int> minute = TimeOfDay(words[1], true);
  if (!minute) return std::nullopt;
  return absl::CivilMinute(*day) + *minute;
}

}  // namespace

absl::Status Openings::ReadWeekly(std::string_view text, std::vector<Weekly>& weekly) {
  const std::string lower = LowerCase(text);
  const size_t blank = Trim(lower).find_last_of(" \t");
  if (blank == std::string_view::npos) return Bad(text, "days and times are needed");
  const std::string_view days = Trim(Trim(lower).substr(0, blank));
  const std::vector<std::string_view> times = Split(Trim(lower).substr(blank), '-');
  const std::optional<uint8_t> set = days == "daily" ? std::optional<uint8_t>(kEveryDay) : WeekdaySet(days);
  if (!set) return Bad(text, "days are mon to sun, or daily");
  const std::optional<int> start = TimeOfDay(times.front());
  const std::optional<int> end = times.size() == 2 ? TimeOfDay(times[1], true) : std::nullopt;
  if (!start || !end || *start == *end) return Bad(text, "times are written HH:MM-HH:MM");
  const int length = *end > *start ? *end - *start : *end + kMinutesPerDay - *start;
  for (int day = 0; day < 7; ++day) {
    const int from = day * kMinutesPerDay + *start;
    if (*set >> day & 1) weekly.push_back({from, from + length});
  }
  return absl::OkStatus();
}

absl::Status Openings::ReadDates(std::string_view text, std::vector<Dates>& dates) {
  const size_t dots = text.find("..");
  const std::optional<absl::CivilMinute> begin = DateTime(text.substr(0, dots), false);
  const std::optional<absl::CivilMinute> end = DateTime(text.substr(dots + 2), true);
  if (!begin || !end || *begin >= *end) return Bad(text, "dates are written YYYY-MM-DD[ HH:MM]..YYYY-MM-DD[ HH:MM]");
  dates.push_back({*begin, *end});
  return absl::OkStatus();
}

absl::StatusOr<Openings> Openings::Parse(std::span<const std::string> windows, std::span<const std::string> closed) {
  Openings openings;
  for (const std::string& text : windows) RETURN_IF_ERROR(ReadWeekly(text, openings.windows_));
  for (const std::string& text : closed) {
    RETURN_IF_ERROR(text.find("..") != std::string::npos ? ReadDates(text, openings.closed_dates_)
                                                         : ReadWeekly(text, openings.closed_weekly_));
  }
  const absl::CivilMinute monday(2024, 1, 1);
  for (int minute = 0; minute < kMinutesPerWeek; ++minute) {
    const absl::CivilMinute local = monday + minute;
    const bool open =
        (openings.windows_.empty() || Holds(openings.windows_, local)) && !Holds(openings.closed_weekly_, local);
    if (open) return openings;
  }
  return Bad(closed.empty() ? "" : closed[0], "nothing of the week stays open");
}

bool Openings::Holds(const std::vector<Weekly>& weekly, absl::CivilMinute local) {
  const int minute = MinuteOfWeek(local);
  return std::ranges::any_of(weekly, [&](const Weekly& w) {
    return (minute >= w.start && minute < w.end) || minute + kMinutesPerWeek < w.end;
  });
}

bool Openings::OpenLocal(absl::CivilMinute local) const {
  if (!windows_.empty() && !Holds(windows_, local)) return false;
  if (Holds(closed_weekly_, local)) return false;
  return std::ranges::none_of(closed_dates_, [&](const Dates& d) { return local >= d.begin && local < d.end; });
}

bool Openings::IsOpen(absl::Time time, absl::TimeZone zone) const {
  return OpenLocal(absl::ToCivilMinute(time, zone));
}

absl::CivilMinute Openings::NextEdge(absl::CivilMinute local) const {
  // An edge each week is near enough: what comes later is looked for from there.
  int wait = kMinutesPerWeek;
  const int minute = MinuteOfWeek(local);
  const auto edge = [&](int at) {
    const int ahead = (at - minute % kMinutesPerWeek + 2 * kMinutesPerWeek) % kMinutesPerWeek;
    wait = std::min(wait, ahead == 0 ? kMinutesPerWeek : ahead);
  };
  for (const std::vector<Weekly>* list : {&windows_, &closed_weekly_}) {
    for (const Weekly& w : *list) edge(w.start), edge(w.end);
  }
  absl::CivilMinute next = local + wait;
  for (const Dates& d : closed_dates_) {
    if (d.begin > local) next = std::min(next, d.begin);
    if (d.end > local) next = std::min(next, d.end);
  }
  return next;
}

absl::Time Openings::NextChange(absl::Time time, absl::TimeZone zone) const {
  const absl::CivilSecond local = absl::ToCivilSecond(time, zone);
  const absl::CivilSecond edge(NextEdge(absl::CivilMinute(local)));
  // Until the offset changes, local time is elapsed time.
  const absl::Time whole = absl::FromUnixSeconds(absl::ToUnixSeconds(time));
  absl::Time next = whole + absl::Seconds(edge - local);
  absl::TimeZone::CivilTransition change;
  if (!zone.NextTransition(time, &change)) return next;
  const absl::TimeZone::TimeInfo info = zone.At(change.to);
  return std::min(next, info.kind == absl::TimeZone::TimeInfo::REPEATED ? info.trans : info.pre);
}

std::optional<absl::Time> Openings::OpenFrom(absl::Time time, absl::TimeZone zone) const {
  for (absl::Time at = time; at < time + kAhead; at = NextChange(at, zone)) {
    if (IsOpen(at, zone)) return at;
  }
  return std::nullopt;
}

std::optional<absl::Time> Openings::OpenUntil(absl::Time time, absl::TimeZone zone) const {
  if (!IsOpen(time, zone)) return std::nullopt;
  for (absl::Time at = NextChange(time, zone); at < time + kOpenMax; at = NextChange(at, zone)) {
    if (!IsOpen(at, zone)) return at;
  }
  return std::nullopt;
}

}  // namespace umbra::calendar
