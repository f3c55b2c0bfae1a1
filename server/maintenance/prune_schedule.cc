#include "server/maintenance/prune_schedule.h"

#include "server/maintenance/due.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {

absl::Status PruneSchedule::Tick() {
  return TickEach(repositories_, every_, [this](const OpenRepository& repository) { return TickOne(repository); });
}

absl::Status PruneSchedule::TickOne(const OpenRepository& repository) {
  ASSIGN_OR_RETURN(const auto last,
                   catalog_.Read([&](const catalog::Stores& stores) { return stores.jobs.LastPrune(repository.id); }));
  if (!IsDue(repository, last, clock_.Now(), every_)) return absl::OkStatus();
  ASSIGN_OR_RETURN(const catalog::Job job, engine_.Submit(catalog::PruneSpec{.repository = repository.id}));
  base::Log("maintenance")->info("prune scheduled job={} repository={}", job.id, repository.id);
  return absl::OkStatus();
}

}  // namespace umbra::maintenance
