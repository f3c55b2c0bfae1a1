// One run of the simulation: a host with virtual machines and applications, and an agent on it that backs them up and
// restores them, dies and comes back, while the plan of the seed makes things go wrong.
//
// What must hold, whatever goes wrong:
//   - a guest or an application that was frozen is thawed within its limit;
//   - in the end nobody is frozen, saved or paused who wasn't before, and nobody who was is not;
//   - a set holds every virtual machine that was asked for, or the backup fails and everything is as before;
//   - what is read from a captured virtual machine is what its disks held at its freeze, and applications' copies are
//     consistent;
//   - a machine whose restore was cut short is as it was before, or has the disks of the recovery point, whole; a
//     restore that is complete has put exactly these there;
//   - no view, scratch file, intent or copy is left, and at most one checkpoint, after a backup the one that it knows;
//   - no machine that is a resource of a failover cluster is failed over because of us, and in the end each is online
//   there
//     and watched, as before;
//   - when nothing goes wrong any more, a backup of everything works.
#ifndef UMBRA_TESTS_SIM_WORLD_H_
#define UMBRA_TESTS_SIM_WORLD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/probes.h"

namespace umbra::sim {

struct RunResult {
  uint64_t seed = 0;
  std::string plan;                     // for people
  std::vector<std::string> violations;  // of what must hold; empty: all well
  uint64_t fingerprint = 0;             // of everything that happened, in order: equal for equal seeds
  int64_t step_count = 0;
  Probes probes;
};

// Two calls with one seed do the same. Prints what happens when `verbose`.
RunResult RunSeed(uint64_t seed, bool verbose = false);

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_WORLD_H_
