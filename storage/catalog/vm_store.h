// Inventories: virtual machines and writers as the agents last reported them. Used inside Catalog::Read and Write.
#ifndef UMBRA_STORAGE_CATALOG_VM_STORE_H_
#define UMBRA_STORAGE_CATALOG_VM_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class VmStore {
 public:
  explicit VmStore(sqlite::Database& db) : db_(db) {}

  // The host has exactly these from now on. `key.host` of the machines must be `host`, their `update_time` one and the
  // same. The host's revision rises when something other than that time is new.
  // NOT_FOUND / HOST_NOT_FOUND when the host is unknown or revoked.
  absl::Status ReplaceInventory(const HostId& host, const std::vector<Vm>& vms, const std::vector<Writer>& writers);

  // NOT_FOUND / VM_NOT_FOUND.
  absl::StatusOr<Vm> Get(const VmKey& key) const;
  // Ordered by host, then uuid; only of `host` when given.
  absl::StatusOr<Page<Vm, VmKey>> List(const std::optional<HostId>& host, const ListOptions<VmKey>& options) const;
  // Ordered by writer id. The key is the writer id.
  absl::StatusOr<Page<Writer, std::string>> ListWriters(const HostId& host,
                                                        const ListOptions<std::string>& options) const;

 private:
  // True when something has changed but the time.
  absl::StatusOr<bool> ReplaceVms(const HostId& host, const std::vector<Vm>& vms);
  absl::StatusOr<bool> ReplaceWriters(const HostId& host, const std::vector<Writer>& writers);
  absl::Status Insert(const Vm& vm);
  absl::Status ReadParts(Vm& vm) const;
  absl::Status ReadReported(Vm& vm) const;  // disks, obstacles, checkpoints

  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_VM_STORE_H_
