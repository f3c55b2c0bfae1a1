// When the daemon's own work on a repository is due again.
#ifndef UMBRA_SERVER_MAINTENANCE_DUE_H_
#define UMBRA_SERVER_MAINTENANCE_DUE_H_

#include <optional>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/maintenance/repository_set.h"
#include "storage/catalog/job_store.h"

namespace umbra::maintenance {

// Calls `tick` for every repository, whatever becomes of the others; the first error. `interval` zero: for none.
absl::Status TickEach(const RepositorySet& repositories, absl::Duration interval,
                      absl::FunctionRef<absl::Status(const OpenRepository&)> tick);

// The last job of a kind, by whoever started it, or without one the repository's making is `interval` ago. Not while
// the job waits or runs. One that failed counts like one that didn't: the reason is in it.
bool IsDue(const OpenRepository& repository, const std::optional<catalog::JobStore::Submitted>& last, absl::Time now,
           absl::Duration interval);

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_DUE_H_
