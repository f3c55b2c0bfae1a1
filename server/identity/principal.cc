#include "server/identity/principal.h"

#include <algorithm>
#include <set>

#include "server/identity/permissions.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::identity {
namespace {

using base::Invalid;

constexpr size_t kScopeEntriesMax = 256;
constexpr size_t kScopeEntrySizeMax = 512;

bool Permits(const Grant& grant, std::string_view permission) {
  return std::any_of(grant.permissions.begin(), grant.permissions.end(),
                     [&](const std::string& pattern) { return Covers(pattern, permission); });
}

// `name` is `resource`, or below it.
bool IsOrIsIn(std::string_view name, std::string_view resource) {
  return name.substr(0, resource.size()) == resource &&
         (name.size() == resource.size() || name[resource.size()] == '/');
}

bool HasLabel(const catalog::Labels& labels, std::string_view entry) {
  const size_t equals = entry.find('=');
  if (equals == std::string_view::npos) return false;
  const auto found = labels.find(std::string(entry.substr(0, equals)));
  return found != labels.end() && found->second == entry.substr(equals + 1);
}

bool AllowedBy(const std::vector<Grant>& grants, std::string_view permission, const Object& object) {
  return std::any_of(grants.begin(), grants.end(),
                     [&](const Grant& grant) { return Permits(grant, permission) && Contains(grant.scope, object); });
}

bool AllowedSomewhereBy(const std::vector<Grant>& grants, std::string_view permission) {
  return std::any_of(grants.begin(), grants.end(), [&](const Grant& grant) { return Permits(grant, permission); });
}

bool Has(const std::vector<std::string>& entries, const std::string& entry) {
  return std::find(entries.begin(), entries.end(), entry) != entries.end();
}

// One grant with the permission reaches all that `scope` does, entry by entry; which one may differ between entries.
bool Reaches(const std::vector<Grant>& grants, std::string_view permission, const Scope& scope) {
  const auto any = [&](const auto& reaches) {
    return std::any_of(grants.begin(), grants.end(), [&](const Grant& grant) {
      return Permits(grant, permission) && (grant.scope.everything() || reaches(grant.scope));
    });
  };
  if (scope.everything()) return any([](const Scope&) { return false; });
  const auto all = [&](const std::vector<std::string>& entries, std::vector<std::string> Scope::*kind) {
    return std::all_of(entries.begin(), entries.end(), [&](const std::string& entry) {
      return any([&](const Scope& held) { return Has(held.*kind, entry); });
    });
  };
  return all(scope.hosts, &Scope::hosts) && all(scope.policies, &Scope::policies) && all(scope.labels, &Scope::labels);
}

bool IsResource(std::string_view name, std::string_view collection) {
  return name.size() > collection.size() && name.substr(0, collection.size()) == collection &&
         name.find('/', collection.size()) == std::string_view::npos;
}

}  // namespace

bool Contains(const Scope& scope, const Object& object) {
  if (scope.everything()) return true;
  const auto any = [](const std::vector<std::string>& entries, const auto& matches) {
    return std::any_of(entries.begin(), entries.end(), matches);
  };
  return any(scope.hosts, [&](const std::string& h) { return IsOrIsIn(object.host, h) || IsOrIsIn(object.name, h); }) ||
         any(scope.policies,
             [&](const std::string& p) { return IsOrIsIn(object.policy, p) || IsOrIsIn(object.name, p); }) ||
         any(scope.labels, [&](const std::string& label) { return HasLabel(object.labels, label); });
}

bool Allows(const Principal& principal, std::string_view permission, const Object& object) {
  return AllowedBy(principal.grants, permission, object) &&
         (!principal.bounded || AllowedBy(principal.bounds, permission, object));
}

bool AllowsSomewhere(const Principal& principal, std::string_view permission) {
  return AllowedSomewhereBy(principal.grants, permission) &&
         (!principal.bounded || AllowedSomewhereBy(principal.bounds, permission));
}

absl::Status CheckMayGrant(const Principal& principal, const std::vector<Grant>& wanted) {
  for (const Grant& grant : wanted) {
    for (const std::string_view permission : Expand(grant.permissions)) {
      const bool reached = Reaches(principal.grants, permission, grant.scope) &&
                           (!principal.bounded || Reaches(principal.bounds, permission, grant.scope));
      if (reached) continue;
      return base::Error(absl::StatusCode::kPermissionDenied, "GRANT_TOO_WIDE",
                         "nobody can give, or change for another, more than he may do himself; {} lacks {} for it",
                         principal.name.empty() ? "the caller" : principal.name, permission);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckScope(const Scope& scope) {
  if (scope.hosts.size() + scope.policies.size() + scope.labels.size() > kScopeEntriesMax) {
    return Invalid("scope: more than {} entries", kScopeEntriesMax);
  }
  std::set<std::string> seen;
  for (const auto* entries : {&scope.hosts, &scope.policies, &scope.labels}) {
    for (const std::string& entry : *entries) {
      if (entry.size() > kScopeEntrySizeMax)
        return Invalid("scope: an entry is longer than {} bytes", kScopeEntrySizeMax);
      if (!seen.insert(entry).second) return Invalid("scope: {} is there twice", entry);
    }
  }
  for (const std::string& host : scope.hosts) {
    if (!IsResource(host, "hosts/")) return Invalid("scope.hosts: {} isn't the name of a host (hosts/...)", host);
  }
  for (const std::string& policy : scope.policies) {
    if (!IsResource(policy, "policies/"))
      return Invalid("scope.policies: {} isn't the name of a policy (policies/...)", policy);
  }
  for (const std::string& label : scope.labels) {
    const size_t equals = label.find('=');
    if (equals == 0 || equals == std::string::npos)
      return Invalid("scope.labels: {} isn't of the form KEY=VALUE", label);
  }
  return absl::OkStatus();
}

}  // namespace umbra::identity
