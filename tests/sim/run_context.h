// What every part of a run shares: who is on turn, what was seen, what was broken.
#ifndef UMBRA_TESTS_SIM_RUN_CONTEXT_H_
#define UMBRA_TESTS_SIM_RUN_CONTEXT_H_

#include <fmt/format.h>

#include <cstdint>
#include <cstdio>
#include <string>
#include <utility>
#include <vector>

#include "tests/sim/dice.h"
#include "tests/sim/probes.h"
#include "tests/sim/scheduler.h"

namespace umbra::sim {

struct RunContext {
  RunContext(uint64_t seed, bool is_verbose) : dice(seed), scheduler(dice.Next()), verbose(is_verbose) {}

  // One line of the run's story. Two runs of one seed tell the same.
  template <typename... Args>
  void Trace(fmt::format_string<Args...> format, Args&&... args) {
    const std::string line = fmt::format("{} {}", absl::ToInt64Nanoseconds(scheduler.Monotonic()),
                                         fmt::format(format, std::forward<Args>(args)...));
    for (const char c : line) fingerprint = (fingerprint ^ static_cast<uint8_t>(c)) * 0x100000001B3ULL;
    if (!verbose) return;
    const int64_t ns = absl::ToInt64Nanoseconds(scheduler.Monotonic() - kStart);
    std::printf("%12.6f %s\n", static_cast<double>(ns) / 1e9, line.c_str() + line.find(' ') + 1);
  }

  template <typename... Args>
  void Violate(fmt::format_string<Args...> format, Args&&... args) {
    violations.push_back(fmt::format(format, std::forward<Args>(args)...));
    Trace("VIOLATION {}", violations.back());
  }

  void Sleep(absl::Duration duration) { scheduler.Sleep(duration); }

  Dice dice;
  Scheduler scheduler;
  const bool verbose;
  Probes probes;
  std::vector<std::string> violations;
  uint64_t fingerprint = 0xCBF29CE484222325ULL;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_RUN_CONTEXT_H_
