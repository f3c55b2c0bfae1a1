#include "server/maintenance/verify_schedule.h"

#include "server/maintenance/due.h"
#include "server/maintenance/verify_plan.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {

absl::Status VerifySchedule::Tick() {
  return TickEach(repositories_, options_.interval,
                  [this](const OpenRepository& repository) { return TickOne(repository); });
}

absl::Status VerifySchedule::TickOne(const OpenRepository& repository) {
  ASSIGN_OR_RETURN(const auto last, catalog_.Read([&](const catalog::Stores& stores) {
    return stores.jobs.LastVerification(repository.id);
  }));
  const absl::Time now = clock_.Now();
  if (!IsDue(repository, last, now, options_.interval)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto packs, PacksByAge(catalog_, repository, catalog::VerifyLevel::kFull));
  const int64_t due = BytesDue(packs, now, options_.interval, options_.within);
  if (due == 0) return absl::OkStatus();
  const catalog::VerifySpec spec{.repository = repository.id,
                                 .recovery_point = {},
                                 .level = catalog::VerifyLevel::kFull,
                                 .time_budget = options_.time_budget,
                                 .byte_budget = due};
  ASSIGN_OR_RETURN(const catalog::Job job, engine_.Submit(spec));
  base::Log("maintenance")
      ->info("verification scheduled job={} repository={} bytes={} packs={}", job.id, repository.id, due, packs.size());
  return absl::OkStatus();
}

}  // namespace umbra::maintenance
