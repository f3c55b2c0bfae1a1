#include "agent/hypervisor/hypervisor.h"

#include "storage/base/status.h"

namespace umbra::hypervisor {

absl::StatusOr<std::unique_ptr<PointInTime>> Hypervisor::BeginPointInTime(const std::string& uuid,
                                                                          const PointInTimeOptions& options) {
  ASSIGN_OR_RETURN(auto prepared, PreparePointInTime(uuid, options));
  return prepared->Begin();
}

}  // namespace umbra::hypervisor
