// Which agent works on which attempt of which job, as the data service needs to know it.
//
// An entry exists from the moment an assignment is sent until its job has ended or its lease has run out: the fence
// between an old attempt and a new one. The dispatcher writes it, the data service asks it on every call that opens something.
#ifndef UMBRA_SERVER_DISPATCH_ASSIGNMENT_TABLE_H_
#define UMBRA_SERVER_DISPATCH_ASSIGNMENT_TABLE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/catalog/records.h"

namespace umbra::dispatch {

// One attempt of one job; it never comes back under the same key.
struct AssignmentKey {
  catalog::JobId job;
  int32_t attempt = 0;

  auto operator<=>(const AssignmentKey&) const = default;

  template <typename H>
  friend H AbslHashValue(H state, const AssignmentKey& key) {
    return H::combine(std::move(state), key.job, key.attempt);
  }
};

struct Assignment {
  AssignmentKey key;
  catalog::HostId host;
  catalog::JobKind kind = catalog::JobKind::kBackup;
  catalog::RepositoryId repository;
  std::vector<std::string> vm_uuids;        // of a backup
  catalog::RecoveryPointId recovery_point;  // of a restore
};

// Thread-safe; no call blocks, but those that run the listener.
class AssignmentTable {
 public:
  // ---- For the dispatcher ----

  void Add(Assignment assignment);

  // No new sessions and no commit from now on; what is open goes on until Remove. For jobs that are being cancelled.
  void Close(const AssignmentKey& key);

  // Ends the assignment and tells the listener, unless a commit is under way: then nothing happens and false is returned
  // (try again later). True also when there is no such assignment.
  bool Remove(const AssignmentKey& key);

  // `listener(key)` is called after each Remove that removed something, without a lock. Set it before the dispatcher starts.
  void SetEndListener(std::function<void(const AssignmentKey&)> listener) { on_end_ = std::move(listener); }

  // ---- For the data service ----

  // The assignment, when it is alive, of this kind and the host's own.
  // PERMISSION_DENIED / PERMISSION_DENIED otherwise; the message doesn't tell a stranger which.
  absl::StatusOr<Assignment> Authorize(const catalog::HostId& host, const AssignmentKey& key, catalog::JobKind kind) const;

  // ABORTED / JOB_ENDED when the assignment is gone, OK as long as it is there.
  absl::Status CheckAlive(const AssignmentKey& key) const;

  // Keeps the assignment alive until EndCommit, so that a lease can't run out between the repository's commit and the
  // catalog's. ABORTED / JOB_ENDED when it is gone; ABORTED / CANCELLED when it is being cancelled.
  absl::Status BeginCommit(const AssignmentKey& key);
  void EndCommit(const AssignmentKey& key);

 private:
  struct Entry {
    Assignment assignment;
    bool closed = false;
    bool committing = false;
  };

  mutable absl::Mutex mu_;
  absl::flat_hash_map<AssignmentKey, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::function<void(const AssignmentKey&)> on_end_;  // constant once the dispatcher runs
};

}  // namespace umbra::dispatch

#endif  // UMBRA_SERVER_DISPATCH_ASSIGNMENT_TABLE_H_
