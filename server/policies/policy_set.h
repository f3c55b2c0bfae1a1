// All policies, read and ready to be asked: what does each select, who selects this virtual machine?
#ifndef UMBRA_SERVER_POLICIES_POLICY_SET_H_
#define UMBRA_SERVER_POLICIES_POLICY_SET_H_

#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "server/calendar/plan.h"
#include "server/policies/expression.h"
#include "server/retention/retention.h"
#include "storage/catalog/catalog.h"

namespace umbra::policies {

// One policy with its texts read. A value; thread-safe to look at.
class CompiledPolicy {
 public:
  // INVALID_ARGUMENT / INVALID_SCHEDULE, INVALID_TIME_ZONE, INVALID_WINDOW, INVALID_SELECTION.
  static absl::StatusOr<CompiledPolicy> Compile(const catalog::Policy& policy);

  const catalog::Policy& record() const { return record_; }
  const calendar::Plan& plan() const { return plan_; }
  // Named by a part of the selection, and not left out. `everything_else` is for PolicySet: it needs the others.
  bool Selects(const catalog::Subject& subject) const;
  bool Excludes(const catalog::Subject& subject) const { return exclude_.Matches(subject); }
  retention::RuleSet Rules() const;

 private:
  catalog::Policy record_;
  calendar::Plan plan_;
  absl::flat_hash_set<catalog::VmKey> members_;
  absl::flat_hash_set<catalog::HostId> hosts_;
  Expression expression_;
  Expression exclude_;
};

// As of one moment; thread-safe to look at. A policy that can't be read any more (a time zone that is gone from the
// machine) is left out and logged.
class PolicySet {
 public:
  static absl::StatusOr<PolicySet> Load(catalog::Catalog& catalog);
  explicit PolicySet(const std::vector<catalog::Policy>& policies);

  const std::vector<CompiledPolicy>& All() const { return policies_; }
  const CompiledPolicy* Find(const catalog::PolicyId& id) const;
  // Those that select it, in order of their names.
  std::vector<const CompiledPolicy*> Covering(const catalog::Subject& subject) const;
  bool Selects(const CompiledPolicy& policy, const catalog::Subject& subject) const;

 private:
  bool SelectedByName(const catalog::Subject& subject) const;

  std::vector<CompiledPolicy> policies_;  // ordered by id
};

// Calls `each` for every virtual machine and file set of the inventory, ordered by key among each. Reads in pages:
// others get their turn in between.
absl::Status ForEachSubject(catalog::Catalog& catalog, const std::function<void(const catalog::Subject&)>& each);

// What `policy` selects of the inventory at present.
absl::StatusOr<std::vector<catalog::Subject>> Select(catalog::Catalog& catalog, const PolicySet& set,
                                                     const CompiledPolicy& policy);

// What becomes one job: of one host, at most kMembersPerJobMax.
struct Group {
  std::string key;  // the same for the same machine, or host, each time
  std::vector<catalog::VmKey> members;
};
inline constexpr size_t kMembersPerJobMax = 64;  // as many as one backup may have
std::vector<Group> GroupMembers(const catalog::Policy& policy, const std::vector<catalog::Subject>& subjects);

}  // namespace umbra::policies

#endif  // UMBRA_SERVER_POLICIES_POLICY_SET_H_
