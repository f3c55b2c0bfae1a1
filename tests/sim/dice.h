// Repeatable choices of a simulation. Streams split off by name don't disturb each other: a new choice in one leaves
// the others as they were.
#ifndef UMBRA_TESTS_SIM_DICE_H_
#define UMBRA_TESTS_SIM_DICE_H_

#include <cstdint>
#include <string_view>

#include "absl/time/time.h"

namespace umbra::sim {

// SplitMix64.
class Dice {
 public:
  explicit Dice(uint64_t seed) : state_(seed) {}

  uint64_t Next() {
    uint64_t z = (state_ += 0x9E3779B97F4A7C15ULL);
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9ULL;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBULL;
    return z ^ (z >> 31);
  }
  uint64_t Below(uint64_t bound) { return Next() % bound; }  // the bias doesn't matter here
  int64_t Between(int64_t low, int64_t high) { return low + static_cast<int64_t>(Below(high - low + 1)); }
  bool Chance(double probability) { return static_cast<double>(Next() >> 11) * 0x1p-53 < probability; }
  absl::Duration Between(absl::Duration low, absl::Duration high) {
    return absl::Nanoseconds(Between(absl::ToInt64Nanoseconds(low), absl::ToInt64Nanoseconds(high)));
  }
  Dice Split(std::string_view name) {
    uint64_t hash = Next();
    for (const char c : name) hash = (hash ^ static_cast<uint8_t>(c)) * 0x100000001B3ULL;
    return Dice(hash);
  }

 private:
  uint64_t state_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_DICE_H_
