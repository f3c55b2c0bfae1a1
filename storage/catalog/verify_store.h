// What was verified when, and which damage is known. Used inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_VERIFY_STORE_H_
#define UMBRA_STORAGE_CATALOG_VERIFY_STORE_H_

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

// More damage than this in one repository says no more than that its disk is dying.
inline constexpr int64_t kDamageRowsMax = 10'000;

class VerifyStore {
 public:
  explicit VerifyStore(sqlite::Database& db) : db_(db) {}

  // ---- Packs and points ----

  // A check of stored bytes leaves the time of the last full check as it is.
  absl::Status SetPackCheck(const PackCheck& check);
  absl::StatusOr<std::vector<PackCheck>> PackChecks(const RepositoryId& repository) const;
  absl::Status DeletePackCheck(const RepositoryId& repository, const std::string& pack);

  absl::Status SetPointCheck(const PointCheck& check);
  // Of one point; empty when it was never checked.
  absl::StatusOr<std::optional<PointCheck>> GetPointCheck(const RecoveryPointId& point) const;
  // By id.
  absl::StatusOr<std::map<std::string, absl::Time>> PointCheckTimes(const RepositoryId& repository) const;

  // ---- Damage ----

  // Open from now on, also when it was healed before; `found_time` of a place that is open already stays.
  // At most kDamageRowsMax of a repository are kept.
  absl::Status AddDamage(const Damage& damage);
  // Not healed; ordered by recovery point, disk and offset.
  absl::StatusOr<std::vector<Damage>> OpenDamage(const RepositoryId& repository) const;
  // Of one point, healed or not; ordered by disk and offset.
  absl::StatusOr<std::vector<Damage>> DamageOf(const RecoveryPointId& point) const;
  // Places of this chunk that are open count as healed.
  absl::Status Heal(const RepositoryId& repository, const std::string& chunk_id, absl::Time time);
  // The disks of this point as a whole are what was backed up.
  absl::Status HealDisks(const RecoveryPointId& point, absl::Time time);
  // Forgets what was healed before `time`, and what belongs to points that don't exist.
  absl::Status Prune(absl::Time time);

 private:
  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_VERIFY_STORE_H_
