// Enrolled hosts. Used inside Catalog::Read and Catalog::Write; see catalog.h for threads and durability.
#ifndef UMBRA_STORAGE_CATALOG_HOST_STORE_H_
#define UMBRA_STORAGE_CATALOG_HOST_STORE_H_

#include <string>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class HostStore {
 public:
  explicit HostStore(sqlite::Database& db) : db_(db) {}

  // ALREADY_EXISTS / CATALOG_EXISTS when the id or the fingerprint is taken.
  absl::Status Insert(const Host& host);
  // Replaces everything but id, create_time, labels, the next certificate and revision, which is raised. NOT_FOUND /
  // HOST_NOT_FOUND.
  absl::Status Update(const Host& host);
  // A certificate that is good beside the host's own; an earlier one that wasn't used is refused from now on.
  // NOT_FOUND / HOST_NOT_FOUND, also for a revoked host; ALREADY_EXISTS / CATALOG_EXISTS when the fingerprint is taken.
  absl::Status SetNextCertificate(const HostId& id, const std::string& serial, const std::string& fingerprint);
  // The next certificate of that fingerprint becomes the host's own; the one before is refused from now on. False when
  // the host has no such next certificate, for example because it was used at the same time elsewhere.
  absl::StatusOr<bool> UseNextCertificate(const HostId& id, const std::string& fingerprint);
  // No certificate is good but the host's own. Harmless when there is none.
  absl::Status DropNextCertificate(const HostId& id);
  // A sign of life. NOT_FOUND / HOST_NOT_FOUND.
  absl::Status SetLastSeen(const HostId& id, absl::Time time);
  // Refuses the host's certificate from now on and forgets its inventory and labels; recovery points and jobs stay.
  // NOT_FOUND / HOST_NOT_FOUND, also when it was revoked before.
  absl::Status Revoke(const HostId& id);

  // NOT_FOUND / HOST_NOT_FOUND for unknown and for revoked hosts.
  absl::StatusOr<Host> Get(const HostId& id) const;
  // By certificate, its own or the next one; revoked hosts too: the caller looks at `revoked`. NOT_FOUND /
  // HOST_NOT_FOUND.
  absl::StatusOr<Host> FindByFingerprint(const std::string& fingerprint) const;
  // Those in maintenance.
  absl::StatusOr<std::vector<HostId>> Drained() const;
  // Ordered by id; without revoked hosts.
  absl::StatusOr<Page<Host, HostId>> List(const ListOptions<HostId>& options) const;

 private:
  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_HOST_STORE_H_
