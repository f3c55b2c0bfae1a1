// The daemon's own worker for PRUNE jobs: gives back the space of what no recovery point needs, and makes such a job
// for every repository once in a while.
#ifndef UMBRA_SERVER_MAINTENANCE_PRUNE_RUNNER_H_
#define UMBRA_SERVER_MAINTENANCE_PRUNE_RUNNER_H_

#include <optional>
#include <set>
#include <stop_token>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

struct PruneSchedule {
  // A repository is pruned when its last prune (or its making) is this long ago; zero: only when somebody asks.
  absl::Duration every = absl::Hours(24);
  repo::PruneOptions options;  // but for dry_run, which a job says
};

// How often repositories do their small work (Repository::Maintain) and the schedule is looked at.
inline constexpr absl::Duration kMaintainInterval = absl::Minutes(10);

// One thread, one prune at a time. Everything else in a repository goes on beside it.
class PruneRunner {
 public:
  // What it is given outlives it. Starts to work at once; construct it after RecoverJobs.
  PruneRunner(catalog::Catalog& catalog, jobs::JobEngine& engine, jobs::EventHub& events,
              const RepositorySet& repositories, base::Clock& clock, const PruneSchedule& schedule);
  // Stops a running prune; nothing is lost by that. Its job stays RUNNING; the next start ends it (DAEMON_RESTARTED).
  ~PruneRunner();
  PruneRunner(const PruneRunner&) = delete;
  PruneRunner& operator=(const PruneRunner&) = delete;

 private:
  void Wake() ABSL_LOCKS_EXCLUDED(mu_);
  void Loop(std::stop_token stop) ABSL_LOCKS_EXCLUDED(mu_);
  bool WaitForWork(const std::stop_token& stop) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<std::optional<catalog::JobId>> NextQueued();
  absl::Status Run(const catalog::JobId& id, const std::stop_token& stop);
  absl::StatusOr<repo::PruneReport> Prune(const catalog::Job& job, const std::stop_token& stop);
  absl::Status Finish(const catalog::Job& job, const absl::StatusOr<repo::PruneReport>& report);

  void Maintain();
  void TellOfClock(const OpenRepository& repository);
  absl::Status SubmitDue();
  absl::StatusOr<bool> IsDue(const OpenRepository& repository);

  catalog::Catalog& catalog_;
  jobs::JobEngine& engine_;
  jobs::EventHub& events_;
  const RepositorySet& repositories_;
  base::Clock& clock_;
  const PruneSchedule schedule_;
  absl::Duration maintained_at_ = -absl::InfiniteDuration();  // monotonic
  std::set<catalog::RepositoryId> clock_told_;                // whose jumped clock was told of

  absl::Mutex mu_;  // a wake-up that comes while the thread works isn't lost
  bool woken_ ABSL_GUARDED_BY(mu_) = true;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  jobs::Subscription subscription_;
  std::jthread thread_;
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_PRUNE_RUNNER_H_
