#include "server/retention/retention.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <tuple>
#include <utility>

#include "absl/time/civil_time.h"

namespace umbra::retention {
namespace {

// A period as one number that differs from that of its neighbours, and its name.
struct Period {
  int64_t key = 0;
  std::string name;
  absl::CivilSecond start;
  bool by_offset = false;  // it ends where the clocks change
};

// An hour that the clocks show twice is two hours: the offset tells them apart.
Period HourOf(const absl::TimeZone::CivilInfo& local) {
  const absl::CivilHour hour(local.cs);
  const int64_t index = hour - absl::CivilHour(1970);
  return {index * 86'400 * 2 + local.offset,
          fmt::format("{:04}-{:02}-{:02} {:02}:00", hour.year(), hour.month(), hour.day(), hour.hour()),
          absl::CivilSecond(hour), true};
}

Period DayOf(const absl::TimeZone::CivilInfo& local) {
  const absl::CivilDay day(local.cs);
  return {day - absl::CivilDay(1970), fmt::format("{:04}-{:02}-{:02}", day.year(), day.month(), day.day()),
          absl::CivilSecond(day)};
}

Period WeekOf(const absl::TimeZone::CivilInfo& local) {
  const absl::CivilDay day(local.cs);
  const absl::CivilDay monday = day - static_cast<int>(absl::GetWeekday(day));
  return {monday - absl::CivilDay(1970),
          fmt::format("week of {:04}-{:02}-{:02}", monday.year(), monday.month(), monday.day()),
          absl::CivilSecond(monday)};
}

Period MonthOf(const absl::TimeZone::CivilInfo& local) {
  const absl::CivilMonth month(local.cs);
  return {month - absl::CivilMonth(1970), fmt::format("{:04}-{:02}", month.year(), month.month()),
          absl::CivilSecond(month)};
}

Period YearOf(const absl::TimeZone::CivilInfo& local) {
  const absl::CivilYear year(local.cs);
  return {year.year(), fmt::format("{:04}", year.year()), absl::CivilSecond(year)};
}

struct PeriodRule {
  std::string_view name;
  int32_t Rules::*count;
  Period (*period)(const absl::TimeZone::CivilInfo&);
};

constexpr std::array<PeriodRule, 5> kPeriodRules = {{{"hourly", &Rules::hourly, HourOf},
                                                     {"daily", &Rules::daily, DayOf},
                                                     {"weekly", &Rules::weekly, WeekOf},
                                                     {"monthly", &Rules::monthly, MonthOf},
                                                     {"yearly", &Rules::yearly, YearOf}}};

// "nightly: ", before why a point stays.
std::string PrefixOf(const RuleSet& set) {
  return set.policy.empty() ? "" : set.policy + ": ";
}

// An instant from which on to `point` it is the same period; where the clocks change within an hour, `point` itself.
absl::Time SafeStart(const Period& period, absl::Time point, absl::TimeZone zone) {
  const absl::Time start = std::min(zone.At(period.start).post, point);
  return period.by_offset && zone.At(start).offset != zone.At(point).offset ? point : start;
}

class Decider {
 public:
  explicit Decider(std::span<const Point> points) : points_(points.begin(), points.end()) {
    std::ranges::sort(points_,
                      [](const Point& a, const Point& b) { return std::tie(a.time, a.id) > std::tie(b.time, b.id); });
    for (const Point& point : points_) verdicts_.push_back({point.id, point.time, {}});
  }

  void KeepProtected() {
    std::optional<size_t> newest_good;
    for (size_t i = 0; i < points_.size(); ++i) {
      if (points_[i].held) Keep(i, "held");
      if (points_[i].locked) Keep(i, "locked");
      if (points_[i].good && !newest_good) newest_good = i;
    }
    if (newest_good) {
      Keep(*newest_good, "newest good point");
    } else if (!points_.empty()) {
      Keep(0, "newest point, none is good");
    }
  }

  void KeepAll(const std::string& why) {
    for (size_t i = 0; i < points_.size(); ++i) Keep(i, why);
  }

  // Once over all points and once over the good ones: a damaged point neither goes early (the next backup may heal it)
  // nor takes a good one's place.
  void Apply(const RuleSet& set) {
    if (set.rules.KeepsAll()) return KeepAll(PrefixOf(set) + "keeps everything");
    std::vector<size_t> all, good;
    for (size_t i = 0; i < points_.size(); ++i) {
      all.push_back(i);
      if (points_[i].good) good.push_back(i);
    }
    ApplyTo(good, set);
    if (good.size() < all.size()) ApplyTo(all, set);
  }

  std::vector<Verdict> Take() { return std::move(verdicts_); }

 private:
  void ApplyTo(const std::vector<size_t>& among, const RuleSet& set) {
    const Rules& rules = set.rules;
    for (size_t n = 0; n < among.size() && n < static_cast<size_t>(std::max(rules.last, 0)); ++n) {
      Keep(among[n], fmt::format("{}last {} of {}", PrefixOf(set), n + 1, rules.last));
    }
    for (const size_t i : among) {
      if (rules.within <= absl::ZeroDuration() || points_[among.front()].time - points_[i].time > rules.within) break;
      Keep(i, fmt::format("{}within {}", PrefixOf(set), absl::FormatDuration(rules.within)));
    }
    for (const PeriodRule& rule : kPeriodRules) ApplyPeriods(among, set, rule);
  }

  void ApplyPeriods(const std::vector<size_t>& among, const RuleSet& set, const PeriodRule& rule) {
    const int32_t count = set.rules.*rule.count;
    int32_t used = 0;
    std::optional<int64_t> current;
    for (const size_t i : among) {
      if (used >= count) return;
      const Period period = rule.period(set.zone.At(points_[i].time));
      if (period.key == current) continue;
      current = period.key;
      Keep(i, fmt::format("{}{} {} of {} ({})", PrefixOf(set), rule.name, ++used, count, period.name));
    }
  }

  void Keep(size_t i, std::string why) {
    std::vector<std::string>& kept_by = verdicts_[i].kept_by;
    if (std::ranges::find(kept_by, why) == kept_by.end()) kept_by.push_back(std::move(why));
  }

  std::vector<Point> points_;      // newest first
  std::vector<Verdict> verdicts_;  // of the same place in points_
};

}  // namespace

std::vector<Verdict> Decide(std::span<const Point> points, std::span<const RuleSet> sets) {
  Decider decider(points);
  decider.KeepProtected();
  if (sets.empty()) decider.KeepAll("no policy");
  for (const RuleSet& set : sets) decider.Apply(set);
  return decider.Take();
}

std::optional<absl::Time> Walk::Before(absl::Time point) {
  static_assert(kPeriodRules.size() == kPeriodRuleCount);
  const Rules& rules = set_.rules;
  ++seen_;
  if (!newest_) newest_ = point;
  const bool each = rules.KeepsAll() || seen_ < rules.last ||
                    (rules.within > absl::ZeroDuration() && *newest_ - point <= rules.within);
  std::optional<absl::Time> before;
  if (each) before = point;
  for (size_t i = 0; i < kPeriodRules.size(); ++i) {
    const Period period = kPeriodRules[i].period(set_.zone.At(point));
    if (current_[i] != period.key) ++periods_[i];
    current_[i] = period.key;
    if (periods_[i] >= rules.*kPeriodRules[i].count) continue;
    // Of the rules that still look for points, the one whose period begins last.
    const absl::Time start = SafeStart(period, point, set_.zone);
    before = before ? std::max(*before, start) : start;
  }
  return before;
}

}  // namespace umbra::retention
