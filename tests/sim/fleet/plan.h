// What a seed makes of a fleet's run: hosts, machines, policies, what people ask for, and what goes wrong when.
#ifndef UMBRA_TESTS_SIM_FLEET_PLAN_H_
#define UMBRA_TESTS_SIM_FLEET_PLAN_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "tests/sim/dice.h"
#include "tests/sim/plan.h"

namespace umbra::sim::fleet {

// A rule that is broken on purpose, to prove that the simulation notices.
enum class Flaw {
  kNone,
  kUnfenced,         // an agent's word counts for whichever attempt is current
  kDueBeforeSubmit,  // the scheduler writes a due time down as done, and then submits its jobs
  kNoJobRecovery,    // a daemon that starts leaves the jobs of the last one as they are
  kNoHealing,        // an agent that starts leaves what its predecessor changed
  kNoSync,           // the repository's disk says that it has written, and hasn't
  kLostChanges,      // an increment leaves out what has changed
  kEventLost,        // an event disappears
};
inline constexpr Flaw kFlaws[] = {Flaw::kUnfenced, Flaw::kDueBeforeSubmit, Flaw::kNoJobRecovery, Flaw::kNoHealing,
                                  Flaw::kNoSync,   Flaw::kLostChanges,     Flaw::kEventLost};
std::string_view NameOf(Flaw flaw);

struct PolicyPlan {
  std::string schedule;
  std::vector<int> hosts;  // whose machines it protects
  bool per_host = false;   // one job for all machines of a host
  int retries = 0;
  int keep_last = 0;
  absl::Duration spread;
};

enum class NuisanceKind {
  kAgentDies,       // `amount`: at so many calls to the world from then on; 0: now
  kHostPowerCut,    // the same, and its machines are off
  kLineCut,         // both ends notice at once
  kLineSilent,      // nobody notices: what is said is lost
  kLineSlow,        // messages take up to `amount` seconds
  kLineLossy,       // calls fail before they arrive, or their answers get lost
  kDaemonDies,      // `amount`: at so many of its steps from then on; 0: now
  kDaemonPowerCut,  // the same, and what its disk hasn't synced is lost
  kDiskFull,        // of the repository
  kDiskSlow,        // calls of the data service take seconds
  kClockStep,       // the daemon's wall clock is set by `amount` seconds
};
std::string_view NameOf(NuisanceKind kind);

struct Nuisance {
  NuisanceKind kind = NuisanceKind::kLineCut;
  absl::Duration at;      // since the policies exist
  absl::Duration length;  // until it is over; of a death: until the next start
  int host = 0;
  int64_t amount = 0;
  std::string_view point;  // of deaths: only steps, or calls to the world, of this name count; empty: any
};

enum class WishKind { kRestore, kCancel, kRunNow };

// What a person asks for.
struct Wish {
  WishKind kind = WishKind::kRestore;
  absl::Duration at;
  uint64_t choice = 0;  // which point, job, policy
};

struct FleetPlan {
  std::vector<Plan> hosts;  // of each only its machines
  std::vector<PolicyPlan> policies;
  std::vector<Nuisance> nuisances;  // by time
  std::vector<Wish> wishes;         // by time
  absl::Duration length;

  std::string Describe() const;
};

FleetPlan MakeFleetPlan(Dice dice);

}  // namespace umbra::sim::fleet

#endif  // UMBRA_TESTS_SIM_FLEET_PLAN_H_
