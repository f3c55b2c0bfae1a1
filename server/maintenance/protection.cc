#include "server/maintenance/protection.h"

#include "server/maintenance/rebuild.h"
#include "storage/base/status.h"

namespace umbra::maintenance {

absl::StatusOr<catalog::RecoveryPoint> ChangeProtection(catalog::Catalog& catalog, const RepositorySet& repositories,
                                                        base::Clock& clock, const catalog::RecoveryPointId& id,
                                                        const ProtectionChange& wanted) {
  ASSIGN_OR_RETURN(catalog::RecoveryPoint point,
                   catalog.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); }));
  ASSIGN_OR_RETURN(const OpenRepository* open, repositories.Find(point.repository));
  ASSIGN_OR_RETURN(const repo::PointProtection now, wanted.change(*open->repository, id.value));
  point.protection = ToRecord(now);
  catalog::Event event;
  event.time = clock.Now();
  event.type = wanted.event_type;
  event.resource = fmt::format("recoveryPoints/{}", id);
  event.severity = catalog::Severity::kInfo;
  event.message = fmt::format("recovery point {} of {}{}{}", id, point.vm_display_name,
                              wanted.requester.empty() ? "" : ", by ", wanted.requester);
  RETURN_IF_ERROR(catalog.Write([&](catalog::Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.recovery_points.SetProtection(id, point.protection));
    return s.events.Append(event).status();
  }));
  return point;
}

}  // namespace umbra::maintenance
