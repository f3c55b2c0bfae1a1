// Recovery points that can be restored. Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_RECOVERY_POINT_STORE_H_
#define UMBRA_STORAGE_CATALOG_RECOVERY_POINT_STORE_H_

#include <map>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class RecoveryPointStore {
 public:
  enum class Kind {
    kAny,
    kRemoved,
    kHeld,
    kLocked,  // later than Filter::now
  };
  // Absent parts don't filter.
  struct Filter {
    std::optional<VmKey> vm;
    std::optional<RepositoryId> repository;
    bool show_removed = false;  // kRemoved shows them in any case
    Kind kind = Kind::kAny;
    absl::Time now = absl::UnixEpoch();
  };

  explicit RecoveryPointStore(sqlite::Database& db) : db_(db) {}

  // True when it is new; false, and nothing changes, when its id is there already (a commit that is finished twice, a
  // rebuild from the repository).
  absl::StatusOr<bool> Insert(const RecoveryPoint& point);
  // What the repository says now. NOT_FOUND / RECOVERY_POINT_NOT_FOUND.
  absl::Status SetProtection(const RecoveryPointId& id, const RecoveryPointProtection& protection);
  // NOT_FOUND / RECOVERY_POINT_NOT_FOUND.
  absl::Status Delete(const RecoveryPointId& id);

  // With configuration and documents, also of one that is removed. NOT_FOUND / RECOVERY_POINT_NOT_FOUND.
  absl::StatusOr<RecoveryPoint> Get(const RecoveryPointId& id) const;
  // Newest point_time first; without configuration and documents.
  absl::StatusOr<Page<RecoveryPoint, RecoveryPointKey>> List(const Filter& filter,
                                                             const ListOptions<RecoveryPointKey>& options) const;
  // Ids of all points in `repository`, ordered: for comparing with what the repository holds.
  absl::StatusOr<std::vector<RecoveryPointId>> Ids(const RepositoryId& repository) const;
  // What may be done with each point in `repository`: for the same.
  absl::StatusOr<std::map<RecoveryPointId, RecoveryPointProtection>> Protections(const RepositoryId& repository) const;
  // Ids of the points that `job` made, ordered.
  absl::StatusOr<std::vector<RecoveryPointId>> IdsOfJob(const JobId& job) const;

 private:
  absl::Status InsertChildren(const RecoveryPoint& point);
  absl::Status ReadDisks(RecoveryPoint& point) const;
  absl::Status ReadDocuments(RecoveryPoint& point) const;

  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_RECOVERY_POINT_STORE_H_
