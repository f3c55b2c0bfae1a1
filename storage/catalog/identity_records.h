// People and programs that use the API, and the log of what they did, as plain structs.
#ifndef UMBRA_STORAGE_CATALOG_IDENTITY_RECORDS_H_
#define UMBRA_STORAGE_CATALOG_IDENTITY_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "storage/catalog/ids.h"

namespace umbra::catalog {

using UserId = Id<struct UserTag>;          // the {user} of "users/{user}"
using ApiTokenId = Id<struct ApiTokenTag>;  // the {token} of "users/{user}/tokens/{token}" and "serviceTokens/{token}"
using SessionId = Id<struct SessionTag>;    // the {session} of "users/{user}/sessions/{session}"

// What a grant reaches: an object that any entry matches. None: everything.
struct AccessScope {
  std::vector<std::string> hosts;     // "hosts/H", with all that is on it
  std::vector<std::string> policies;  // "policies/P"
  std::vector<std::string> labels;    // "KEY=VALUE"

  bool everything() const { return hosts.empty() && policies.empty() && labels.empty(); }
  bool operator==(const AccessScope&) const = default;
};

struct RoleGrant {
  std::string role;
  AccessScope scope;

  bool operator==(const RoleGrant&) const = default;
};

struct User {
  UserId name;
  std::string display_name;
  bool disabled = false;
  std::vector<RoleGrant> grants;
  absl::Time create_time;
  absl::Time update_time;
  absl::Time password_time;
  std::optional<absl::Time> last_sign_in;
  int64_t revision = 0;       // rises with every change of what it says; set by the store
  bool has_password = false;  // set by the store; without one nobody signs in as this user
};

// One that somebody made; the built-in ones are in server/identity.
struct CustomRole {
  std::string name;
  std::string description;
  std::vector<std::string> permissions;  // ordered
  absl::Time create_time;
  absl::Time update_time;
  int64_t revision = 0;  // as a user's
};

struct ApiToken {
  ApiTokenId id;
  UserId user;  // empty: it belongs to no user
  std::string description;
  std::string creator;            // name of the principal
  std::vector<RoleGrant> grants;  // none: those of its user
  absl::Time create_time;
  absl::Time expire_time;
  std::optional<absl::Time> last_used;  // at most a minute behind
};

struct Session {
  SessionId id;
  UserId user;
  std::string peer;    // where it was begun from
  std::string client;  // the browser, as it calls itself
  absl::Time create_time;
  absl::Time expire_time;  // whatever happens
  absl::Time last_seen;    // at most a minute behind
};

// One call and its result. Nothing secret is in any field.
struct AuditEntry {
  int64_t number = 0;  // from 1, without gaps
  absl::Time time;
  std::string principal;  // "local", "users/alice", "users/alice/tokens/ab12"; "nobody"
  std::string peer;       // the address, without a port; "local"
  std::string method;     // "JobService.CreateJob"
  std::string object;     // resource name; empty: the whole system, or something that has no name yet
  std::string summary;    // of the request, without secrets
  int32_t code = 0;       // of google.rpc.Code; 0: it went well
  std::string reason;     // of the error
  std::string hash;       // lower-case hexadecimal SHA-256, see docs/formats/catalog.md
};

// The newest entry that was pruned; number 0: none was.
struct AuditAnchor {
  int64_t number = 0;
  std::string hash;
};

struct AuditFilter {
  std::string principal;  // its own entries, and those of what is below its name; empty: all
  std::string method;     // exactly
  std::string object;     // as principal
  bool failed_only = false;
  bool oldest_first = false;
  absl::Time from = absl::InfinitePast();
  absl::Time to = absl::InfiniteFuture();  // before this
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_IDENTITY_RECORDS_H_
