// Starts verifications by itself, so that everything is read within a number of days.
#ifndef UMBRA_SERVER_MAINTENANCE_VERIFY_SCHEDULE_H_
#define UMBRA_SERVER_MAINTENANCE_VERIFY_SCHEDULE_H_

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

struct VerifyScheduleOptions {
  // Time from one run to the next; zero: none is started. Shorter: smaller runs, and damage is known earlier.
  absl::Duration interval = absl::Hours(24);
  // Every byte is read within this time, if the budgets allow it. Longer than backups are kept: some are never read.
  absl::Duration within = absl::Hours(24 * 30);
  // No pack is begun after this much time in one run. Too short for `within`: the runs say so (VERIFY_BEHIND).
  absl::Duration time_budget = absl::Hours(1);
};

// One thread at a time. What it is given outlives it.
class VerifySchedule {
 public:
  VerifySchedule(catalog::Catalog& catalog, jobs::JobEngine& engine, const RepositorySet& repositories,
                 base::Clock& clock, const VerifyScheduleOptions& options)
      : catalog_(catalog), engine_(engine), repositories_(repositories), clock_(clock), options_(options) {}

  // Submits a VERIFY job (level full) for each repository whose last one is `interval` ago, by whoever started that,
  // unless one is waiting or running. Call now and then.
  absl::Status Tick();

 private:
  absl::Status TickOne(const OpenRepository& repository);

  catalog::Catalog& catalog_;
  jobs::JobEngine& engine_;
  const RepositorySet& repositories_;
  base::Clock& clock_;
  const VerifyScheduleOptions options_;
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_VERIFY_SCHEDULE_H_
