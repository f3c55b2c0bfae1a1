#include "server/policies/preview.h"

#include <algorithm>
#include <optional>
#include <string>
#include <utility>

namespace umbra::policies {

std::vector<retention::Verdict> ExpectedPoints(const CompiledPolicy& policy, absl::Time now) {
  retention::RuleSet rules = policy.Rules();
  rules.policy.clear();  // there is but this one
  retention::Walk walk(rules);
  std::vector<retention::Point> points;
  // What is due now has run.
  std::optional<absl::Time> before = now + absl::Nanoseconds(1);
  // The walk goes through a few points that no rule keeps; far more than are shown aren't looked at.
  while (before && points.size() < 2 * kExpectedPointsMax) {
    const std::optional<calendar::Run> run = policy.plan().Previous(*before, now);
    if (!run) break;
    points.push_back({std::to_string(points.size()), run->due});
    before = walk.Before(run->due);
  }
  std::vector<retention::Verdict> verdicts = retention::Decide(points, std::vector{rules});
  std::erase_if(verdicts, [](const retention::Verdict& verdict) { return !verdict.keeps(); });
  if (verdicts.size() > kExpectedPointsMax) verdicts.resize(kExpectedPointsMax);
  return verdicts;
}

PolicySet WithPolicy(std::vector<catalog::Policy> policies, const catalog::Policy& policy) {
  const auto at = std::ranges::lower_bound(policies, policy.id, {}, &catalog::Policy::id);
  if (at != policies.end() && at->id == policy.id) {
    *at = policy;
  } else {
    policies.insert(at, policy);
  }
  return PolicySet(policies);
}

}  // namespace umbra::policies
