// Words that schedules and windows have in common: days, times of the day, numbers, lists.
#ifndef UMBRA_SERVER_CALENDAR_WORDS_H_
#define UMBRA_SERVER_CALENDAR_WORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/civil_time.h"

namespace umbra::calendar {

inline constexpr int kMinutesPerDay = 24 * 60;

std::string LowerCase(std::string_view text);
std::string_view Trim(std::string_view text);
// Parts between `separator`, blanks around them removed; an empty part stays one.
std::vector<std::string_view> Split(std::string_view text, char separator);
// Words between blanks.
std::vector<std::string_view> Words(std::string_view text);

// Digits only, within [min, max].
std::optional<int> Number(std::string_view text, int min, int max);
// "mon" or "monday" (lower case): 0 for Monday.
std::optional<int> WeekdayNumber(std::string_view text);
// "jan" or "january": 1.
std::optional<int> MonthNumber(std::string_view text);
// "mon,wed-fri": bit 0 is Monday. A range may go over Sunday: "sat-mon".
std::optional<uint8_t> WeekdaySet(std::string_view text);
// "22:00": minutes after midnight; "24:00" only when `allow_24`.
std::optional<int> TimeOfDay(std::string_view text, bool allow_24 = false);
// "2026-12-24": a day that exists.
std::optional<absl::CivilDay> Date(std::string_view text);

// 0 for Monday.
int WeekdayOf(absl::CivilDay day);
int DaysInMonth(absl::CivilDay day);

}  // namespace umbra::calendar

#endif  // UMBRA_SERVER_CALENDAR_WORDS_H_
