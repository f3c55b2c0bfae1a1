// Users, roles, tokens, sessions and the audit log between the public API and server/identity. Pure.
#ifndef UMBRA_SERVER_API_IDENTITY_CONVERT_H_
#define UMBRA_SERVER_API_IDENTITY_CONVERT_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "server/identity/audit_log.h"
#include "server/identity/identity.h"
#include "umbra/v1/identity.pb.h"

namespace umbra::api {

// Names of resources. "me" stands for the user that the caller is or acts for, "current" for the session that he has; a
// caller without one gets INVALID_ARGUMENT / INVALID_REQUEST, as any text without the form.
absl::StatusOr<std::string> ParseUserName(std::string_view name, std::string_view field,
                                          const identity::Principal& caller);
absl::StatusOr<std::string> ParseRoleName(std::string_view name, std::string_view field);

struct UserPartName {
  std::string user;
  std::string id;
};
absl::StatusOr<UserPartName> ParseApiTokenName(std::string_view name, std::string_view field,
                                               const identity::Principal& caller);
absl::StatusOr<UserPartName> ParseSessionName(std::string_view name, std::string_view field,
                                              const identity::Principal& caller);

// The revision in an etag; 0 for none. INVALID_ARGUMENT / INVALID_REQUEST.
absl::StatusOr<int64_t> RevisionOf(const std::string& etag);

absl::StatusOr<std::vector<identity::RoleGrant>> FromProto(const google::protobuf::RepeatedPtrField<v1::Grant>& grants);

void ToProto(const identity::User& user, v1::User* out);
void ToProto(const identity::Role& role, v1::Role* out);
void ToProto(const identity::ApiToken& token, v1::ApiToken* out);
void ToProto(const identity::Session& session, v1::Session* out);
// All but the session.
void ToProto(const identity::Principal& principal, v1::Identity* out);
void ToProto(const identity::AuditEntry& entry, v1::AuditEntry* out);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_IDENTITY_CONVERT_H_
