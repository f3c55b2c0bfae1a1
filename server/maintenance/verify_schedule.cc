#include "server/maintenance/verify_schedule.h"

#include "server/maintenance/verify_plan.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {

absl::Status VerifySchedule::Tick() {
  if (options_.interval <= absl::ZeroDuration()) return absl::OkStatus();
  absl::Status status;
  for (const OpenRepository& repository : repositories_.All()) status.Update(TickOne(repository));
  return status;
}

absl::Status VerifySchedule::TickOne(const OpenRepository& repository) {
  ASSIGN_OR_RETURN(const auto last, catalog_.Read([&](const catalog::Stores& stores) {
    return stores.jobs.LastVerification(repository.id);
  }));
  const absl::Time now = clock_.Now();
  if (last.has_value() && !catalog::IsTerminal(last->state)) return absl::OkStatus();
  const absl::Time since = last.has_value() ? last->create_time : repository.repository->info().create_time;
  // A time to come is that of a clock which went wrong: no reason to wait for it.
  if (since <= now && now - since < options_.interval) return absl::OkStatus();
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
