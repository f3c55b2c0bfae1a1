// The snapshot side of VSS: makes, holds and deletes point-in-time copies of volumes.
//
// Call order for one set: BeginPrepareSnapshot per volume, then once per set EndPrepareSnapshots, PreCommit, Commit,
// PostCommit, PreFinalCommit, PostFinalCommit; AbortSnapshots instead of any of them after EndPrepareSnapshots was
// called. A set that dies earlier is signalled only by a BeginPrepareSnapshot with another set id: clean the old one up
// then.
//
// Errors: AsProviderError says which code an error becomes. An error on any volume fails the whole set.
// Threads: the coordinator calls one method of a provider at a time, on its own thread for it.
// Lifetime: the provider outlives the coordinator.
#ifndef UMBRA_AGENT_VSS_PROVIDER_H_
#define UMBRA_AGENT_VSS_PROVIDER_H_

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/vss/errors.h"
#include "agent/vss/types.h"

namespace umbra::vss {

struct ProviderIdentity {
  Guid provider_id;
  std::string name;
  ProviderType type = ProviderType::kSoftware;  // hardware is asked before software before system
};

struct SnapshotRequest {
  Guid set_id;
  Guid snapshot_id;
  std::string volume;
  uint32_t context = kContextBackup;
};

struct SnapshotProperties {
  Guid set_id;
  Guid snapshot_id;
  Guid provider_id;
  std::string volume;
  std::string device;  // where the copy is found, in the provider's own words
  uint32_t attributes = 0;
  absl::Time create_time;
  SnapshotState state = SnapshotState::kUnknown;
};

class Provider {
 public:
  virtual ~Provider() = default;

  virtual const ProviderIdentity& identity() const = 0;

  virtual absl::StatusOr<bool> IsVolumeSupported(const std::string& volume, uint32_t context) = 0;

  // Starts whatever is slow; may return before it is done.
  virtual absl::Status BeginPrepareSnapshot(const SnapshotRequest& request) = 0;
  // Waits until everything slow is done.
  virtual absl::Status EndPrepareSnapshots(const Guid& set_id) = 0;
  // Applications are frozen from here on to PostCommit: a second at most, no logging.
  virtual absl::Status PreCommitSnapshots(const Guid& set_id) = 0;
  // The point in time, finished when it returns. Within the hold window of ten seconds.
  virtual absl::Status CommitSnapshots(const Guid& set_id) = 0;
  virtual absl::Status PostCommitSnapshots(const Guid& set_id, int snapshot_count) = 0;
  // Applications run again; the copies are still writable for the writers' PostSnapshot.
  virtual absl::Status PreFinalCommitSnapshots(const Guid& set_id) = 0;
  // The copies become read-only.
  virtual absl::Status PostFinalCommitSnapshots(const Guid& set_id) = 0;

  // Drops the set, whatever its state.
  virtual absl::Status AbortSnapshots(const Guid& set_id) = 0;
  // Deletes the copies of a finished set. OK when there are none.
  virtual absl::Status DeleteSnapshots(const Guid& set_id) = 0;

  virtual absl::StatusOr<SnapshotProperties> GetSnapshotProperties(const Guid& snapshot_id) = 0;
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_PROVIDER_H_
