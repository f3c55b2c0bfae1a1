#include "server/identity/identity.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "server/identity/grants.h"
#include "server/identity/permissions.h"
#include "server/identity/secrets.h"
#include "storage/base/invalid.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/base/utf8.h"

namespace umbra::identity {
namespace {

using base::Invalid;
using catalog::ApiTokenId;
using catalog::SessionId;
using catalog::Stores;
using catalog::UserId;

constexpr size_t kIdBytes = 6;
constexpr size_t kTextSizeMax = 256;
// Beyond this many secrets that were right lately, all are looked up again.
constexpr size_t kKnownMax = 20'000;

absl::Status Unauthenticated() {
  return base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "sign in, or give a valid API token");
}

absl::Status Disabled() {
  return base::Error(absl::StatusCode::kUnauthenticated, "ACCOUNT_DISABLED", "the user is disabled");
}

// As the catalog keeps it, so that an answer says the same now and later.
absl::Time Kept(absl::Time time) {
  return absl::FromUnixMicros(absl::ToUnixMicros(time));
}

// What others sent and people are shown: bounded, valid, on one line.
std::string Shown(std::string_view text) {
  std::string shown = base::ValidUtf8(text.substr(0, kTextSizeMax));
  for (char& c : shown) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  return shown;
}

Principal PrincipalOf(const User& user) {
  Principal principal;
  principal.name = UserName(user.name.value);
  principal.display = user.display_name.empty() ? user.name.value : user.display_name;
  principal.user = user.name.value;
  return principal;
}

}  // namespace

std::string UserName(const std::string& user) {
  return "users/" + user;
}

std::string TokenName(const ApiToken& token) {
  return token.user.empty() ? fmt::format("serviceTokens/{}", token.id)
                            : fmt::format("users/{}/tokens/{}", token.user, token.id);
}

std::string SessionName(const Session& session) {
  return fmt::format("users/{}/sessions/{}", session.user, session.id);
}

Identity::Identity(catalog::Catalog& catalog, base::Filesystem& filesystem, base::Clock& clock, base::Random& random,
                   std::string data_dir, const IdentityOptions& options)
    : catalog_(catalog),
      filesystem_(filesystem),
      clock_(clock),
      random_(random),
      first_credential_path_(std::move(data_dir) + "/" + kFirstCredentialFile),
      passwords_(clock, options.passwords),
      throttle_(clock, options.throttle) {}

Principal Identity::Local() {
  Principal principal;
  principal.kind = Principal::Kind::kLocal;
  principal.name = "local";
  principal.display = "local administrator";
  principal.grants = {{{"*"}, {}}};
  return principal;
}

void Identity::Forget() {
  absl::MutexLock lock(&mu_);
  ++generation_;
  known_.clear();
}

// ---- Who is it? ----

absl::StatusOr<Principal> Identity::Authenticate(const Credentials& credentials) {
  const bool is_token = !credentials.authorization.empty();
  const std::optional<std::string_view> bearer = BearerToken(credentials.authorization);
  if (is_token ? !bearer.has_value() : !IsSessionText(credentials.session)) return Unauthenticated();
  const std::string hash = HashOfSecret(is_token ? *bearer : credentials.session);
  const absl::Time now = clock_.Now();

  int64_t generation = 0;
  std::optional<Known> known;
  {
    absl::MutexLock lock(&mu_);
    generation = generation_;
    if (const auto found = known_.find(hash); found != known_.end()) {
      bool write = false;
      absl::StatusOr<Principal> principal = Use(found->second, now, write);
      if (!write) return principal;
      known = found->second;
    }
  }
  if (known.has_value()) {
    WriteUse(*known, now);
    return std::move(known->principal);
  }
  ASSIGN_OR_RETURN(known, LookUp(hash, is_token));
  bool write = false;
  absl::StatusOr<Principal> principal = Use(*known, now, write);
  if (write) WriteUse(*known, now);
  absl::MutexLock lock(&mu_);
  if (generation == generation_) {
    if (known_.size() >= kKnownMax) known_.clear();
    known_.insert_or_assign(hash, *std::move(known));
  }
  return principal;
}

absl::StatusOr<Identity::Known> Identity::LookUp(const std::string& hash, bool is_token) {
  return catalog_.Read([&](const Stores& stores) -> absl::StatusOr<Known> {
    return is_token ? LookUpToken(stores, hash) : LookUpSession(stores, hash);
  });
}

absl::StatusOr<Identity::Known> Identity::LookUpToken(const Stores& stores, const std::string& hash) const {
  ASSIGN_OR_RETURN(const std::optional<ApiToken> token, stores.identity.FindToken(hash));
  if (!token.has_value()) return Unauthenticated();
  Known known{.is_token = true, .token = token->id, .written = token->last_used.value_or(absl::InfinitePast())};
  Principal& principal = known.principal;
  ASSIGN_OR_RETURN(principal.grants, Resolve(stores, token->grants));
  principal.display = token->description;
  if (!token->user.empty()) {
    ASSIGN_OR_RETURN(const User user, stores.identity.GetUser(token->user));
    ASSIGN_OR_RETURN(std::vector<Grant> of_user, Resolve(stores, user.grants));
    known.disabled = user.disabled;
    principal.user = user.name.value;
    principal.display = PrincipalOf(user).display;
    if (token->grants.empty()) {
      principal.grants = std::move(of_user);
    } else {
      principal.bounded = true;
      principal.bounds = std::move(of_user);
    }
  }
  principal.kind = Principal::Kind::kToken;
  principal.name = TokenName(*token);
  principal.expire_time = token->expire_time;
  return known;
}

absl::StatusOr<Identity::Known> Identity::LookUpSession(const Stores& stores, const std::string& hash) const {
  ASSIGN_OR_RETURN(const std::optional<Session> session, stores.identity.FindSession(hash));
  if (!session.has_value()) return Unauthenticated();
  ASSIGN_OR_RETURN(const User user, stores.identity.GetUser(session->user));
  Known known{.principal = PrincipalOf(user),
              .disabled = user.disabled,
              .session = session->id,
              .last_seen = session->last_seen,
              .written = session->last_seen};
  ASSIGN_OR_RETURN(known.principal.grants, Resolve(stores, user.grants));
  known.principal.kind = Principal::Kind::kUser;
  known.principal.session = session->id.value;
  known.principal.expire_time = session->expire_time;
  return known;
}

absl::StatusOr<Principal> Identity::Use(Known& known, absl::Time now, bool& write) const {
  if (known.is_token && now >= known.principal.expire_time) {
    return base::Error(absl::StatusCode::kUnauthenticated, "TOKEN_EXPIRED", "the API token has expired");
  }
  if (!known.is_token && (now >= known.principal.expire_time || now - known.last_seen >= kSessionIdleMax)) {
    return base::Error(absl::StatusCode::kUnauthenticated, "SESSION_EXPIRED", "the session has expired; sign in again");
  }
  if (known.disabled) return Disabled();
  known.last_seen = std::max(known.last_seen, now);
  write = now - known.written >= kUseWrittenEvery;
  if (write) known.written = now;
  return known.principal;
}

void Identity::WriteUse(const Known& known, absl::Time now) {
  const absl::Status written = catalog_.Write([&](Stores& stores) {
    return known.is_token ? stores.identity.SetTokenUsed(known.token, now)
                          : stores.identity.SetSessionSeen(known.session, now);
  });
  if (written.ok()) return;
  base::Log("identity")->warn("use not written principal={} error={}", known.principal.name, base::Describe(written));
}

// ---- Sign in ----

absl::StatusOr<std::string> Identity::VerifyPassword(const std::string& name, const std::string& password,
                                                     const std::string& peer) {
  const std::string address = AddressOf(peer);
  RETURN_IF_ERROR(throttle_.Begin(name, address));
  const auto verified = [&]() -> absl::StatusOr<std::optional<std::string>> {
    ASSIGN_OR_RETURN(std::optional<std::string> hash,
                     catalog_.Read([&](const Stores& stores) { return stores.identity.PasswordHash(UserId(name)); }));
    ASSIGN_OR_RETURN(const bool right, passwords_.Verify(hash.value_or(""), password));
    if (!right) return std::nullopt;
    return hash;
  }();
  if (!verified.ok()) {
    throttle_.Undo(name, address);
    return verified.status();
  }
  if (!verified->has_value()) return Unauthenticated();
  throttle_.Succeeded(name, address);
  return **verified;
}

absl::StatusOr<SignedIn> Identity::SignIn(const SignInRequest& request) {
  const std::string name = absl::AsciiStrToLower(base::Av(std::string_view(request.name).substr(0, kTextSizeMax)));
  ASSIGN_OR_RETURN(const std::string hash, VerifyPassword(name, request.password, request.peer));
  std::string better;
  if (passwords_.IsOutdated(hash)) {
    ASSIGN_OR_RETURN(better, passwords_.Hash(request.password));
  }
  SignedIn result;
  result.secret = NewSessionText(random_);
  Session& session = result.session;
  session.id = SessionId(random_.Hex(kIdBytes));
  session.user = UserId(name);
  session.peer = Shown(AddressOf(request.peer));
  session.client = Shown(request.client);
  session.create_time = session.last_seen = Kept(clock_.Now());
  session.expire_time = session.create_time + kSessionLifetime;
  int64_t ended = 0;
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    // Meanwhile the user may have gone, or got another password, which ends sessions; this one would come too late for
    // it.
    ASSIGN_OR_RETURN(const std::optional<std::string> now, stores.identity.PasswordHash(session.user));
    if (now != hash) return Unauthenticated();
    ASSIGN_OR_RETURN(const User user, stores.identity.GetUser(session.user));
    if (user.disabled) return Disabled();
    if (!better.empty()) RETURN_IF_ERROR(stores.identity.ReplacePasswordHash(session.user, hash, better));
    RETURN_IF_ERROR(stores.identity.InsertSession(session, HashOfSecret(result.secret)));
    RETURN_IF_ERROR(stores.identity.SetLastSignIn(session.user, session.create_time));
    ASSIGN_OR_RETURN(ended, stores.identity.KeepNewestSessions(session.user, kSessionsPerUserMax));
    return absl::OkStatus();
  }));
  if (ended > 0) Forget();
  ASSIGN_OR_RETURN(result.principal, Authenticate({.session = result.secret}));
  return result;
}

// ---- API tokens ----

absl::StatusOr<CreatedToken> Identity::CreateToken(const Principal& caller, const NewApiToken& wanted) {
  const absl::Time now = Kept(clock_.Now());
  CreatedToken created;
  ApiToken& token = created.token;
  const absl::Time latest = caller.kind == Principal::Kind::kToken ? caller.expire_time : absl::InfiniteFuture();
  token.expire_time = Kept(wanted.expire_time.value_or(std::min(now + kTokenLifetimeDefault, latest)));
  if (token.expire_time <= now || token.expire_time > now + kTokenLifetimeMax) {
    return Invalid("expire_time: must come, within two years");
  }
  if (token.expire_time > latest) {
    return Invalid("expire_time: a token can't make one that lives longer than itself");
  }
  if (wanted.description.size() > kTextSizeMax) return Invalid("description: longer than {} bytes", kTextSizeMax);
  if (wanted.user.empty() && wanted.grants.empty()) return Invalid("grants: a token of no user needs some");
  token.id = ApiTokenId(random_.Hex(kIdBytes));
  token.user = UserId(wanted.user);
  token.description = Shown(wanted.description);
  token.creator = caller.name;
  token.grants = wanted.grants;
  token.create_time = now;
  created.text = NewTokenText(random_);
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    RETURN_IF_ERROR(CheckGrants(stores, token.grants));
    ASSIGN_OR_RETURN(const std::vector<Grant> own, Resolve(stores, token.grants));
    if (token.user.empty()) {
      RETURN_IF_ERROR(CheckMayGrant(caller, own));
    } else {
      ASSIGN_OR_RETURN(const User user, stores.identity.GetUser(token.user));
      Principal owner = PrincipalOf(user);
      ASSIGN_OR_RETURN(owner.grants, Resolve(stores, user.grants));
      RETURN_IF_ERROR(CheckMayGrant(owner, own));
      RETURN_IF_ERROR(CheckMayGrant(caller, token.grants.empty() ? owner.grants : own));
      ASSIGN_OR_RETURN(const int64_t count, stores.identity.CountTokens(token.user));
      if (count >= kTokensPerUserMax) {
        return base::Error(absl::StatusCode::kFailedPrecondition, "API_TOKEN_LIMIT",
                           "the user has {} tokens already; revoke some", count);
      }
    }
    return stores.identity.InsertToken(token, HashOfSecret(created.text));
  }));
  base::Log("identity")
      ->info("API token made token={} creator={} expires={}", TokenName(token), token.creator,
             absl::FormatTime(token.expire_time, absl::UTCTimeZone()));
  return created;
}

absl::StatusOr<ApiToken> Identity::GetToken(const ApiTokenId& id) {
  return catalog_.Read([&](const Stores& stores) { return stores.identity.GetToken(id); });
}

absl::StatusOr<catalog::Page<ApiToken, ApiTokenId>> Identity::ListTokens(
    const std::optional<std::string>& user, const catalog::ListOptions<ApiTokenId>& options) {
  return catalog_.Read([&](const Stores& stores) {
    return stores.identity.ListTokens(user.has_value() ? std::optional(UserId(*user)) : std::nullopt, options);
  });
}

absl::Status Identity::RevokeToken(const ApiTokenId& id) {
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) { return stores.identity.DeleteToken(id); }));
  Forget();
  base::Log("identity")->info("API token revoked token={}", id);
  return absl::OkStatus();
}

// ---- Sessions ----

absl::StatusOr<std::vector<Session>> Identity::ListSessions(const std::string& user) {
  ASSIGN_OR_RETURN(std::vector<Session> sessions,
                   catalog_.Read([&](const Stores& stores) -> absl::StatusOr<std::vector<Session>> {
                     RETURN_IF_ERROR(stores.identity.GetUser(UserId(user)).status());
                     return stores.identity.ListSessions(UserId(user));
                   }));
  const absl::Time now = clock_.Now();
  std::erase_if(sessions, [&](const Session& session) {
    // The row may be behind by so much.
    return now >= session.expire_time || now - session.last_seen >= kSessionIdleMax + kUseWrittenEvery;
  });
  return sessions;
}

absl::StatusOr<Session> Identity::GetSession(const SessionId& id) {
  return catalog_.Read([&](const Stores& stores) { return stores.identity.GetSession(id); });
}

absl::Status Identity::RevokeSession(const SessionId& id) {
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) { return stores.identity.DeleteSession(id); }));
  Forget();
  return absl::OkStatus();
}

absl::Status Identity::RevokeSessionsOf(const std::string& user) {
  RETURN_IF_ERROR(catalog_.Write([&](Stores& stores) -> absl::Status {
    RETURN_IF_ERROR(stores.identity.GetUser(UserId(user)).status());
    return stores.identity.DeleteSessionsOf(UserId(user));
  }));
  Forget();
  return absl::OkStatus();
}

absl::Status Identity::Clean() {
  const absl::Time now = clock_.Now();
  return catalog_.Write([&](Stores& stores) -> absl::Status {
    RETURN_IF_ERROR(stores.identity.PruneTokens(now - kExpiredTokensKept));
    return stores.identity.PruneSessions(now - kExpiredSessionsKept, now - kSessionIdleMax - kExpiredSessionsKept);
  });
}

}  // namespace umbra::identity
