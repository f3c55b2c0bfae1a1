// Starts prunes by itself, once in a while.
#ifndef UMBRA_SERVER_MAINTENANCE_PRUNE_SCHEDULE_H_
#define UMBRA_SERVER_MAINTENANCE_PRUNE_SCHEDULE_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

// One thread at a time. What it is given outlives it.
class PruneSchedule {
 public:
  // `every` zero: prunes run only when somebody asks.
  PruneSchedule(catalog::Catalog& catalog, jobs::JobEngine& engine, const RepositorySet& repositories,
                base::Clock& clock, absl::Duration every)
      : catalog_(catalog), engine_(engine), repositories_(repositories), clock_(clock), every_(every) {}

  // Submits a PRUNE job for each repository whose last one, by whoever started that, or whose making is `every` ago,
  // unless one is waiting or running. Call now and then.
  absl::Status Tick();

 private:
  absl::Status TickOne(const OpenRepository& repository);

  catalog::Catalog& catalog_;
  jobs::JobEngine& engine_;
  const RepositorySet& repositories_;
  base::Clock& clock_;
  const absl::Duration every_;
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_PRUNE_SCHEDULE_H_
