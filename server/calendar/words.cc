#include "server/calendar/words.h"

#include <array>
#include <charconv>

namespace umbra::calendar {
namespace {

constexpr std::array<std::string_view, 7> kWeekdays = {"monday", "tuesday",  "wednesday", "thursday",
                                                       "friday", "saturday", "sunday"};
constexpr std::array<std::string_view, 12> kMonths = {"january",   "february", "march",    "april",
                                                      "may",       "june",     "july",     "august",
                                                      "september", "october",  "november", "december"};

// The whole name, or its first three letters.
template <size_t N>
std::optional<int> FindName(const std::array<std::string_view, N>& names, std::string_view text) {
  for (size_t i = 0; i < N; ++i) {
    if (text == names[i] || text == names[i].substr(0, 3)) return static_cast<int>(i);
  }
  return std::nullopt;
}

bool IsBlank(char c) {
  return c == ' ' || c == '\t';
}

}  // namespace

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && IsBlank(text.front())) text.remove_prefix(1);
  while (!text.empty() && IsBlank(text.back())) text.remove_suffix(1);
  return text;
}

std::vector<std::string_view> Split(std::string_view text, char separator) {
  std::vector<std::string_view> parts;
  while (true) {
    const size_t at = text.find(separator);
    parts.push_back(Trim(text.substr(0, at)));
    if (at == std::string_view::npos) return parts;
    text.remove_prefix(at + 1);
  }
}

std::vector<std::string_view> Words(std::string_view text) {
  std::vector<std::string_view> words;
  for (text = Trim(text); !text.empty(); text = Trim(text)) {
    size_t length = 0;
    while (length < text.size() && !IsBlank(text[length])) ++length;
    words.push_back(text.substr(0, length));
    text.remove_prefix(length);
  }
  return words;
}

std::optional<int> Number(std::string_view text, int min, int max) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || text.front() == '-' || error != std::errc() || end != text.data() + text.size())
    return std::nullopt;
  if (value < min || value > max) return std::nullopt;
  return value;
}

std::optional<int> WeekdayNumber(std::string_view text) {
  return FindName(kWeekdays, text);
}

std::optional<int> MonthNumber(std::string_view text) {
  const std::optional<int> index = FindName(kMonths, text);
  return index ? std::optional<int>(*index + 1) : std::nullopt;
}

std::optional<uint8_t> WeekdaySet(std::string_view text) {
  uint8_t set = 0;
  for (const std::string_view part : Split(text, ',')) {
    const std::vector<std::string_view> ends = Split(part, '-');
    const std::optional<int> first = WeekdayNumber(ends.front());
    const std::optional<int> last = WeekdayNumber(ends.back());
    if (ends.size() > 2 || !first || !last) return std::nullopt;
    for (int day = *first;; day = (day + 1) % 7) {
      set = static_cast<uint8_t>(set | 1u << day);
      if (day == *last) break;
    }
  }
  return set;
}

std::optional<int> TimeOfDay(std::string_view text, bool allow_24) {
  const std::vector<std::string_view> parts = Split(text, ':');
  if (parts.size() != 2 || parts[1].size() != 2) return std::nullopt;
  const std::optional<int> hour = Number(parts[0], 0, allow_24 ? 24 : 23);
  const std::optional<int> minute = Number(parts[1], 0, 59);
  if (!hour || !minute || *hour * 60 + *minute > kMinutesPerDay) return std::nullopt;
  return *hour * 60 + *minute;
}

std::optional<absl::CivilDay> Date(std::string_view text) {
  const std::vector<std::string_view> parts = Split(text, '-');
  if (parts.size() != 3) return std::nullopt;
  const std::optional<int> year = Number(parts[0], 1970, 9999);
  const std::optional<int> month = Number(parts[1], 1, 12);
  const std::optional<int> day = Number(parts[2], 1, 31);
  if (!year || !month || !day) return std::nullopt;
  const absl::CivilDay date(*year, *month, *day);
  if (date.day() != *day) return std::nullopt;
  return date;
}

int WeekdayOf(absl::CivilDay day) {
  return static_cast<int>(absl::GetWeekday(day));
}

int DaysInMonth(absl::CivilDay day) {
  return static_cast<int>(absl::CivilDay(absl::CivilMonth(day) + 1) - absl::CivilDay(absl::CivilMonth(day)));
}

}  // namespace umbra::calendar
