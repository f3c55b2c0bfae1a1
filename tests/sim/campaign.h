// Many runs: seeds of fixed bugs, then a stretch of new ones.
#ifndef UMBRA_TESTS_SIM_CAMPAIGN_H_
#define UMBRA_TESTS_SIM_CAMPAIGN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/probes.h"
#include "tests/sim/world.h"

namespace umbra::sim {

struct Campaign {
  int64_t run_count = 0;
  int64_t step_count = 0;
  std::vector<RunResult> failed;  // at most kFailuresMax, then it stops
  Probes probes;
};

inline constexpr size_t kFailuresMax = 5;

// Runs `count` seeds from `first`, adding to `campaign`.
void RunSeeds(uint64_t first, int64_t count, bool verbose, Campaign* campaign);

// The numbers of a file with one seed a line; '#' begins a comment. Ends the program when it can't be read.
std::vector<uint64_t> ReadSeeds(const std::string& path);

// For people: the plan, what was broken, and how to see it again.
std::string Report(const RunResult& result);

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_CAMPAIGN_H_
