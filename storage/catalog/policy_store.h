// Policies, and what they look at: all virtual machines and file sets as light rows, their newest good points. Used
// inside Catalog::Read and Catalog::Write.
#ifndef UMBRA_STORAGE_CATALOG_POLICY_STORE_H_
#define UMBRA_STORAGE_CATALOG_POLICY_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/label_store.h"
#include "storage/catalog/policy_records.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

class PolicyStore {
 public:
  explicit PolicyStore(sqlite::Database& db) : db_(db), labels_(db) {}

  // ALREADY_EXISTS / POLICY_EXISTS.
  absl::Status Insert(const Policy& policy);
  // Writes everything but id and create_time, and raises the revision. NOT_FOUND / POLICY_NOT_FOUND.
  absl::Status Update(const Policy& policy);
  // How far it has run: every due time up to `done`, where it was `before`. Absent times stay as they are. No effect on
  // a policy that is gone, or that somebody else changed in this respect.
  absl::Status SetProgress(const PolicyId& id, absl::Time before, absl::Time done, std::optional<absl::Time> last_due,
                           std::optional<absl::Time> last_run);
  // NOT_FOUND / POLICY_NOT_FOUND.
  absl::Status Delete(const PolicyId& id);
  absl::StatusOr<Policy> Get(const PolicyId& id) const;
  // Ordered by id; there are few.
  absl::StatusOr<std::vector<Policy>> All() const;

  // Virtual machines, ordered by key. Without their parts: a page of thousands is quick. One without a disk holds nothing
  // to back up and isn't among them.
  absl::StatusOr<Page<Subject, VmKey>> Vms(const ListOptions<VmKey>& options) const;
  // What is known of a virtual machine's protection.
  struct VmState {
    Subject subject;
    std::optional<absl::Time> last_good;  // as LastGood
    JobId failed_job;        // its newest backup that went well or failed, when that one failed; else empty
    absl::Time failed_time;  // when it ended
  };
  // As Vms, with it.
  absl::StatusOr<Page<VmState, VmKey>> VmStates(const ListOptions<VmKey>& options) const;
  // All file sets, ordered by key; there are few.
  absl::StatusOr<std::vector<Subject>> FileSets() const;
  // What has recovery points, in the inventory or not, ordered by key; named as its newest point was.
  absl::StatusOr<Page<Subject, VmKey>> PointSubjects(const ListOptions<VmKey>& options) const;
  // One of them; without names when it has no recovery points.
  absl::StatusOr<Subject> PointSubject(const VmKey& key) const;

  // A recovery point that isn't removed.
  struct PointFacts {
    RecoveryPointId id;
    absl::Time point_time;
    bool damaged = false;
    bool held = false;
    std::optional<absl::Time> lock_until;
  };
  // Newest first.
  absl::StatusOr<std::vector<PointFacts>> PointsOf(const VmKey& key, const RepositoryId& repository) const;
  // Time of the newest point without known damage, in any repository.
  absl::StatusOr<std::optional<absl::Time>> LastGood(const VmKey& key) const;

 private:
  absl::Status WriteTexts(const Policy& policy);
  absl::Status ReadTexts(Policy& policy) const;
  // Without its labels.
  absl::StatusOr<Subject> Named(const VmKey& key) const;

  sqlite::Database& db_;
  const LabelStore labels_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_POLICY_STORE_H_
