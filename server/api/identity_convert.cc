#include "server/api/identity_convert.h"

#include <algorithm>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "server/api/convert.h"
#include "server/identity/permissions.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr size_t kShownMax = 80;

absl::Status NoName(std::string_view field, std::string_view name, std::string_view form) {
  return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "{}: '{}' is not of the form {}", field,
                     name.substr(0, kShownMax), form);
}

// The ids of "<first>/{id}" or "<first>/{id}/<second>/{id}"; none when it isn't that.
std::vector<std::string> IdsOf(std::string_view name, std::string_view first, std::string_view second = {}) {
  const std::vector<std::string> parts = absl::StrSplit(base::Av(name), '/');
  const bool fine = parts.size() == (second.empty() ? 2u : 4u) && parts[0] == first && !parts[1].empty() &&
                    (second.empty() || (parts[2] == second && !parts[3].empty()));
  if (!fine) return {};
  return second.empty() ? std::vector<std::string>{parts[1]} : std::vector<std::string>{parts[1], parts[3]};
}

absl::Status ReplaceMe(std::string& user, std::string_view field, const identity::Principal& caller) {
  if (user != "me") return absl::OkStatus();
  if (caller.user.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "{}: the caller is no user; name one",
                       field);
  }
  user = caller.user;
  return absl::OkStatus();
}

absl::StatusOr<UserPartName> ParsePart(std::string_view name, std::string_view field, std::string_view collection,
                                       std::string_view form, const identity::Principal& caller) {
  std::vector<std::string> ids = IdsOf(name, "users", collection);
  if (ids.empty()) return NoName(field, name, form);
  RETURN_IF_ERROR(ReplaceMe(ids[0], field, caller));
  return UserPartName{std::move(ids[0]), std::move(ids[1])};
}

void ToProto(const catalog::AccessScope& scope, v1::Scope* out) {
  out->mutable_hosts()->Assign(scope.hosts.begin(), scope.hosts.end());
  out->mutable_policies()->Assign(scope.policies.begin(), scope.policies.end());
  out->mutable_labels()->Assign(scope.labels.begin(), scope.labels.end());
}

void ToProto(const std::vector<identity::RoleGrant>& grants, google::protobuf::RepeatedPtrField<v1::Grant>* out) {
  for (const identity::RoleGrant& grant : grants) {
    v1::Grant* const added = out->Add();
    added->set_role("roles/" + grant.role);
    if (!grant.scope.everything()) ToProto(grant.scope, added->mutable_scope());
  }
}

void AddEffective(const std::vector<std::string>& permissions, const catalog::AccessScope& scope, v1::Identity* out) {
  if (permissions.empty()) return;
  v1::EffectiveGrant* const added = out->add_grants();
  added->mutable_permissions()->Assign(permissions.begin(), permissions.end());
  if (!scope.everything()) ToProto(scope, added->mutable_scope());
}

std::vector<std::string> InBoth(const identity::Grant& one, const identity::Grant& other) {
  std::vector<std::string> both;
  const auto of_other = identity::Expand(other.permissions);
  for (const std::string_view permission : identity::Expand(one.permissions)) {
    if (std::find(of_other.begin(), of_other.end(), permission) != of_other.end()) both.emplace_back(permission);
  }
  return both;
}

}  // namespace

absl::StatusOr<std::string> ParseUserName(std::string_view name, std::string_view field,
                                          const identity::Principal& caller) {
  std::vector<std::string> ids = IdsOf(name, "users");
  if (ids.empty()) return NoName(field, name, "users/{user}");
  RETURN_IF_ERROR(ReplaceMe(ids[0], field, caller));
  return std::move(ids[0]);
}

absl::StatusOr<std::string> ParseRoleName(std::string_view name, std::string_view field) {
  std::vector<std::string> ids = IdsOf(name, "roles");
  if (ids.empty()) return NoName(field, name, "roles/{role}");
  return std::move(ids[0]);
}

absl::StatusOr<UserPartName> ParseApiTokenName(std::string_view name, std::string_view field,
                                               const identity::Principal& caller) {
  return ParsePart(name, field, "tokens", "users/{user}/tokens/{token}", caller);
}

absl::StatusOr<UserPartName> ParseSessionName(std::string_view name, std::string_view field,
                                              const identity::Principal& caller) {
  ASSIGN_OR_RETURN(UserPartName parsed, ParsePart(name, field, "sessions", "users/{user}/sessions/{session}", caller));
  if (parsed.id != "current") return parsed;
  if (caller.session.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "{}: the caller has no session", field);
  }
  parsed.id = caller.session;
  return parsed;
}

absl::StatusOr<int64_t> RevisionOf(const std::string& etag) {
  int64_t revision = 0;
  if (etag.empty()) return revision;
  if (absl::SimpleAtoi(etag, &revision) && revision > 0) return revision;
  return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "etag: not one that this daemon gave");
}

absl::StatusOr<std::vector<identity::RoleGrant>> FromProto(
    const google::protobuf::RepeatedPtrField<v1::Grant>& grants) {
  std::vector<identity::RoleGrant> out;
  for (const v1::Grant& grant : grants) {
    identity::RoleGrant& added = out.emplace_back();
    ASSIGN_OR_RETURN(added.role, ParseRoleName(grant.role(), "grants.role"));
    const v1::Scope& scope = grant.scope();
    added.scope = {.hosts = {scope.hosts().begin(), scope.hosts().end()},
                   .policies = {scope.policies().begin(), scope.policies().end()},
                   .labels = {scope.labels().begin(), scope.labels().end()}};
    // Whoever filters entries out must not end up with everything.
    if (grant.has_scope() && added.scope.everything()) {
      return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                             "grants.scope: has no entries; leave it out when the grant is for everything");
    }
  }
  return out;
}

void ToProto(const identity::User& user, v1::User* out) {
  out->set_name(identity::UserName(user.name.value));
  out->set_display_name(user.display_name);
  out->set_disabled(user.disabled);
  ToProto(user.grants, out->mutable_grants());
  ToProto(user.create_time, out->mutable_create_time());
  if (user.last_sign_in.has_value()) ToProto(*user.last_sign_in, out->mutable_last_sign_in_time());
  out->set_etag(std::to_string(user.revision));
}

void ToProto(const identity::Role& role, v1::Role* out) {
  out->set_name("roles/" + role.name);
  out->set_description(role.description);
  out->mutable_permissions()->Assign(role.permissions.begin(), role.permissions.end());
  out->set_built_in(role.built_in);
  out->set_etag(std::to_string(role.revision));
}

void ToProto(const identity::ApiToken& token, v1::ApiToken* out) {
  out->set_name(identity::TokenName(token));
  out->set_display_name(token.description);
  ToProto(token.grants, out->mutable_grants());
  ToProto(token.create_time, out->mutable_create_time());
  ToProto(token.expire_time, out->mutable_expire_time());
  if (token.last_used.has_value()) ToProto(*token.last_used, out->mutable_last_used_time());
}

void ToProto(const identity::Session& session, v1::Session* out) {
  out->set_name(identity::SessionName(session));
  out->set_peer(session.peer);
  ToProto(session.create_time, out->mutable_create_time());
  ToProto(session.last_seen, out->mutable_last_seen_time());
  ToProto(session.expire_time, out->mutable_expire_time());
}

void ToProto(const identity::Principal& principal, v1::Identity* out) {
  out->set_name(principal.name);
  out->set_display_name(principal.display);
  for (const identity::Grant& grant : principal.grants) {
    if (!principal.bounded) AddEffective(grant.permissions, grant.scope, out);
    // What two different scopes have in common has no form of its own; the token's own one is shown then.
    for (const identity::Grant& bound : principal.bounds) {
      AddEffective(InBoth(grant, bound), grant.scope.everything() ? bound.scope : grant.scope, out);
    }
  }
}

void ToProto(const identity::AuditEntry& entry, v1::AuditEntry* out) {
  out->set_number(entry.number);
  ToProto(entry.time, out->mutable_time());
  out->set_principal(entry.principal);
  out->set_peer(entry.peer);
  out->set_method(entry.method);
  out->set_object(entry.object);
  out->set_request(entry.summary);
  out->set_code(absl::StatusCodeToString(static_cast<absl::StatusCode>(entry.code)));
  out->set_reason(entry.reason);
  out->set_hash(entry.hash);
}

}  // namespace umbra::api
