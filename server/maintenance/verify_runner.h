// The daemon's own worker: takes VERIFY jobs, reads what they name in a repository, and reports what is damaged.
#ifndef UMBRA_SERVER_MAINTENANCE_VERIFY_RUNNER_H_
#define UMBRA_SERVER_MAINTENANCE_VERIFY_RUNNER_H_

#include "absl/status/statusor.h"
#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/damage_book.h"
#include "server/maintenance/job_worker.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"

namespace umbra::maintenance {

// One thread, one verification at a time: a second would only make the disk's heads travel.
//
// A verification that found damage is FAILED with the reason of the first finding (CHUNK_DAMAGED, CHUNK_MISSING,
// MANIFEST_DAMAGED), the damaged chunks in the job's list, and one event for each recovery point that is touched. What
// was read, and what is damaged, is kept in the catalog (DamageBook); after each backup it is looked whether that
// healed damage. Packs are read in the order of their age, so that cancelled runs and budgets add up to everything.
class VerifyRunner {
 public:
  // What it is given outlives it. Starts to work at once; construct it after RecoverJobs.
  // `verify_within` is how old the last check of a pack may be; a run with a budget that leaves older ones warns.
  VerifyRunner(catalog::Catalog& catalog, jobs::JobEngine& engine, jobs::EventHub& events,
               const RepositorySet& repositories, base::Clock& clock,
               absl::Duration verify_within = absl::Hours(24 * 30));
  // Destroying it stops a running verification between two packs. Its job stays RUNNING; the next start ends it
  // (DAEMON_RESTARTED).

 private:
  absl::Status Run(RunningJob& running);
  absl::StatusOr<repo::VerifyReport> Verify(RunningJob& running);
  // What to read, and in which order.
  absl::StatusOr<repo::VerifyScope> ScopeOf(const catalog::VerifySpec& spec, const OpenRepository& repository);
  absl::Status Record(RunningJob& running, const repo::VerifyReport& report);
  // Old packs that the budget didn't reach.
  absl::Status WarnWhenBehind(RunningJob& running, const OpenRepository& repository);
  void CloseHealed();
  void TellDamage(const catalog::Job& job, const repo::VerifyReport& report);

  catalog::Catalog& catalog_;
  jobs::EventHub& events_;
  const RepositorySet& repositories_;
  base::Clock& clock_;
  const absl::Duration verify_within_;
  DamageBook book_;
  JobWorker worker_;  // the last: it works with the others from its construction on
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_VERIFY_RUNNER_H_
