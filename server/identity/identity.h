// Who may use the API: users with passwords, their browsers' sessions, API tokens, and roles.
//
// Rules that hold whoever calls: nobody gives, or changes for another, more than he may do himself; the last user who
// may do everything stays; secrets are shown once, and what is kept of them opens nothing. What an authenticated caller
// may ask for at all (users.view, users.manage) is checked by the door (server/api).
#ifndef UMBRA_SERVER_IDENTITY_IDENTITY_H_
#define UMBRA_SERVER_IDENTITY_IDENTITY_H_

#include <atomic>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/identity/passwords.h"
#include "server/identity/principal.h"
#include "server/identity/throttle.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/catalog/catalog.h"

namespace umbra::identity {

using RoleGrant = catalog::RoleGrant;
using User = catalog::User;
using ApiToken = catalog::ApiToken;
using Session = catalog::Session;

inline constexpr absl::Duration kTokenLifetimeDefault = absl::Hours(24 * 90);
inline constexpr absl::Duration kTokenLifetimeMax = absl::Hours(24 * 731);
inline constexpr absl::Duration kSessionIdleMax = absl::Minutes(30);
inline constexpr absl::Duration kSessionLifetime = absl::Hours(12);
// "Last used" and "last seen" are at most so far behind: each write is a sync of the disk.
inline constexpr absl::Duration kUseWrittenEvery = absl::Minutes(1);
// What has expired is known as such for so long, and shown.
inline constexpr absl::Duration kExpiredTokensKept = absl::Hours(24 * 30);
inline constexpr absl::Duration kExpiredSessionsKept = absl::Hours(24);

inline constexpr int64_t kUsersMax = 10'000;
inline constexpr int kTokensPerUserMax = 100;
inline constexpr int kSessionsPerUserMax = 20;  // a further one ends the oldest
inline constexpr size_t kRolesMax = 500;
inline constexpr size_t kGrantsMax = 64;  // of a user or token

inline constexpr char kFirstUser[] = "admin";
inline constexpr char kFirstCredentialFile[] = "first-credential";

// What a call brings along to say who makes it.
struct Credentials {
  std::string authorization;  // the header: "Bearer umbra_..."
  std::string session;        // of the cookie
  std::string peer;           // the address, or gRPC's form of it
};

struct Role {
  std::string name;
  std::string description;
  std::vector<std::string> permissions;
  bool built_in = false;
  absl::Time create_time;
  absl::Time update_time;
  int64_t revision = 0;
};

struct NewUser {
  std::string name;
  std::string display_name;
  std::string password;  // empty: nobody can sign in until it has one
  std::vector<RoleGrant> grants;
  bool disabled = false;
};

// What is absent stays.
struct UserChange {
  std::optional<std::string> display_name;
  std::optional<bool> disabled;
  std::optional<std::vector<RoleGrant>> grants;
  int64_t revision = 0;  // of what the caller has read; 0: whatever it is now
};

struct RoleChange {
  std::optional<std::string> description;
  std::optional<std::vector<std::string>> permissions;
  int64_t revision = 0;
};

struct NewApiToken {
  std::string user;  // empty: a service token, which belongs to nobody and has grants of its own
  std::string description;
  std::vector<RoleGrant> grants;  // none: all that the user may do
  std::optional<absl::Time> expire_time;  // absent: in kTokenLifetimeDefault
};

struct CreatedToken {
  std::string text;  // the secret; nobody can show it again
  ApiToken token;
};

struct SignInRequest {
  std::string name;
  std::string password;
  std::string peer;    // as Credentials::peer
  std::string client;  // the browser, as it calls itself
};

struct SignedIn {
  std::string secret;  // for the cookie
  Session session;
  Principal principal;
};

struct IdentityOptions {
  PasswordHasher::Options passwords;
  ThrottleOptions throttle;
};

// Names of resources: "users/alice", "users/alice/tokens/ab12" or "serviceTokens/ab12", "users/alice/sessions/cd34".
std::string UserName(const std::string& user);
std::string TokenName(const ApiToken& token);
std::string SessionName(const Session& session);

// Thread-safe. Every call blocks for the catalog; those that compute a password's hash (SignIn, CreateUser with a
// password, ChangePassword, SetPassword) for a quarter of a second or, when others do the same, for
// several: they belong on threads where nobody else waits. Changes are durable when OK, and count from the next call
// on.
//
// Besides what each call documents: NOT_FOUND / USER_NOT_FOUND, ROLE_NOT_FOUND, API_TOKEN_NOT_FOUND, SESSION_NOT_FOUND;
// INVALID_ARGUMENT / INVALID_REQUEST for names, grants and times that can't be; errors of the catalog. "caller" is who
// asks: PERMISSION_DENIED / GRANT_TOO_WIDE when it would give or touch more than he may do himself.
class Identity {
 public:
  // `data_dir` is where the file of the first credential is. What it is given outlives it.
  Identity(catalog::Catalog& catalog, base::Filesystem& filesystem, base::Clock& clock, base::Random& random,
           std::string data_dir, const IdentityOptions& options = {});

  // When there is no user: makes kFirstUser, who may do everything, and writes his password to the file
  // kFirstCredentialFile, readable by the daemon's user only. It goes when he takes another password. Call once, at
  // start.
  absl::Status EnsureFirstUser();

  // ---- Who is it? ----

  // With neither header nor cookie it is UNAUTHENTICATED; with both the header counts.
  // UNAUTHENTICATED / UNAUTHENTICATED     nothing, wrong, revoked: which isn't said.
  // UNAUTHENTICATED / TOKEN_EXPIRED, SESSION_EXPIRED     it was right once; make a new one, sign in again.
  // UNAUTHENTICATED / ACCOUNT_DISABLED    the secret is right, its user is disabled.
  absl::StatusOr<Principal> Authenticate(const Credentials& credentials) ABSL_LOCKS_EXCLUDED(mu_);
  // The unix socket: everything.
  static Principal Local();
  // Rises with every change after which a principal may do something else than before, or is none any more. What lasts
  // (streams) looks at it and authenticates again.
  int64_t generation() const { return generation_; }

  // UNAUTHENTICATED / UNAUTHENTICATED      wrong name or password; takes as long for names that aren't there.
  // UNAUTHENTICATED / ACCOUNT_DISABLED     both are right, but the user is disabled.
  // RESOURCE_EXHAUSTED / SIGN_IN_THROTTLED      too many failures, too many at once, or too often; base::RetryAfterOf
  //                                             says when.
  absl::StatusOr<SignedIn> SignIn(const SignInRequest& request);

  // ---- Users ----

  // ALREADY_EXISTS / USER_EXISTS. INVALID_ARGUMENT / PASSWORD_UNFIT.
  absl::StatusOr<User> CreateUser(const Principal& caller, const NewUser& user);
  absl::StatusOr<User> GetUser(const std::string& name);
  absl::StatusOr<catalog::Page<User, catalog::UserId>> ListUsers(const catalog::ListOptions<catalog::UserId>& options);
  // Disabling ends his sessions. ABORTED / USER_CHANGED: another revision. FAILED_PRECONDITION / LAST_ADMIN.
  absl::StatusOr<User> UpdateUser(const Principal& caller, const std::string& name, const UserChange& change);
  // With his tokens and sessions. Errors as UpdateUser.
  absl::Status DeleteUser(const Principal& caller, const std::string& name, int64_t revision = 0);
  // His own. All his sessions end. Throttled as SignIn, with its errors when `current` is wrong. PASSWORD_UNFIT.
  absl::Status ChangePassword(const std::string& name, const std::string& current, const std::string& next,
                              const std::string& peer);
  // Somebody else's. All his sessions end. PASSWORD_UNFIT.
  absl::Status SetPassword(const Principal& caller, const std::string& name, const std::string& next);

  // ---- Roles ----

  // The built-in ones first, then the others by name.
  absl::StatusOr<std::vector<Role>> ListRoles();
  absl::StatusOr<Role> GetRole(const std::string& name);
  // ALREADY_EXISTS / ROLE_EXISTS.
  absl::StatusOr<Role> CreateRole(const Principal& caller, const Role& role);
  // FAILED_PRECONDITION / ROLE_BUILT_IN, LAST_ADMIN. ABORTED / ROLE_CHANGED.
  absl::StatusOr<Role> UpdateRole(const Principal& caller, const std::string& name, const RoleChange& change);
  // FAILED_PRECONDITION / ROLE_BUILT_IN, ROLE_IN_USE. ABORTED / ROLE_CHANGED.
  absl::Status DeleteRole(const Principal& caller, const std::string& name, int64_t revision = 0);

  // ---- API tokens ----

  // What it grants must be within what its user may do, and the caller. A token that makes a token makes none that
  // lives longer. FAILED_PRECONDITION / API_TOKEN_LIMIT: the user has kTokensPerUserMax.
  absl::StatusOr<CreatedToken> CreateToken(const Principal& caller, const NewApiToken& token);
  absl::StatusOr<ApiToken> GetToken(const catalog::ApiTokenId& id);
  // Of one user (empty: service tokens), or all.
  absl::StatusOr<catalog::Page<ApiToken, catalog::ApiTokenId>> ListTokens(
      const std::optional<std::string>& user, const catalog::ListOptions<catalog::ApiTokenId>& options);
  // Counts at once.
  absl::Status RevokeToken(const catalog::ApiTokenId& id);

  // ---- Sessions ----

  // Those that can still be used, newest first.
  absl::StatusOr<std::vector<Session>> ListSessions(const std::string& user);
  absl::StatusOr<Session> GetSession(const catalog::SessionId& id);
  absl::Status RevokeSession(const catalog::SessionId& id);
  absl::Status RevokeSessionsOf(const std::string& user);

  // Forgets what has expired long ago. For housekeeping.
  absl::Status Clean();

 private:
  // Of one secret that was right, for the calls that follow with it. Thrown away when the generation rises.
  struct Known {
    Principal principal;
    bool disabled = false;
    bool is_token = false;
    catalog::ApiTokenId token;
    catalog::SessionId session;
    absl::Time last_seen;  // of a session: also between two writes
    absl::Time written;    // when that, or a token's last use, was written
  };
  using Stores = catalog::Stores;

  absl::StatusOr<Known> LookUp(const std::string& hash, bool is_token);
  absl::StatusOr<Known> LookUpToken(const Stores& stores, const std::string& hash) const;
  absl::StatusOr<Known> LookUpSession(const Stores& stores, const std::string& hash) const;
  // Judges it at `now`, and says whether its use is to be written.
  absl::StatusOr<Principal> Use(Known& known, absl::Time now, bool& write) const;
  void WriteUse(const Known& known, absl::Time now);

  // `work` in a write of the catalog, after which there is somebody who may do everything if there was before.
  absl::Status Change(absl::FunctionRef<absl::Status(Stores&)> work);
  void Forget() ABSL_LOCKS_EXCLUDED(mu_);
  // OK with the hash that the password has.
  absl::StatusOr<std::string> VerifyPassword(const std::string& name, const std::string& password,
                                             const std::string& peer);
  absl::Status StorePassword(const std::string& name, const std::string& hash,
                             absl::FunctionRef<absl::Status(const Stores&)> check);
  void RemoveFirstCredential(const std::string& user);

  catalog::Catalog& catalog_;
  base::Filesystem& filesystem_;
  base::Clock& clock_;
  base::Random& random_;
  const std::string first_credential_path_;
  PasswordHasher passwords_;
  Throttle throttle_;

  // A Known is never of a generation before the one that is counted here.
  absl::Mutex mu_;
  std::atomic<int64_t> generation_{0};                                  // written under mu_
  absl::flat_hash_map<std::string, Known> known_ ABSL_GUARDED_BY(mu_);  // by hash of the secret
};

}  // namespace umbra::identity

#endif  // UMBRA_SERVER_IDENTITY_IDENTITY_H_
