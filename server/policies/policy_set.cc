#include "server/policies/policy_set.h"

#include <algorithm>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::policies {
namespace {

// Some 5 ms of reading.
constexpr int kSubjectsPerRead = 2000;

}  // namespace

absl::StatusOr<CompiledPolicy> CompiledPolicy::Compile(const catalog::Policy& policy) {
  CompiledPolicy compiled;
  compiled.record_ = policy;
  ASSIGN_OR_RETURN(compiled.plan_,
                   calendar::Plan::Parse(policy.schedules, policy.time_zone, policy.windows, policy.closed));
  ASSIGN_OR_RETURN(compiled.expression_, Expression::Parse(policy.selection.expression));
  ASSIGN_OR_RETURN(compiled.exclude_, Expression::Parse(policy.selection.exclude));
  compiled.members_.insert(policy.selection.members.begin(), policy.selection.members.end());
  compiled.hosts_.insert(policy.selection.hosts.begin(), policy.selection.hosts.end());
  return compiled;
}

bool CompiledPolicy::Selects(const catalog::Subject& subject) const {
  if (Excludes(subject)) return false;
  if (members_.contains(subject.key)) return true;
  if (hosts_.contains(subject.key.host) && !filetree::FileSetOf(subject.key.uuid).has_value()) return true;
  return expression_.Matches(subject);
}

retention::RuleSet CompiledPolicy::Rules() const {
  const catalog::PolicyRetention& r = record_.retention;
  return {record_.id.value, {r.last, r.hourly, r.daily, r.weekly, r.monthly, r.yearly, r.within}, plan_.zone()};
}

absl::StatusOr<PolicySet> PolicySet::Load(catalog::Catalog& catalog) {
  ASSIGN_OR_RETURN(const auto policies, catalog.Read([](const catalog::Stores& s) { return s.policies.All(); }));
  return PolicySet(policies);
}

PolicySet::PolicySet(const std::vector<catalog::Policy>& policies) {
  for (const catalog::Policy& policy : policies) {
    auto compiled = CompiledPolicy::Compile(policy);
    if (compiled.ok()) {
      policies_.push_back(*std::move(compiled));
    } else {
      base::Log("policies")
          ->error("policy can't be used policy={} error={}", policy.id, base::Describe(compiled.status()));
    }
  }
}

const CompiledPolicy* PolicySet::Find(const catalog::PolicyId& id) const {
  const auto found = std::ranges::find_if(policies_, [&](const CompiledPolicy& p) { return p.record().id == id; });
  return found == policies_.end() ? nullptr : &*found;
}

bool PolicySet::SelectedByName(const catalog::Subject& subject) const {
  return std::ranges::any_of(policies_, [&](const CompiledPolicy& p) { return p.Selects(subject); });
}

bool PolicySet::Selects(const CompiledPolicy& policy, const catalog::Subject& subject) const {
  if (policy.Selects(subject)) return true;
  if (!policy.record().selection.everything_else || policy.Excludes(subject)) return false;
  return !filetree::FileSetOf(subject.key.uuid).has_value() && !SelectedByName(subject);
}

std::vector<const CompiledPolicy*> PolicySet::Covering(const catalog::Subject& subject) const {
  std::vector<const CompiledPolicy*> covering;
  for (const CompiledPolicy& policy : policies_) {
    if (policy.Selects(subject)) covering.push_back(&policy);
  }
  if (!covering.empty() || filetree::FileSetOf(subject.key.uuid).has_value()) return covering;
  for (const CompiledPolicy& policy : policies_) {
    if (policy.record().selection.everything_else && !policy.Excludes(subject)) covering.push_back(&policy);
  }
  return covering;
}

absl::Status ForEachSubject(catalog::Catalog& catalog, const std::function<void(const catalog::Subject&)>& each) {
  catalog::ListOptions<catalog::VmKey> options{.page_size = kSubjectsPerRead};
  while (true) {
    ASSIGN_OR_RETURN(const auto page, catalog.Read([&](const catalog::Stores& s) { return s.policies.Vms(options); }));
    for (const catalog::Subject& subject : page.items) each(subject);
    if (!page.next_key) break;
    options.after_key = page.next_key;
  }
  ASSIGN_OR_RETURN(const auto sets, catalog.Read([](const catalog::Stores& s) { return s.policies.FileSets(); }));
  for (const catalog::Subject& subject : sets) each(subject);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<catalog::Subject>> Select(catalog::Catalog& catalog, const PolicySet& set,
                                                     const CompiledPolicy& policy) {
  std::vector<catalog::Subject> selected;
  RETURN_IF_ERROR(ForEachSubject(catalog, [&](const catalog::Subject& subject) {
    if (set.Selects(policy, subject)) selected.push_back(subject);
  }));
  return selected;
}

std::vector<Group> GroupMembers(const catalog::Policy& policy, const std::vector<catalog::Subject>& subjects) {
  std::vector<Group> groups;
  if (policy.grouping == catalog::PolicyGrouping::kVirtualMachine) {
    for (const catalog::Subject& s : subjects) groups.push_back({s.key.host.value + "/" + s.key.uuid, {s.key}});
    return groups;
  }
  std::vector<catalog::VmKey> keys;
  for (const catalog::Subject& s : subjects) keys.push_back(s.key);
  std::ranges::sort(keys);
  int part = 0;
  for (const catalog::VmKey& key : keys) {
    const bool same_host = !groups.empty() && groups.back().members.front().host == key.host;
    if (!same_host) part = 0;
    if (!same_host || groups.back().members.size() == kMembersPerJobMax) {
      groups.push_back({fmt::format("{}#{}", key.host, part++), {}});
    }
    groups.back().members.push_back(key);
  }
  return groups;
}

}  // namespace umbra::policies
