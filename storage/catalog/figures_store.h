// How much there is, and how it grew. Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_FIGURES_STORE_H_
#define UMBRA_STORAGE_CATALOG_FIGURES_STORE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

// How much there is to protect.
struct FleetFigures {
  int64_t host_count = 0;  // without revoked ones
  int64_t vm_count = 0;
  int64_t unprotected_vm_count = 0;  // no recovery point is of them
  int64_t newest_event = 0;

  bool operator==(const FleetFigures&) const = default;
};

class FiguresStore {
 public:
  explicit FiguresStore(sqlite::Database& db) : db_(db) {}

  // Sums over the recovery points of a virtual machine.
  absl::StatusOr<BackupFigures> OfVm(const VmKey& vm) const;

  absl::StatusOr<FleetFigures> OfFleet() const;

  // The figures of a day; the last ones that are set stay.
  absl::Status SetDay(const RepositoryDay& day);
  // The newest `limit` days, oldest first. Days on which the daemon didn't run have none.
  absl::StatusOr<std::vector<RepositoryDay>> Days(const RepositoryId& repository, int limit) const;

 private:
  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_FIGURES_STORE_H_
