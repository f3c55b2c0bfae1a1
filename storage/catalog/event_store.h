// The numbered log of what happened. Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_EVENT_STORE_H_
#define UMBRA_STORAGE_CATALOG_EVENT_STORE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class EventStore {
 public:
  explicit EventStore(sqlite::Database& db) : db_(db) {}

  // Appends and returns the sequence number: one more than that of the event before, always. A transaction that is
  // rolled back gives its numbers back. `event.sequence` is not read.
  absl::StatusOr<int64_t> Append(const Event& event);

  // Oldest first. The key is the sequence number. Only about `resource` when that isn't empty.
  absl::StatusOr<Page<Event, int64_t>> List(const std::string& resource, const ListOptions<int64_t>& options) const;

  // Number of the newest event; 0 when there is none.
  absl::StatusOr<int64_t> Newest() const;

  // Removes events before the first one that isn't older than `before`, and the oldest beyond `keep_max`; of these the oldest
  // `count_max`. The newest event always stays: it carries the numbering on. Returns how many went.
  absl::StatusOr<int64_t> Prune(absl::Time before, int64_t keep_max, int64_t count_max);

  // Number of the last event that Append gave in this transaction; 0 when none. For Catalog.
  int64_t appended() const { return appended_; }
  void ResetAppended() { appended_ = 0; }

 private:
  sqlite::Database& db_;
  int64_t appended_ = 0;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_EVENT_STORE_H_
