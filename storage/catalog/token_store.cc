#include "storage/catalog/token_store.h"

#include <fnmatch.h>

#include "storage/base/status.h"

namespace umbra::catalog {
namespace {

constexpr char kInsert[] =
    "INSERT INTO enrolment_token (hash, host_pattern, create_time_us, expire_time_us, used_time_us, used_by) "
    "VALUES (?, ?, ?, ?, ?, ?)";
constexpr char kGet[] =
    "SELECT hash, host_pattern, create_time_us, expire_time_us, used_time_us, used_by FROM enrolment_token "
    "WHERE hash = ?";
constexpr char kUse[] = "UPDATE enrolment_token SET used_time_us = ?, used_by = ? WHERE hash = ?";
constexpr char kPrune[] = "DELETE FROM enrolment_token WHERE expire_time_us < ?";

absl::Status Invalid(absl::StatusCode code) {
  return base::Error(code, "ENROLMENT_TOKEN_INVALID", "the enrolment token is wrong, was used or has expired");
}

}  // namespace

absl::Status TokenStore::Insert(const EnrolmentToken& token) {
  return db_.Run(kInsert, token.hash, token.host_pattern, token.create_time, token.expire_time, token.used_time,
                 token.used_by);
}

absl::StatusOr<EnrolmentToken> TokenStore::Get(const std::string& hash) const {
  std::optional<EnrolmentToken> token;
  RETURN_IF_ERROR(db_.Query(
      kGet,
      [&](const sqlite::Row& row) {
        token = EnrolmentToken{.hash = row.Text(0),
                               .host_pattern = row.Text(1),
                               .create_time = row.Time(2),
                               .expire_time = row.Time(3),
                               .used_time = row.OptionalTime(4),
                               .used_by = row.Text(5)};
      },
      hash));
  if (!token.has_value()) return Invalid(absl::StatusCode::kNotFound);
  return *std::move(token);
}

absl::Status TokenStore::Consume(const std::string& hash, const std::string& host_name, absl::Time now) {
  const absl::StatusOr<EnrolmentToken> token = Get(hash);
  if (absl::IsNotFound(token.status())) return Invalid(absl::StatusCode::kPermissionDenied);
  RETURN_IF_ERROR(token.status());
  if (token->used_time.has_value() || now >= token->expire_time) return Invalid(absl::StatusCode::kPermissionDenied);
  if (!token->host_pattern.empty() && fnmatch(token->host_pattern.c_str(), host_name.c_str(), 0) != 0) {
    return base::Error(absl::StatusCode::kPermissionDenied, "ENROLMENT_HOST_MISMATCH",
                       "host name {} doesn't match the token's pattern {}", host_name, token->host_pattern);
  }
  return db_.Run(kUse, now, host_name, hash);
}

absl::Status TokenStore::Prune(absl::Time time) {
  return db_.Run(kPrune, time);
}

}  // namespace umbra::catalog
