#include "storage/catalog/event_store.h"

#include <algorithm>

#include "storage/base/status.h"
#include "storage/catalog/page.h"

namespace umbra::catalog {
namespace {

constexpr char kAppend[] =
    "INSERT INTO event (sequence, time_us, type, resource, severity, message) "
    "VALUES ((SELECT COALESCE(MAX(sequence), 0) + 1 FROM event), ?, ?, ?, ?, ?) RETURNING sequence";
constexpr char kListAll[] =
    "SELECT sequence, time_us, type, resource, severity, message FROM event WHERE sequence > ? "
    "ORDER BY sequence LIMIT ?";
constexpr char kListOfResource[] =
    "SELECT sequence, time_us, type, resource, severity, message FROM event WHERE sequence > ? AND resource = ? "
    "ORDER BY sequence LIMIT ?";
constexpr char kNewest[] = "SELECT COALESCE(MAX(sequence), 0) FROM event";
constexpr char kOldest[] = "SELECT COALESCE(MIN(sequence), 0) FROM event";
// In the order of sequences, whatever the clock did meanwhile; the index by time would give another order (hence the +).
constexpr char kFirstSince[] =
    "SELECT sequence FROM event WHERE sequence < ? AND +time_us >= ? ORDER BY sequence LIMIT 1";
constexpr char kPrune[] = "DELETE FROM event WHERE sequence < ?";

Event ReadEvent(const sqlite::Row& row) {
  return {.sequence = row.Int(0),
          .time = row.Time(1),
          .type = row.Text(2),
          .resource = row.Text(3),
          .severity = row.Enum<Severity>(4),
          .message = row.Text(5)};
}

}  // namespace

absl::StatusOr<int64_t> EventStore::Append(const Event& event) {
  RETURN_IF_ERROR(db_.Query(
      kAppend, [&](const sqlite::Row& row) { appended_ = row.Int(0); }, event.time, event.type, event.resource,
      event.severity, event.message));
  return appended_;
}

absl::StatusOr<Page<Event, int64_t>> EventStore::List(const std::string& resource,
                                                      const ListOptions<int64_t>& options) const {
  std::vector<Event> events;
  const auto on_row = [&](const sqlite::Row& row) { events.push_back(ReadEvent(row)); };
  const int64_t after = options.after_key.value_or(0);
  RETURN_IF_ERROR(resource.empty() ? db_.Query(kListAll, on_row, after, RowLimit(options))
                                   : db_.Query(kListOfResource, on_row, after, resource, RowLimit(options)));
  return MakePage(std::move(events), options, [](const Event& event) { return event.sequence; });
}

absl::StatusOr<int64_t> EventStore::Newest() const {
  int64_t newest = 0;
  RETURN_IF_ERROR(db_.Query(kNewest, [&](const sqlite::Row& row) { newest = row.Int(0); }));
  return newest;
}

absl::StatusOr<int64_t> EventStore::Prune(absl::Time before, int64_t keep_max, int64_t count_max) {
  ASSIGN_OR_RETURN(const int64_t newest, Newest());
  int64_t oldest = 0;
  RETURN_IF_ERROR(db_.Query(kOldest, [&](const sqlite::Row& row) { oldest = row.Int(0); }));
  const int64_t end = oldest + count_max;
  int64_t first_kept = end;
  RETURN_IF_ERROR(db_.Query(kFirstSince, [&](const sqlite::Row& row) { first_kept = row.Int(0); }, end, before));
  // Sequences have no holes, so that counting is subtracting.
  first_kept = std::min(newest, std::max(first_kept, newest - keep_max + 1));
  RETURN_IF_ERROR(db_.Run(kPrune, std::min(first_kept, end)));
  return db_.ChangedRows();
}

}  // namespace umbra::catalog
