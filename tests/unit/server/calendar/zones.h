// All time zones of this machine's zone database, and a seed that a failed run tells.
#ifndef UMBRA_TESTS_UNIT_SERVER_CALENDAR_ZONES_H_
#define UMBRA_TESTS_UNIT_SERVER_CALENDAR_ZONES_H_

#include <cstdlib>
#include <fstream>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "gtest/gtest.h"

namespace umbra::calendar {

// Zones ("Z name ...") and links ("L target name") of tzdata.zi.
inline std::vector<std::string> ZoneNames() {
  std::ifstream file("/usr/share/zoneinfo/tzdata.zi");
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string kind, first, second;
    words >> kind >> first >> second;
    if (kind == "Z") names.push_back(first);
    if (kind == "L") names.push_back(second);
  }
  return names;
}

inline absl::TimeZone Zone(const std::string& name) {
  absl::TimeZone zone;
  EXPECT_TRUE(absl::LoadTimeZone(name, &zone)) << name;
  return zone;
}

// UMBRA_CALENDAR_SEED repeats a run.
inline uint64_t Seed() {
  const char* const given = std::getenv("UMBRA_CALENDAR_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : std::random_device()();
  std::cout << "UMBRA_CALENDAR_SEED=" << seed << std::endl;
  return seed;
}

inline int64_t Below(std::mt19937_64& random, int64_t end) {
  return std::uniform_int_distribution<int64_t>(0, end - 1)(random);
}

// The instant of a random change of the zone's offset between 1975 and 2060, or any instant when there is none.
inline absl::Time RandomChange(const absl::TimeZone& zone, std::mt19937_64& random) {
  const absl::Time any = absl::FromUnixSeconds(157'766'400 + Below(random, 2'682'374'400));
  absl::TimeZone::CivilTransition change;
  if (!zone.NextTransition(any, &change)) return any;
  const absl::TimeZone::TimeInfo info = zone.At(change.to);
  return info.kind == absl::TimeZone::TimeInfo::REPEATED ? info.trans : info.pre;
}

}  // namespace umbra::calendar

#endif  // UMBRA_TESTS_UNIT_SERVER_CALENDAR_ZONES_H_
