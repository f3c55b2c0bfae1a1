#include "server/maintenance/due.h"

namespace umbra::maintenance {

absl::Status TickEach(const RepositorySet& repositories, absl::Duration interval,
                      absl::FunctionRef<absl::Status(const OpenRepository&)> tick) {
  if (interval <= absl::ZeroDuration()) return absl::OkStatus();
  absl::Status status;
  for (const OpenRepository& repository : repositories.All()) status.Update(tick(repository));
  return status;
}

bool IsDue(const OpenRepository& repository, const std::optional<catalog::JobStore::Submitted>& last, absl::Time now,
           absl::Duration interval) {
  if (last.has_value() && !catalog::IsTerminal(last->state)) return false;
  const absl::Time since = last.has_value() ? last->create_time : repository.repository->info().create_time;
  // A time to come is that of a clock which went wrong: no reason to wait for it.
  return since > now || now - since >= interval;
}

}  // namespace umbra::maintenance
