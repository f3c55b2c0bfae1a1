// Labels of hosts and virtual machines. They stay when an inventory comes without a machine, and go with their host.
// Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_LABEL_STORE_H_
#define UMBRA_STORAGE_CATALOG_LABEL_STORE_H_

#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/catalog/ids.h"
#include "storage/catalog/labels.h"
#include "storage/catalog/policy_records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class LabelStore {
 public:
  explicit LabelStore(sqlite::Database& db) : db_(db) {}

  // It has exactly these from now on. A host is the key without a uuid. Whether there is such a host or machine is the
  // caller's to check.
  absl::Status Set(const VmKey& key, const Labels& labels);
  // Those of the host and of its machines.
  absl::Status ForgetHost(const HostId& host);

  // Its own; none for what is unknown.
  absl::StatusOr<Labels> Get(const VmKey& key) const;
  // Gives each of `subjects`, which are ordered by key, the labels that it is selected by: its own, and those of its
  // host whose keys aren't among its own.
  absl::Status Fill(std::vector<Subject>& subjects) const;

 private:
  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_LABEL_STORE_H_
