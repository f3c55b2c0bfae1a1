#include "server/maintenance/verify_plan.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "storage/base/status.h"

namespace umbra::maintenance {

absl::StatusOr<std::vector<PackAge>> PacksByAge(catalog::Catalog& catalog, const OpenRepository& repository,
                                                catalog::VerifyLevel level) {
  ASSIGN_OR_RETURN(const auto checks, catalog.Read([&](const catalog::Stores& stores) {
    return stores.verify.PackChecks(repository.id);
  }));
  std::map<std::string, absl::Time> verified;
  for (const catalog::PackCheck& check : checks) {
    if (level == catalog::VerifyLevel::kStored) {
      verified[check.pack] = check.stored_time;
    } else if (check.full_time.has_value()) {
      verified[check.pack] = *check.full_time;
    }
  }
  std::vector<PackAge> packs;
  for (const repo::PackInfo& pack : repository.repository->ListPacks()) {
    const auto at = verified.find(pack.id);
    packs.push_back({.pack = pack.id,
                     .size_bytes = static_cast<int64_t>(pack.size_bytes),
                     .since = at == verified.end() ? pack.create_time : at->second,
                     .verified = at != verified.end()});
  }
  std::sort(packs.begin(), packs.end(),
            [](const PackAge& a, const PackAge& b) { return std::tie(a.since, a.pack) < std::tie(b.since, b.pack); });
  return packs;
}

int64_t BytesDue(const std::vector<PackAge>& packs, absl::Time now, absl::Duration interval, absl::Duration within) {
  int64_t total = 0;
  int64_t overdue = 0;
  for (const PackAge& pack : packs) {
    total += pack.size_bytes;
    if (now + interval - pack.since >= within) overdue += pack.size_bytes;
  }
  if (total == 0) return 0;
  const double share = std::min(1.0, absl::FDivDuration(interval, within));
  const auto even = static_cast<int64_t>(static_cast<double>(total) * share);
  return std::max<int64_t>(1, std::max(even, overdue));
}

}  // namespace umbra::maintenance
