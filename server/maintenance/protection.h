// Changes what may be done with a recovery point (removed, held, locked): in its repository, and then in the catalog.
#ifndef UMBRA_SERVER_MAINTENANCE_PROTECTION_H_
#define UMBRA_SERVER_MAINTENANCE_PROTECTION_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

struct ProtectionChange {
  // Asks the repository for it.
  absl::FunctionRef<absl::StatusOr<repo::PointProtection>(repo::Repository&, const std::string& id)> change;
  std::string event_type;
  std::string requester;  // for the event; empty: not known
};

// The point as it is then. The repository is the truth: a crash after it is put right by the next start. Row and event
// are one transaction. NOT_FOUND / RECOVERY_POINT_NOT_FOUND; errors of the repository and of the catalog.
absl::StatusOr<catalog::RecoveryPoint> ChangeProtection(catalog::Catalog& catalog, const RepositorySet& repositories,
                                                        base::Clock& clock, const catalog::RecoveryPointId& id,
                                                        const ProtectionChange& wanted);

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_PROTECTION_H_
