// Who makes a call, and what he may do to what: pure.
#ifndef UMBRA_SERVER_IDENTITY_PRINCIPAL_H_
#define UMBRA_SERVER_IDENTITY_PRINCIPAL_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "storage/catalog/identity_records.h"
#include "storage/catalog/labels.h"

namespace umbra::identity {

using Scope = catalog::AccessScope;

// A role with its scope, resolved.
struct Grant {
  std::vector<std::string> permissions;  // "jobs.view"; "jobs.*" is a group, "*" is all
  Scope scope;
};

struct Principal {
  enum class Kind {
    kNobody,  // may do nothing
    kLocal,   // the unix socket
    kUser,    // a browser's session
    kToken,
  };
  Kind kind = Kind::kNobody;
  std::string name;     // "local", "users/alice", "users/alice/tokens/ab12", "serviceTokens/ab12"; empty: nobody
  std::string display;  // for people
  std::string session;  // its id, when by a browser's session
  std::string user;     // the {user} that this is or acts for; empty: none
  std::vector<Grant> grants;
  // A token of a user may do what its own grants (above) and these, its user's, both allow.
  bool bounded = false;
  std::vector<Grant> bounds;
  absl::Time expire_time = absl::InfiniteFuture();  // of what it identified itself by; a call that lasts ends then
};

// What is touched. All empty: the whole system.
struct Object {
  std::string name;    // of the resource
  std::string host;    // "hosts/H" that it is on
  std::string policy;  // "policies/P" that it came from
  catalog::Labels labels;

  bool whole_system() const { return name.empty() && host.empty() && policy.empty() && labels.empty(); }
};

// An entry of `scope` matches: a host is, or has, the object; likewise a policy; a label is among its own. A scope
// without entries contains everything, and only it contains the whole system.
bool Contains(const Scope& scope, const Object& object);

// By one grant, which has both the permission and the object.
bool Allows(const Principal& principal, std::string_view permission, const Object& object);

// To some object there may be. For lists, whose items are filtered by Allows.
bool AllowsSomewhere(const Principal& principal, std::string_view permission);

// Everything in `wanted` is something that the principal may do himself, as far as the scope reaches: what is for a
// host, policy or label he must have for everything or for that same entry. PERMISSION_DENIED / GRANT_TOO_WIDE: names
// the first permission that he lacks.
absl::Status CheckMayGrant(const Principal& principal, const std::vector<Grant>& wanted);

// `scope`'s entries have the forms of Scope, there is none twice, and there aren't too many.
// INVALID_ARGUMENT / INVALID_REQUEST.
absl::Status CheckScope(const Scope& scope);

}  // namespace umbra::identity

#endif  // UMBRA_SERVER_IDENTITY_PRINCIPAL_H_
