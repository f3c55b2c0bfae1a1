// In which order a repository is verified, and how much of it is due.
#ifndef UMBRA_SERVER_MAINTENANCE_VERIFY_PLAN_H_
#define UMBRA_SERVER_MAINTENANCE_VERIFY_PLAN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/maintenance/repository_set.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

// A pack, and since when nobody has read it. One that was never verified counts from when it was made.
struct PackAge {
  std::string pack;
  int64_t size_bytes = 0;
  absl::Time since;
  bool verified = false;
};

// All packs of the repository, least recently verified first. `level` kStored counts checks of either level, others
// full ones. Errors: those of the catalog.
absl::StatusOr<std::vector<PackAge>> PacksByAge(catalog::Catalog& catalog, const OpenRepository& repository,
                                                catalog::VerifyLevel level);

// The bytes that a run now should read at least, when there is one every `interval` and everything is to be read within
// `within`: an even share, and in any case what would be older than that before the next run. 0 when there are no
// packs.
int64_t BytesDue(const std::vector<PackAge>& packs, absl::Time now, absl::Duration interval, absl::Duration within);

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_VERIFY_PLAN_H_
