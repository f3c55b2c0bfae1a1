// How much there is, and how it grew. Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_FIGURES_STORE_H_
#define UMBRA_STORAGE_CATALOG_FIGURES_STORE_H_

#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class FiguresStore {
 public:
  explicit FiguresStore(sqlite::Database& db) : db_(db) {}

  // Sums over the recovery points of a virtual machine.
  absl::StatusOr<BackupFigures> OfVm(const VmKey& vm) const;

  // The figures of a day; the last ones that are set stay.
  absl::Status SetDay(const RepositoryDay& day);
  // The newest `limit` days, oldest first. Days on which the daemon didn't run have none.
  absl::StatusOr<std::vector<RepositoryDay>> Days(const RepositoryId& repository, int limit) const;

 private:
  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_FIGURES_STORE_H_
