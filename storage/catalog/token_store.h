// Enrolment tokens. Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_TOKEN_STORE_H_
#define UMBRA_STORAGE_CATALOG_TOKEN_STORE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class TokenStore {
 public:
  explicit TokenStore(sqlite::Database& db) : db_(db) {}

  absl::Status Insert(const EnrolmentToken& token);

  // Uses the token up, once for all time: of two callers with the same token one gets OK. Do it in the same transaction
  // as the insert of the host.
  // PERMISSION_DENIED / ENROLMENT_TOKEN_INVALID   unknown, used or expired (the message doesn't say which to a
  // stranger). PERMISSION_DENIED / ENROLMENT_HOST_MISMATCH   the name doesn't match the pattern; the token stays
  // usable.
  absl::Status Consume(const std::string& hash, const std::string& host_name, absl::Time now);

  // NOT_FOUND / ENROLMENT_TOKEN_INVALID.
  absl::StatusOr<EnrolmentToken> Get(const std::string& hash) const;

  // Removes tokens that expired before `time`, used or not.
  absl::Status Prune(absl::Time time);

 private:
  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_TOKEN_STORE_H_
