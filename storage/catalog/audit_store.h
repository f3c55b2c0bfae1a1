// The audit log's entries. Used inside Catalog::Read and Catalog::Write. What an entry's hash is over is known to
// server/identity; triggers of the schema see to it that entries only come at the end and go by pruning.
#ifndef UMBRA_STORAGE_CATALOG_AUDIT_STORE_H_
#define UMBRA_STORAGE_CATALOG_AUDIT_STORE_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/catalog/identity_records.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class AuditStore {
 public:
  explicit AuditStore(sqlite::Database& db) : db_(db) {}

  // Its number must be the next one. FAILED_PRECONDITION / CATALOG_CONSTRAINT.
  absl::Status Insert(const AuditEntry& entry);
  // Number and hash of the newest entry; of the anchor when there is none.
  absl::StatusOr<AuditAnchor> Head() const;
  absl::StatusOr<AuditAnchor> Anchor() const;
  // Newest first unless the filter says otherwise; the key is the number.
  absl::StatusOr<Page<AuditEntry, int64_t>> List(const AuditFilter& filter, const ListOptions<int64_t>& options) const;
  // Oldest first, those after `number`, at most `count`.
  absl::StatusOr<std::vector<AuditEntry>> After(int64_t number, int count) const;
  // Removes what is older than `before`, at most `count` entries, never the newest one, and moves the anchor. Entries
  // are removed in their order: one with a later time holds up those that follow. Returns how many were.
  absl::StatusOr<int64_t> Prune(absl::Time before, int64_t count);

 private:
  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_AUDIT_STORE_H_
