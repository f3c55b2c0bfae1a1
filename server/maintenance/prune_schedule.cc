#include "server/maintenance/prune_schedule.h"

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {

absl::Status PruneSchedule::Tick() {
  if (every_ <= absl::ZeroDuration()) return absl::OkStatus();
  absl::Status status;
  for (const OpenRepository& repository : repositories_.All()) status.Update(TickOne(repository));
  return status;
}

absl::Status PruneSchedule::TickOne(const OpenRepository& repository) {
  ASSIGN_OR_RETURN(const auto last,
                   catalog_.Read([&](const catalog::Stores& stores) { return stores.jobs.LastPrune(repository.id); }));
  const absl::Time now = clock_.Now();
  if (last.has_value() && !catalog::IsTerminal(last->state)) return absl::OkStatus();
  // One that failed is tried again at the next due time only: the reason is in its job.
  const absl::Time since = last.has_value() ? last->create_time : repository.repository->info().create_time;
  // A time to come is that of a clock which went wrong: no reason to wait for it.
  if (since <= now && now - since < every_) return absl::OkStatus();
  ASSIGN_OR_RETURN(const catalog::Job job, engine_.Submit(catalog::PruneSpec{.repository = repository.id}));
  base::Log("maintenance")->info("prune scheduled job={} repository={}", job.id, repository.id);
  return absl::OkStatus();
}

}  // namespace umbra::maintenance
