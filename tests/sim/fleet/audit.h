// Looks at the daemon from outside, during a run and after it, for what must hold (world.h).
#ifndef UMBRA_TESTS_SIM_FLEET_AUDIT_H_
#define UMBRA_TESTS_SIM_FLEET_AUDIT_H_

#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "storage/catalog/records.h"
#include "tests/sim/fleet/agent.h"
#include "tests/sim/fleet/daemon.h"

namespace umbra::sim::fleet {

// The bytes of a recovery point's disks, as the repository gives them; whatever can't be read is an error.
absl::StatusOr<Guests::Disks> ReadPoint(repo::Repository& repository, const catalog::RecoveryPoint& point);

class Audit {
 public:
  // `reached`: rare paths.
  Audit(RunContext& run, const CommittedCuts& committed, std::map<std::string, int64_t>& reached)
      : run_(run), committed_(committed), reached_(reached) {}

  // ---- What the world tells ----

  // From now on the daemon is there, and its wall clock goes on; or no longer.
  void Serving(absl::Time wall);
  void NotServing(absl::Time wall);
  void CancelWanted(const catalog::JobId& job) { cancels_.insert(job); }

  // ---- While it runs ----

  // One machine, one job.
  void CheckWorking(Daemon& daemon);
  // No gap, and what was seen stays.
  void ReadEvents(Daemon& daemon);

  // ---- In the end, when no job is left ----

  // All that were seen are there.
  void CheckEvents(Daemon& daemon);
  void CheckJobs(Daemon& daemon);
  // Each point in the catalog and in the repository, byte by byte.
  void CheckPoints(Daemon& daemon);
  void CheckPolicies(Daemon& daemon);
  void CheckRetention(Daemon& daemon);

  std::vector<catalog::Job> Jobs(Daemon& daemon);
  std::vector<catalog::RecoveryPoint> Points(Daemon& daemon, bool removed);
  // What the machine held when this point was cut; null: nobody knows of such a commit.
  const Guests::Disks* CutOf(const catalog::RecoveryPoint& point, const Guests::Disks& found) const;

 private:
  struct Interval {
    absl::Time begin;
    absl::Time end;
    absl::Time seen_before;  // the latest time that the wall clock showed before it began
  };
  // A run of a policy, as its event tells.
  struct PolicyRun {
    int64_t sequence = 0;
    absl::Time due;
  };

  std::vector<PolicyRun> RunsOf(const catalog::Policy& policy);
  void CheckDueTimes(const catalog::Policy& policy, const std::vector<PolicyRun>& runs, absl::Time now);
  void CheckRunJobs(const catalog::Policy& policy, const std::vector<PolicyRun>& runs,
                    const std::vector<catalog::Job>& jobs);
  bool HadJob(const catalog::Job& job, int64_t previous, int64_t at) const;
  void CheckBackup(Daemon& daemon, const catalog::Job& job);
  void CheckPoint(Daemon& daemon, const catalog::RecoveryPoint& point);

  RunContext& run_;
  const CommittedCuts& committed_;
  std::map<std::string, int64_t>& reached_;
  std::vector<Interval> intervals_;
  std::optional<Interval> interval_;
  absl::Time wall_max_ = absl::InfinitePast();
  std::set<catalog::JobId> cancels_;
  std::vector<catalog::Event> events_;                      // all, by their numbers from 1
  std::map<std::string, std::vector<size_t>> by_resource_;  // indices of them
  bool events_broken_ = false;
};

}  // namespace umbra::sim::fleet

#endif  // UMBRA_TESTS_SIM_FLEET_AUDIT_H_
