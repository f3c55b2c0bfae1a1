#include "server/policies/coverage.h"

#include <algorithm>
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

// Some 5 ms of reading.
constexpr int kCountedPerRead = 500;

}  // namespace

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
    ASSIGN_OR_RETURN(auto subjects, s.policies.Vms(looked));
    page.next_key = subjects.next_key;
    const catalog::VmKey last = subjects.items.empty() ? catalog::VmKey() : subjects.items.back().key;
    for (catalog::Subject& subject : subjects.items) {
      ASSIGN_OR_RETURN(const auto last_good, s.policies.LastGood(subject.key));
      CoverageEntry entry = EntryOf(set, std::move(subject), last_good, now);
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
