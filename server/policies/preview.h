// What a policy would do that isn't made yet. Pure but for the clock's time that is handed in.
#ifndef UMBRA_SERVER_POLICIES_PREVIEW_H_
#define UMBRA_SERVER_POLICIES_PREVIEW_H_

#include <cstddef>
#include <vector>

#include "absl/time/time.h"
#include "server/policies/policy_set.h"
#include "server/retention/retention.h"
#include "storage/catalog/policy_records.h"

namespace umbra::policies {

// More aren't looked for: who reads them?
inline constexpr size_t kExpectedPointsMax = 1000;

// The points that a machine would have at `now`, had the policy always run on time: what its retention keeps of them,
// newest first, at most kExpectedPointsMax, each with why. None without a schedule. Goes back as far as the rules
// reach, from one point that may be kept to the next: some 50 us for each, whatever lies in between.
std::vector<retention::Verdict> ExpectedPoints(const CompiledPolicy& policy, absl::Time now);

// `policies` with `policy` among them, in the place of the one of its name, when there is one.
PolicySet WithPolicy(std::vector<catalog::Policy> policies, const catalog::Policy& policy);

}  // namespace umbra::policies

#endif  // UMBRA_SERVER_POLICIES_PREVIEW_H_
