// File sets as the agents last reported them. Used inside Catalog::Read and Write.
#ifndef UMBRA_STORAGE_CATALOG_FILE_SET_STORE_H_
#define UMBRA_STORAGE_CATALOG_FILE_SET_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class FileSetStore {
 public:
  explicit FileSetStore(sqlite::Database& db) : db_(db) {}

  // The host, which exists, has exactly these from now on. `key.host` must be `host`; no name is there twice.
  absl::Status Replace(const HostId& host, const std::vector<FileSet>& sets);

  // NOT_FOUND / FILE_SET_NOT_FOUND, also for a key that is a virtual machine's.
  absl::StatusOr<FileSet> Get(const VmKey& key) const;
  // Ordered by host, then name; only of `host` when given.
  absl::StatusOr<Page<FileSet, VmKey>> List(const std::optional<HostId>& host, const ListOptions<VmKey>& options) const;

 private:
  absl::Status Insert(const FileSet& set);
  absl::Status ReadFolders(FileSet& set) const;

  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_FILE_SET_STORE_H_
