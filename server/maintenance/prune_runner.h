// The daemon's own worker for PRUNE jobs: gives back the space of what no recovery point needs. Between them it does the
// small work of repositories.
#ifndef UMBRA_SERVER_MAINTENANCE_PRUNE_RUNNER_H_
#define UMBRA_SERVER_MAINTENANCE_PRUNE_RUNNER_H_

#include <set>

#include "absl/status/statusor.h"
#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/job_worker.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

// How often repositories do their small work (Repository::Maintain).
inline constexpr absl::Duration kMaintainInterval = absl::Minutes(10);

// One thread, one prune at a time. Everything else in a repository goes on beside it.
class PruneRunner {
 public:
  // What it is given outlives it. Starts to work at once; construct it after RecoverJobs. `options`: but for dry_run,
  // which a job says.
  PruneRunner(catalog::Catalog& catalog, jobs::JobEngine& engine, jobs::EventHub& events,
              const RepositorySet& repositories, base::Clock& clock, const repo::PruneOptions& options);
  // Destroying it stops a running prune; nothing is lost by that. Its job stays RUNNING; the next start ends it
  // (DAEMON_RESTARTED).

 private:
  absl::Status Run(RunningJob& running);
  absl::StatusOr<repo::PruneReport> Prune(RunningJob& running);
  absl::Status ForgetDeleted(const repo::PruneReport& report);

  void MaintainWhenDue();
  void TellOfClock(const OpenRepository& repository);

  catalog::Catalog& catalog_;
  jobs::EventHub& events_;
  const RepositorySet& repositories_;
  base::Clock& clock_;
  const repo::PruneOptions options_;
  absl::Duration maintained_at_ = -absl::InfiniteDuration();  // monotonic
  std::set<catalog::RepositoryId> clock_told_;                // whose jumped clock was told of
  JobWorker worker_;  // the last: it works with the others from its construction on
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_PRUNE_RUNNER_H_
