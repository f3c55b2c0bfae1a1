#include "storage/catalog/audit_store.h"

#include <algorithm>
#include <limits>

#include "storage/base/status.h"
#include "storage/catalog/page.h"

namespace umbra::catalog {
namespace {

#define COLUMNS "number, time_us, principal, peer, method, object, summary, code, reason, hash "
constexpr char kInsert[] = "INSERT INTO audit (" COLUMNS ") VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)";
constexpr char kNewest[] = "SELECT number, hash FROM audit ORDER BY number DESC LIMIT 1";
constexpr char kAnchor[] = "SELECT number, hash FROM audit_anchor WHERE id = 1";
#define FILTERED                                                                         \
  "AND (?2 = '' OR principal = ?2 OR substr(principal, 1, length(?2) + 1) = ?2 || '/') " \
  "AND (?3 = '' OR method = ?3) "                                                        \
  "AND (?4 = '' OR object = ?4 OR substr(object, 1, length(?4) + 1) = ?4 || '/') "       \
  "AND (?5 = 0 OR code <> 0) AND time_us >= ?6 AND time_us < ?7 "
constexpr char kList[] = "SELECT " COLUMNS "FROM audit WHERE number < ?1 " FILTERED "ORDER BY number DESC LIMIT ?8";
constexpr char kListOldestFirst[] =
    "SELECT " COLUMNS "FROM audit WHERE number > ?1 " FILTERED "ORDER BY number LIMIT ?8";
constexpr char kAfter[] = "SELECT " COLUMNS "FROM audit WHERE number > ? ORDER BY number LIMIT ?";
constexpr char kFirstKept[] = "SELECT number FROM audit WHERE time_us >= ? ORDER BY number LIMIT 1";
constexpr char kMoveAnchor[] =
    "UPDATE audit_anchor SET number = ?1, hash = (SELECT hash FROM audit WHERE number = ?1) WHERE id = 1";
constexpr char kPrune[] = "DELETE FROM audit WHERE number <= ?";

AuditEntry ReadEntry(const sqlite::Row& row) {
  return {.number = row.Int(0),
          .time = row.Time(1),
          .principal = row.Text(2),
          .peer = row.Text(3),
          .method = row.Text(4),
          .object = row.Text(5),
          .summary = row.Text(6),
          .code = row.Int32(7),
          .reason = row.Text(8),
          .hash = row.Text(9)};
}

}  // namespace

absl::Status AuditStore::Insert(const AuditEntry& entry) {
  return db_.Run(kInsert, entry.number, entry.time, entry.principal, entry.peer, entry.method, entry.object,
                 entry.summary, entry.code, entry.reason, entry.hash);
}

absl::StatusOr<AuditAnchor> AuditStore::Anchor() const {
  AuditAnchor anchor;
  RETURN_IF_ERROR(db_.Query(kAnchor, [&](const sqlite::Row& row) { anchor = {row.Int(0), row.Text(1)}; }));
  return anchor;
}

absl::StatusOr<AuditAnchor> AuditStore::Head() const {
  std::optional<AuditAnchor> head;
  RETURN_IF_ERROR(db_.Query(kNewest, [&](const sqlite::Row& row) { head = AuditAnchor{row.Int(0), row.Text(1)}; }));
  if (head.has_value()) return *std::move(head);
  return Anchor();
}

absl::StatusOr<Page<AuditEntry, int64_t>> AuditStore::List(const AuditFilter& filter,
                                                           const ListOptions<int64_t>& options) const {
  std::vector<AuditEntry> entries;
  const int64_t start = filter.oldest_first ? 0 : std::numeric_limits<int64_t>::max();
  RETURN_IF_ERROR(db_.Query(
      filter.oldest_first ? kListOldestFirst : kList,
      [&](const sqlite::Row& row) { entries.push_back(ReadEntry(row)); }, options.after_key.value_or(start),
      filter.principal, filter.method, filter.object, filter.failed_only, filter.from, filter.to, RowLimit(options)));
  return MakePage(std::move(entries), options, [](const AuditEntry& entry) { return entry.number; });
}

absl::StatusOr<std::vector<AuditEntry>> AuditStore::After(int64_t number, int count) const {
  std::vector<AuditEntry> entries;
  RETURN_IF_ERROR(db_.Query(
      kAfter, [&](const sqlite::Row& row) { entries.push_back(ReadEntry(row)); }, number, count));
  return entries;
}

absl::StatusOr<int64_t> AuditStore::Prune(absl::Time before, int64_t count) {
  ASSIGN_OR_RETURN(const AuditAnchor anchor, Anchor());
  ASSIGN_OR_RETURN(const AuditAnchor head, Head());
  int64_t first_kept = head.number;
  RETURN_IF_ERROR(db_.Query(
      kFirstKept, [&](const sqlite::Row& row) { first_kept = row.Int(0); }, before));
  const int64_t last_gone = std::min({first_kept - 1, head.number - 1, anchor.number + count});
  if (last_gone <= anchor.number) return 0;
  RETURN_IF_ERROR(db_.Run(kMoveAnchor, last_gone));
  RETURN_IF_ERROR(db_.Run(kPrune, last_gone));
  return last_gone - anchor.number;
}

}  // namespace umbra::catalog
