// Which virtual machines are protected, and whose newest good recovery point is older than promised.
#ifndef UMBRA_SERVER_POLICIES_COVERAGE_H_
#define UMBRA_SERVER_POLICIES_COVERAGE_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/policies/policy_set.h"
#include "storage/catalog/catalog.h"

namespace umbra::policies {

struct CoverageEntry {
  catalog::Subject subject;
  std::vector<catalog::PolicyId> policies;  // none: unprotected
  std::optional<absl::Duration> rpo;        // the shortest promise
  std::optional<absl::Time> last_good;
  bool rpo_missed = false;
};

enum class CoverageFilter { kAll = 0, kUnprotected = 1, kRpoMissed = 2, kAtRisk = 3 };

// Machines that one call looks at, so that it's quick in the largest fleet; a page may be short, or empty, and not the
// last.
inline constexpr int kCoverageLookedAtMax = 2000;

// Virtual machines ordered by key, those that fit the filter.
absl::StatusOr<catalog::Page<CoverageEntry, catalog::VmKey>> ListCoverage(
    catalog::Catalog& catalog, const PolicySet& set, CoverageFilter filter, absl::Time now,
    const catalog::ListOptions<catalog::VmKey>& options);

// A virtual machine whose newest backup that went well or failed is one that failed.
struct FailingVm {
  catalog::VmKey key;
  std::string display_name;
  catalog::JobId job;
  absl::Time end_time;
  catalog::JobMessage error;  // empty when the job is gone since
};

// Each machine counts once: as failing, else unprotected, else never backed up, else late, else protected.
struct CoverageSummary {
  int64_t total = 0;
  int64_t protected_count = 0;
  int64_t failing = 0;
  int64_t unprotected = 0;
  int64_t never = 0;
  int64_t late = 0;
  std::vector<FailingVm> newest_failing;  // newest first, at most kFailingTold
};
inline constexpr size_t kFailingTold = 20;

// Looks at every virtual machine, in pages: others read in between. Some 5 us for each, besides what the policies'
// expressions take.
absl::StatusOr<CoverageSummary> SummarizeCoverage(catalog::Catalog& catalog, const PolicySet& set, absl::Time now);

// The same as numbers for each policy.
struct CoverageFigures {
  int64_t protected_count = 0;  // machines that a policy selects
  int64_t unprotected = 0;
  int64_t rpo_missed = 0;

  struct OfPolicy {
    int64_t members = 0;
    int64_t without_good_point = 0;
    std::optional<absl::Duration> oldest;  // the greatest age among its members' newest good points
  };
  std::map<catalog::PolicyId, OfPolicy> policies;  // each policy, also one that selects nothing
};
// Looks at every virtual machine, in pages: others read in between. Some ten seconds for a million of them.
absl::StatusOr<CoverageFigures> CountCoverage(catalog::Catalog& catalog, const PolicySet& set, absl::Time now);

}  // namespace umbra::policies

#endif  // UMBRA_SERVER_POLICIES_COVERAGE_H_
