// One run of a fleet: the daemon, its agents and their hosts, people, and what the plan of the seed makes go wrong.
//
// What must hold, whatever goes wrong:
//   - what is committed is restored to the bytes that the machine's disks held when it was cut, and stays there until
//     retention removes it as the rules say; a machine that had a point has one;
//   - every due time of every policy ran exactly once: by itself while the daemon was there and its clock went on, else
//     caught up with what was due meanwhile, once; each run has a job for each of its machines, or one that waits had
//     it;
//   - a job ends, as its table says: no attempt of an older one counts, no recovery point without success and none
//   twice,
//     none is cancelled unless somebody wanted it;
//   - a machine is never in two jobs at once, neither in the daemon's eyes nor in its host's;
//   - a request that is repeated is the same job;
//   - events are numbered without gaps;
//   - in the end no machine is changed: not frozen, paused, saved or off unless it was, without view, scratch file,
//     intent, restored piece or more than one checkpoint; and when nothing goes wrong any more, all of it works.
#ifndef UMBRA_TESTS_SIM_FLEET_WORLD_H_
#define UMBRA_TESTS_SIM_FLEET_WORLD_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/sim/fleet/plan.h"

namespace umbra::sim::fleet {

struct FleetResult {
  uint64_t seed = 0;
  std::string plan;                     // for people
  std::vector<std::string> violations;  // empty: all well
  uint64_t fingerprint = 0;             // of everything that happened, in order: equal for equal seeds
  int64_t step_count = 0;
  std::map<std::string, int64_t> reached;  // rare paths, and how often
};

// Two calls with one seed do the same.
FleetResult RunFleet(uint64_t seed, bool verbose = false, Flaw flaw = Flaw::kNone);

// The rare paths that a long series of runs must reach.
std::vector<std::string> RarePaths();

std::string Report(const FleetResult& result);

}  // namespace umbra::sim::fleet

#endif  // UMBRA_TESTS_SIM_FLEET_WORLD_H_
