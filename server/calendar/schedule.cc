#include "server/calendar/schedule.h"

#include <algorithm>
#include <string>

#include "server/calendar/words.h"
#include "storage/base/status.h"

namespace umbra::calendar {
namespace {

// Longest time without a due one that can be: February 29 around 2100 is eight years away.
constexpr int kYearsAhead = 10;
constexpr uint8_t kAllWeekdays = 0x7f;
constexpr uint8_t kWorkdays = 0x1f;
constexpr uint8_t kWeekend = 0x60;
constexpr std::array<std::string_view, 5> kOrdinals = {"first", "second", "third", "fourth", "last"};

absl::Status Bad(std::string_view text, std::string_view why) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_SCHEDULE",
                     "schedule \"{}\": {}; examples: daily at 22:00, weekly on sat,sun at 03:30, monthly on 1,last at "
                     "02:00, every 15 minutes, 30 2 * * mon-fri",
                     text, why);
}

struct FieldRange {
  int min;
  int max;
  std::optional<int> (*name)(std::string_view);  // may be null
};

// "*", "*/5", "1-5", "10-50/10", "1,2,mon": the numbers, as bits. Absent: not well-formed.
std::optional<uint64_t> CronItem(std::string_view item, const FieldRange& range) {
  const std::vector<std::string_view> halves = Split(item, '/');
  if (halves.size() > 2) return std::nullopt;
  const auto value = [&](std::string_view text) {
    const std::optional<int> number = Number(text, range.min, range.max);
    return number || range.name == nullptr ? number : range.name(text);
  };
  std::optional<int> first = range.min, last = range.max;
  if (halves[0] != "*") {
    const std::vector<std::string_view> ends = Split(halves[0], '-');
    if (ends.size() > 2) return std::nullopt;
    first = value(ends.front());
    // "5/10" means from 5 on.
    last = ends.size() == 1 && halves.size() == 2 ? std::optional<int>(range.max) : value(ends.back());
  }
  const std::optional<int> step = halves.size() == 2 ? Number(halves[1], 1, range.max) : std::optional<int>(1);
  if (!first || !last || !step || *first > *last) return std::nullopt;
  uint64_t bits = 0;
  for (int i = *first; i <= *last; i += *step) bits |= uint64_t{1} << i;
  return bits;
}

std::optional<uint64_t> CronField(std::string_view field, const FieldRange& range) {
  uint64_t bits = 0;
  for (const std::string_view item : Split(field, ',')) {
    const std::optional<uint64_t> some = CronItem(item, range);
    if (!some) return std::nullopt;
    bits |= *some;
  }
  return bits;
}

std::optional<int> CronWeekday(std::string_view name) {
  const std::optional<int> day = WeekdayNumber(name);
  return day ? std::optional<int>(*day + 1) : std::nullopt;
}

}  // namespace

bool DayRule::Matches(absl::CivilDay day) const {
  if ((months >> (day.month() - 1) & 1) == 0) return false;
  const bool any_nth = std::ranges::any_of(nth_weekdays, [](uint8_t set) { return set != 0; });
  if (month_days == 0 && !last_day && weekdays == 0 && !any_nth && year_days.empty()) return true;
  if (month_days >> (day.day() - 1) & 1) return true;
  const int length = DaysInMonth(day);
  if (last_day && day.day() == length) return true;
  const int weekday = WeekdayOf(day);
  if (weekdays >> weekday & 1) return true;
  const int nth = (day.day() - 1) / 7;
  if (nth < 4 && (nth_weekdays[nth] >> weekday & 1)) return true;
  if (day.day() + 7 > length && (nth_weekdays[4] >> weekday & 1)) return true;
  return std::ranges::any_of(year_days, [&](const auto& y) { return y.first == day.month() && y.second == day.day(); });
}

// Reads one expression. A class, so that only it makes schedules.
class ScheduleParser {
 public:
  explicit ScheduleParser(std::string_view text) : text_(text), lower_(LowerCase(text)), words_(Words(lower_)) {}

  absl::StatusOr<Schedule> Parse() {
    if (words_.empty()) return Bad(text_, "is empty");
    RETURN_IF_ERROR(ParseForm());
    if (schedule_.NeverDue()) return Bad(text_, "is never due");
    return std::move(schedule_);
  }

 private:
  absl::Status ParseForm() {
    const std::string_view form = words_[0];
    if (form == "every") return ParseEvery();
    if (form == "hourly") return ParseHourly();
    if (form == "daily") return ParseTimes(1);
    if (form == "weekdays" || form == "weekends") {
      schedule_.days_.weekdays = form == "weekdays" ? kWorkdays : kWeekend;
      return ParseTimes(1);
    }
    if (form == "weekly" || form == "monthly" || form == "yearly") return ParseOn(form);
    if (words_.size() == 5) return ParseCron();
    return Bad(text_, "is no form that is known");
  }

  absl::Status ParseEvery() {
    int count = 1;
    size_t unit_at = 1;
    if (words_.size() == 3) {
      const std::optional<int> number = Number(words_[1], 1, 1'000'000);
      if (!number) return Bad(text_, "the number is not one");
      count = *number;
      unit_at = 2;
    }
    if (words_.size() != unit_at + 1) return Bad(text_, "a number and a unit are needed");
    const std::string_view unit = words_[unit_at];
    absl::Duration one;
    if (unit == "second" || unit == "seconds") one = absl::Seconds(1);
    if (unit == "minute" || unit == "minutes") one = absl::Minutes(1);
    if (unit == "hour" || unit == "hours") one = absl::Hours(1);
    schedule_.interval_ = one * count;
    if (schedule_.interval_ < kIntervalMin) return Bad(text_, "the unit must be seconds, minutes or hours");
    if (schedule_.interval_ > kIntervalMax) return Bad(text_, "is longer than a year");
    return absl::OkStatus();
  }

  absl::Status ParseHourly() {
    int minute = 0;
    if (words_.size() == 3 && words_[1] == "at" && words_[2].size() == 3 && words_[2][0] == ':') {
      const std::optional<int> number = Number(words_[2].substr(1), 0, 59);
      if (!number) return Bad(text_, "the minute is not one");
      minute = *number;
    } else if (words_.size() != 1) {
      return Bad(text_, "only \"at :MM\" may follow");
    }
    schedule_.every_hour_ = true;
    for (int hour = 0; hour < 24; ++hour) schedule_.minutes_.set(hour * 60 + minute);
    return absl::OkStatus();
  }

  // "at 22:00,23:30" from word `at` to the end, or nothing.
  absl::Status ParseTimes(size_t at) {
    if (at == words_.size()) {
      schedule_.minutes_.set(0);
      return absl::OkStatus();
    }
    if (words_[at] != "at" || at + 1 == words_.size()) return Bad(text_, "\"at HH:MM\" is expected after the days");
    for (const std::string_view part : Split(Joined(at + 1, words_.size()), ',')) {
      const std::optional<int> minute = TimeOfDay(part);
      if (!minute) return Bad(text_, "times are written HH:MM, from 00:00 to 23:59");
      schedule_.minutes_.set(*minute);
    }
    return absl::OkStatus();
  }

  absl::Status ParseOn(std::string_view form) {
    if (words_.size() < 3 || words_[1] != "on") return Bad(text_, "\"on\" and days are needed");
    size_t at = 2;
    while (at < words_.size() && words_[at] != "at") ++at;
    const std::string_view days = Joined(2, at);
    if (form == "weekly") {
      const std::optional<uint8_t> set = WeekdaySet(days);
      if (!set) return Bad(text_, "days are mon, tue, wed, thu, fri, sat, sun");
      schedule_.days_.weekdays = *set;
    } else {
      for (const std::string_view part : Split(days, ',')) {
        RETURN_IF_ERROR(form == "monthly" ? ParseMonthDay(part) : ParseYearDay(part));
      }
    }
    return ParseTimes(at);
  }

  absl::Status ParseMonthDay(std::string_view part) {
    if (part == "last") {
      schedule_.days_.last_day = true;
      return absl::OkStatus();
    }
    if (const std::optional<int> day = Number(part, 1, 31)) {
      schedule_.days_.month_days |= 1u << (*day - 1);
      return absl::OkStatus();
    }
    const std::vector<std::string_view> words = Words(part);
    const auto ordinal = std::ranges::find(kOrdinals, words.empty() ? "" : words[0]);
    const std::optional<int> weekday = words.size() == 2 ? WeekdayNumber(words[1]) : std::nullopt;
    if (ordinal == kOrdinals.end() || !weekday) {
      return Bad(text_, "days of a month are 1 to 31, last, or first to fourth or last with a weekday");
    }
    uint8_t& set = schedule_.days_.nth_weekdays[ordinal - kOrdinals.begin()];
    set = static_cast<uint8_t>(set | 1u << *weekday);
    return absl::OkStatus();
  }

  absl::Status ParseYearDay(std::string_view part) {
    const std::vector<std::string_view> numbers = Split(part, '-');
    const std::optional<int> month = Number(numbers.front(), 1, 12);
    const std::optional<int> day = numbers.size() == 2 ? Number(numbers[1], 1, 31) : std::nullopt;
    if (!month || !day) return Bad(text_, "days of a year are written MM-DD");
    schedule_.days_.year_days.emplace_back(*month, *day);
    return absl::OkStatus();
  }

  absl::Status ParseCron() {
    const std::optional<uint64_t> minutes = CronField(words_[0], {0, 59, nullptr});
    if (!minutes) return Bad(text_, "the minute is not well-formed (0 to 59)");
    const std::optional<uint64_t> hours = CronField(words_[1], {0, 23, nullptr});
    if (!hours) return Bad(text_, "the hour is not well-formed (0 to 23)");
    if (words_[2] != "*") RETURN_IF_ERROR(ParseCronMonthDays());
    const std::optional<uint64_t> months = CronField(words_[3], {1, 12, MonthNumber});
    if (!months) return Bad(text_, "the month is not well-formed (1 to 12 or jan to dec)");
    schedule_.days_.months = static_cast<uint16_t>(*months >> 1);
    if (words_[4] != "*") {
      const std::optional<uint64_t> weekdays = CronField(words_[4], {0, 7, CronWeekday});
      if (!weekdays) return Bad(text_, "the day of the week is not well-formed (0 to 7 or mon to sun)");
      // 0 and 7 are both Sunday.
      schedule_.days_.weekdays = static_cast<uint8_t>((*weekdays >> 1 & kAllWeekdays) | (*weekdays & 1) << 6);
    }
    schedule_.every_hour_ = words_[1] == "*";
    for (int minute = 0; minute < kMinutesPerDay; ++minute) {
      schedule_.minutes_.set(minute, (*hours >> minute / 60 & 1) != 0 && (*minutes >> minute % 60 & 1) != 0);
    }
    return absl::OkStatus();
  }

  absl::Status ParseCronMonthDays() {
    for (const std::string_view item : Split(words_[2], ',')) {
      if (item == "l") {
        schedule_.days_.last_day = true;
        continue;
      }
      const std::optional<uint64_t> days = CronItem(item, {1, 31, nullptr});
      if (!days) return Bad(text_, "the day of the month is not well-formed (1 to 31 or L)");
      schedule_.days_.month_days |= static_cast<uint32_t>(*days >> 1);
    }
    return absl::OkStatus();
  }

  // The text from word `first` to before word `end`, as it stands.
  std::string_view Joined(size_t first, size_t end) const {
    if (first >= end) return {};
    const char* const begin = words_[first].data();
    return {begin, static_cast<size_t>(words_[end - 1].data() + words_[end - 1].size() - begin)};
  }

  const std::string_view text_;
  const std::string lower_;
  const std::vector<std::string_view> words_;  // of lower_
  Schedule schedule_;
};

absl::StatusOr<Schedule> Schedule::Parse(std::string_view text) {
  return ScheduleParser(text).Parse();
}

bool Schedule::NeverDue() const {
  if (is_interval()) return false;
  const absl::CivilDay begin(2096, 1, 1);  // no February 29 in the years after
  for (absl::CivilDay day = begin; day.year() < begin.year() + kYearsAhead; ++day) {
    if (days_.Matches(day)) return false;
  }
  return true;
}

bool Schedule::MatchesLocal(absl::CivilSecond local) const {
  return local.second() == 0 && minutes_.test(local.hour() * 60 + local.minute()) &&
         days_.Matches(absl::CivilDay(local));
}

std::optional<absl::CivilSecond> Schedule::FirstLocal(absl::CivilSecond from, absl::CivilSecond until) const {
  int minute = from.hour() * 60 + from.minute() + (from.second() > 0 ? 1 : 0);
  for (absl::CivilDay day(from); day <= absl::CivilDay(until); ++day, minute = 0) {
    if (!days_.Matches(day)) continue;
    for (; minute < kMinutesPerDay; ++minute) {
      if (!minutes_.test(minute)) continue;
      const absl::CivilSecond local = absl::CivilSecond(absl::CivilMinute(day) + minute);
      if (local > until) return std::nullopt;
      return local;
    }
  }
  return std::nullopt;
}

// Goes from one change of the zone's offset to the next: in between, local time is elapsed time.
std::optional<absl::Time> Schedule::NextAfter(absl::Time after, absl::TimeZone zone) const {
  if (is_interval()) {
    absl::Duration into;
    const int64_t count = absl::IDivDuration(after - absl::UnixEpoch(), interval_, &into);
    const int64_t floor = into < absl::ZeroDuration() ? count - 1 : count;
    return absl::UnixEpoch() + interval_ * (floor + 1);
  }
  const absl::CivilSecond horizon(absl::CivilYear(absl::ToCivilSecond(after, zone)) + kYearsAhead);
  absl::Time at = after;
  while (true) {
    const absl::CivilSecond local = absl::ToCivilSecond(at, zone);
    if (local >= horizon) return std::nullopt;
    absl::TimeZone::CivilTransition change;
    const bool changes = zone.NextTransition(at, &change);
    // `from` is what the clocks would have shown at the change.
    const absl::CivilSecond last = changes ? std::min(change.from - 1, horizon) : horizon;
    if (const auto due = FirstLocal(local + 1, last)) {
      // `at` may have a fraction of a second, that its local time lacks.
      const absl::Time instant = absl::FromUnixSeconds(absl::ToUnixSeconds(at)) + absl::Seconds(*due - local);
      const absl::TimeZone::TimeInfo shown = zone.At(*due);
      const bool second_time = shown.kind == absl::TimeZone::TimeInfo::REPEATED && instant != shown.pre;
      if (every_hour_ || !second_time) return instant;
      at = instant;
      continue;
    }
    if (!changes || last == horizon) return std::nullopt;
    const absl::TimeZone::TimeInfo info = zone.At(change.to);
    at = info.kind == absl::TimeZone::TimeInfo::REPEATED ? info.trans : info.pre;
    // A gap, or only the zone's name changes: what was skipped, if anything, is due now. Else the clocks go back, to
    // times that they have shown.
    const bool forward = change.from <= change.to;
    if (forward ? FirstLocal(change.from, change.to).has_value() : every_hour_ && MatchesLocal(change.to)) return at;
  }
}

absl::StatusOr<absl::TimeZone> LoadZone(std::string_view name) {
  absl::TimeZone zone = absl::UTCTimeZone();
  // absl takes paths and some names of its own; only names of the zone database are meant.
  const bool odd = name.starts_with('/') || name.starts_with(':') || name.find("..") != std::string_view::npos;
  if (name.empty() || name == "UTC") return zone;
  if (odd || !absl::LoadTimeZone(base::Av(name), &zone)) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_TIME_ZONE",
                       "time zone \"{}\" isn't known on this machine; names are such as Europe/Berlin", name);
  }
  return zone;
}

absl::Duration SpreadOffset(std::string_view group, std::string_view member, absl::Duration spread) {
  const int64_t seconds = absl::ToInt64Seconds(spread);
  if (seconds <= 1) return absl::ZeroDuration();
  // FNV-1a, with a last mix: short texts that differ in one character must lie far apart. Kept for good: another hash
  // would move every machine's start.
  uint64_t hash = 0xcbf29ce484222325u;
  const auto feed = [&](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3u;
    hash = (hash ^ 0xff) * 0x100000001b3u;
  };
  feed(group);
  feed(member);
  hash ^= hash >> 33;
  hash *= 0xff51afd7ed558ccdu;
  hash ^= hash >> 33;
  return absl::Seconds(static_cast<int64_t>(hash % static_cast<uint64_t>(seconds)));
}

}  // namespace umbra::calendar
