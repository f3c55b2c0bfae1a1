#include "server/policies/coverage_board.h"

#include <algorithm>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::policies {

void CoverageBoard::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopped_ = true;
  }
  ticker_.Stop();
}

bool CoverageBoard::FreshLocked() const {
  return summary_ != nullptr && clock_.Monotonic() - counted_at_ <= kCoverageAgeMax;
}

absl::StatusOr<std::shared_ptr<const CoverageSummary>> CoverageBoard::Get() {
  absl::MutexLock lock(&mu_);
  asked_at_ = clock_.Monotonic();
  if (FreshLocked()) return summary_;
  const int64_t before = counts_;
  ticker_.Wake();
  const auto answered = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return stopped_ || counts_ != before; };
  clock_.AwaitFor(mu_, absl::Condition(&answered), kCoverageWaitMax);
  if (counts_ != before && last_.ok()) return summary_;
  if (counts_ != before) return last_;
  return base::Error(absl::StatusCode::kUnavailable, "SERVER_BUSY",
                     "the virtual machines aren't counted yet; ask again");
}

absl::StatusOr<CoverageSummary> CoverageBoard::Count() const {
  ASSIGN_OR_RETURN(const PolicySet set, PolicySet::Load(catalog_));
  return SummarizeCoverage(catalog_, set, clock_.Now());
}

absl::Duration CoverageBoard::Tick() {
  const absl::Duration began = clock_.Monotonic();
  {
    absl::MutexLock lock(&mu_);
    if (stopped_ || began - asked_at_ > kCoverageAskedFor) return kCoverageAskedFor;
    // Many who found the sums too old wake it once each.
    if (summary_ != nullptr && began - counted_at_ < kCoverageEvery) return counted_at_ + kCoverageEvery - began;
  }
  absl::StatusOr<CoverageSummary> counted = Count();
  if (!counted.ok()) base::Log("policies")->warn("machines not counted error={}", base::Describe(counted.status()));
  absl::MutexLock lock(&mu_);
  ++counts_;
  last_ = counted.status();
  if (counted.ok()) {
    summary_ = std::make_shared<const CoverageSummary>(*std::move(counted));
    counted_at_ = began;
  }
  // As long as it took at least: it must not be the only thing that the machine does.
  return std::max(kCoverageEvery, 2 * (clock_.Monotonic() - began));
}

}  // namespace umbra::policies
