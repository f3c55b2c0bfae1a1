#include "server/policies/coverage.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "storage/base/status.h"

namespace umbra::policies {
namespace {

CoverageEntry EntryOf(const PolicySet& set, catalog::Subject subject, std::optional<absl::Time> last_good,
                      absl::Time now) {
  CoverageEntry entry{.subject = std::move(subject), .last_good = last_good};
  for (const CompiledPolicy* policy : set.Covering(entry.subject)) {
    entry.policies.push_back(policy->record().id);
    const absl::Duration rpo = policy->record().rpo;
    if (rpo > absl::ZeroDuration()) entry.rpo = std::min(entry.rpo.value_or(rpo), rpo);
  }
  entry.rpo_missed = entry.rpo && (!last_good || now - *last_good > *entry.rpo);
  return entry;
}

bool Fits(const CoverageEntry& entry, CoverageFilter filter) {
  const bool unprotected = entry.policies.empty();
  switch (filter) {
    case CoverageFilter::kAll:
      return true;
    case CoverageFilter::kUnprotected:
      return unprotected;
    case CoverageFilter::kRpoMissed:
      return entry.rpo_missed;
    case CoverageFilter::kAtRisk:
      return unprotected || entry.rpo_missed;
  }
  return false;
}

void Count(const CoverageEntry& entry, absl::Time now, CoverageFigures& figures) {
  ++(entry.policies.empty() ? figures.unprotected : figures.protected_count);
  if (entry.rpo_missed) ++figures.rpo_missed;
  for (const catalog::PolicyId& id : entry.policies) {
    CoverageFigures::OfPolicy& policy = figures.policies[id];
    ++policy.members;
    if (!entry.last_good) {
      ++policy.without_good_point;
    } else {
      const absl::Duration age = now - *entry.last_good;
      policy.oldest = std::max(policy.oldest.value_or(age), age);
    }
  }
}

void Count(const CoverageEntry& entry, bool fails, CoverageSummary& sums) {
  ++sums.total;
  if (fails) {
    ++sums.failing;
  } else if (entry.policies.empty()) {
    ++sums.unprotected;
  } else if (!entry.last_good) {
    ++sums.never;
  } else {
    ++(entry.rpo_missed ? sums.late : sums.protected_count);
  }
}

bool NewerFailure(const FailingVm& a, const FailingVm& b) {
  return std::tie(b.end_time, a.key) < std::tie(a.end_time, b.key);
}

// Keeps the newest ones of those that were added.
void AddFailing(FailingVm vm, std::vector<FailingVm>& newest) {
  if (newest.size() == kFailingTold && !NewerFailure(vm, newest.back())) return;
  newest.insert(std::ranges::upper_bound(newest, vm, NewerFailure), std::move(vm));
  if (newest.size() > kFailingTold) newest.pop_back();
}

// Some 5 ms of reading.
constexpr int kCountedPerRead = 1000;

}  // namespace

absl::StatusOr<CoverageSummary> SummarizeCoverage(catalog::Catalog& catalog, const PolicySet& set, absl::Time now) {
  CoverageSummary sums;
  catalog::ListOptions<catalog::VmKey> options{.page_size = kCountedPerRead};
  do {
    ASSIGN_OR_RETURN(auto page, catalog.Read([&](const catalog::Stores& s) { return s.policies.VmStates(options); }));
    for (catalog::PolicyStore::VmState& state : page.items) {
      const CoverageEntry entry = EntryOf(set, std::move(state.subject), state.last_good, now);
      const bool fails = !state.failed_job.empty();
      Count(entry, fails, sums);
      if (!fails) continue;
      AddFailing({entry.subject.key, entry.subject.display_name, state.failed_job, state.failed_time, {}},
                 sums.newest_failing);
    }
    options.after_key = page.next_key;
  } while (options.after_key);
  RETURN_IF_ERROR(catalog.Read([&](const catalog::Stores& s) -> absl::Status {
    for (FailingVm& vm : sums.newest_failing) {
      ASSIGN_OR_RETURN(vm.error, s.jobs.ErrorOf(vm.job));
    }
    return absl::OkStatus();
  }));
  return sums;
}

absl::StatusOr<CoverageFigures> CountCoverage(catalog::Catalog& catalog, const PolicySet& set, absl::Time now) {
  CoverageFigures figures;
  for (const CompiledPolicy& policy : set.All()) figures.policies[policy.record().id];
  catalog::ListOptions<catalog::VmKey> options{.page_size = kCountedPerRead};
  do {
    ASSIGN_OR_RETURN(const auto page, ListCoverage(catalog, set, CoverageFilter::kAll, now, options));
    for (const CoverageEntry& entry : page.items) Count(entry, now, figures);
    options.after_key = page.next_key;
  } while (options.after_key);
  return figures;
}

absl::StatusOr<catalog::Page<CoverageEntry, catalog::VmKey>> ListCoverage(
    catalog::Catalog& catalog, const PolicySet& set, CoverageFilter filter, absl::Time now,
    const catalog::ListOptions<catalog::VmKey>& options) {
  using CoveragePage = catalog::Page<CoverageEntry, catalog::VmKey>;
  const bool all = filter == CoverageFilter::kAll;
  catalog::ListOptions<catalog::VmKey> looked = options;
  looked.page_size = all ? options.page_size : kCoverageLookedAtMax;
  return catalog.Read([&](const catalog::Stores& s) -> absl::StatusOr<CoveragePage> {
    CoveragePage page;
    ASSIGN_OR_RETURN(auto states, s.policies.VmStates(looked));
    page.next_key = states.next_key;
    const catalog::VmKey last = states.items.empty() ? catalog::VmKey() : states.items.back().subject.key;
    for (catalog::PolicyStore::VmState& state : states.items) {
      CoverageEntry entry = EntryOf(set, std::move(state.subject), state.last_good, now);
      if (!Fits(entry, filter)) continue;
      page.items.push_back(std::move(entry));
      if (static_cast<int>(page.items.size()) < options.page_size) continue;
      if (page.items.back().subject.key != last) page.next_key = page.items.back().subject.key;
      break;
    }
    return page;
  });
}

}  // namespace umbra::policies
