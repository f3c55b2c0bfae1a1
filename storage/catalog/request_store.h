// First answers by request_id (AIP-155). Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_REQUEST_STORE_H_
#define UMBRA_STORAGE_CATALOG_REQUEST_STORE_H_

#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class RequestStore {
 public:
  explicit RequestStore(sqlite::Database& db) : db_(db) {}

  // Write it in the same transaction as what the request makes. ALREADY_EXISTS / CATALOG_EXISTS.
  absl::Status Insert(const Request& request);
  // Absent when the id was never used, or was pruned.
  absl::StatusOr<std::optional<Request>> Find(const std::string& request_id) const;
  // Forgets requests made before `time`.
  absl::Status Prune(absl::Time time);

 private:
  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_REQUEST_STORE_H_
