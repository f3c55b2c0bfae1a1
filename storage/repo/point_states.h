// What may be done with recovery points: removed and undeleted, held, locked, being read.
//
// All of it is in objects beside the points (docs/formats/repository.md section 11), so that a lost catalog loses none
// of it. The store of the points themselves is PointStore.
#ifndef UMBRA_STORAGE_REPO_POINT_STATES_H_
#define UMBRA_STORAGE_REPO_POINT_STATES_H_

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/base_map.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/point_store.h"
#include "storage/repo/repository.h"
#include "storage/repo/repository_time.h"
#include "storage/repo/space_reserve.h"

namespace umbra::repo {

class PointStates;

// Somebody reads the point: it is not deleted as long as this lives, removed or not. Movable.
class PointUse {
 public:
  PointUse() = default;
  PointUse(PointStates& states, std::string id) : states_(&states), id_(std::move(id)) {}
  PointUse(PointUse&& other) noexcept : states_(std::exchange(other.states_, nullptr)), id_(std::move(other.id_)) {}
  PointUse& operator=(PointUse&& other) noexcept {
    std::swap(states_, other.states_);
    std::swap(id_, other.id_);
    return *this;
  }
  ~PointUse();

 private:
  PointStates* states_ = nullptr;
  std::string id_;
};

// Thread-safe. Operations on one point come one after another; those on others don't wait for them.
class PointStates {
 public:
  // What it is given outlives it. `repository` is the uuid as text.
  PointStates(BlobStore& store, PointStore& points, BaseHolds& bases, RepositoryTime& time, SpaceReserve& reserve,
              const ChunkHasher& hasher, std::string repository)
      : store_(store),
        points_(points),
        bases_(bases),
        time_(time),
        reserve_(reserve),
        hasher_(hasher),
        repository_(std::move(repository)) {}

  // Reads every tombstone, hold and lock. One that can't be read counts: a hold and a lock hold, a removed point stays
  // hidden and is never deleted. Call once, first.
  absl::Status Load();

  // Contracts: Repository's methods of the same names.
  absl::StatusOr<PointProtection> Remove(const std::string& id, const RemovalOptions& options);
  absl::StatusOr<PointProtection> Undelete(const std::string& id);
  absl::StatusOr<PointProtection> Hold(const std::string& id, const std::string& who, const std::string& note);
  absl::StatusOr<PointProtection> Release(const std::string& id);
  absl::StatusOr<PointProtection> Lock(const std::string& id, absl::Time until, const std::string& who);

  PointProtection Of(const std::string& id) const;
  bool IsRemoved(const std::string& id) const { return Of(id).removed; }
  // Ids of the points that are removed and not deleted yet, sorted.
  std::vector<std::string> Removed() const;

  // Keeps the point's data. NOT_FOUND / RECOVERY_POINT_NOT_FOUND when it is just being deleted.
  absl::StatusOr<PointUse> Use(const std::string& id);

  // Removed points whose window is over, that nothing holds and nobody reads.
  std::vector<std::string> Deletable() const;
  // Really deletes one of them, durably, and what is kept about it; false when it isn't deletable any more.
  absl::StatusOr<bool> Delete(const std::string& id);

 private:
  friend class PointUse;

  struct State {
    PointProtection protection;
    bool unreadable_tombstone = false;
    bool deleting = false;  // no way back
    bool busy = false;      // an operation writes objects of this point
    int uses = 0;
    std::vector<std::string> lock_names;

    bool IsPlain() const { return !protection.removed && !protection.held && lock_names.empty() && !busy && uses == 0; }
  };

  // One operation on one point: waits for the one before, and forgets the state again when there is nothing to
  // remember.
  class Operation;

  absl::Status LoadTombstone(const std::string& name, const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status LoadHold(const std::string& name, const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status LoadLock(const std::string& name, const std::string& id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool IsDeletableLocked(const State& state, const RepositoryNow& now) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void Unuse(const std::string& id);
  absl::Status DeleteObjects(const std::string& id, const std::vector<std::string>& names);

  BlobStore& store_;
  PointStore& points_;
  BaseHolds& bases_;
  RepositoryTime& time_;
  SpaceReserve& reserve_;
  const ChunkHasher& hasher_;
  const std::string repository_;

  mutable absl::Mutex mu_;
  // Only points about which there is something to say.
  std::map<std::string, State> states_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_POINT_STATES_H_
