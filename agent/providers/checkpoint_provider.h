// The snapshot side of the VSS engine on a hypervisor: a "volume" is a virtual machine, its snapshot a point in time of
// the virtual machine's disks.
//
// A hypervisor cuts the disks of one virtual machine at once but holds only one cut of it, so:
//   - For a virtual machine whose writer asked with TakeAtCommit, CommitSnapshots cuts the view.
//   - For one whose guest's own snapshot was taken in PrepareForSnapshot, CommitSnapshots does nothing; the writer
//     switches the copy to that snapshot in PostSnapshot (Revert, rule B7).
//   - A copy that neither happened to has no content, and fails the set in PostFinalCommit.
//
// Threads: thread-safe.
#ifndef UMBRA_AGENT_PROVIDERS_CHECKPOINT_PROVIDER_H_
#define UMBRA_AGENT_PROVIDERS_CHECKPOINT_PROVIDER_H_

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/providers/vm_point_in_time.h"
#include "agent/vss/provider.h"

namespace umbra::providers {

class CheckpointProvider final : public vss::Provider {
 public:
  explicit CheckpointProvider(const PointInTimeTools& tools);

  // "/vm/{uuid}/", the name of a virtual machine's volume.
  static std::string VolumeOf(std::string_view vm_uuid);

  // --- for a writer ---

  // In PrepareForSnapshot: CommitSnapshots shall cut the view of this virtual machine. NOT_FOUND (kObjectNotFound) when
  // it isn't in the set.
  absl::Status TakeAtCommit(const vss::Guid& set_id, const VmPointInTimeRequest& request);
  // The same of a point that the writer has prepared: nothing is left to do before the cut. For a virtual machine that
  // stands still meanwhile.
  absl::Status TakeAtCommit(const vss::Guid& set_id, std::unique_ptr<VmPointInTime> point);
  // In PostSnapshot: the copy becomes this point in time.
  absl::Status Revert(const vss::Guid& set_id, std::unique_ptr<VmPointInTime> point);

  // --- for a reader of a finished set ---

  // Errors: NOT_FOUND (kObjectNotFound); those of PointInTime.
  absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> OpenDisk(const vss::Guid& set_id, const std::string& vm_uuid,
                                                                    const std::string& disk);
  absl::Status Health(const vss::Guid& set_id, const std::string& vm_uuid);
  absl::StatusOr<absl::Time> PointTime(const vss::Guid& set_id, const std::string& vm_uuid);
  // From where on changes are tracked for the next one; without a name when they aren't.
  absl::StatusOr<hypervisor::Checkpoint> CheckpointOf(const vss::Guid& set_id, const std::string& vm_uuid);
  // Of every snapshot of the set, as VmPointInTime's; nothing to do for a set without virtual machines.
  absl::Status CommitFollows(const vss::Guid& set_id);
  void Committed(const vss::Guid& set_id);

  // --- vss::Provider ---
  const vss::ProviderIdentity& identity() const override { return identity_; }
  absl::StatusOr<bool> IsVolumeSupported(const std::string& volume, uint32_t context) override;
  absl::Status BeginPrepareSnapshot(const vss::SnapshotRequest& request) override;
  absl::Status EndPrepareSnapshots(const vss::Guid& set_id) override;
  absl::Status PreCommitSnapshots(const vss::Guid& set_id) override;
  absl::Status CommitSnapshots(const vss::Guid& set_id) override;
  absl::Status PostCommitSnapshots(const vss::Guid& set_id, int snapshot_count) override;
  absl::Status PreFinalCommitSnapshots(const vss::Guid& set_id) override;
  absl::Status PostFinalCommitSnapshots(const vss::Guid& set_id) override;
  absl::Status AbortSnapshots(const vss::Guid& set_id) override;
  absl::Status DeleteSnapshots(const vss::Guid& set_id) override;
  absl::StatusOr<vss::SnapshotProperties> GetSnapshotProperties(const vss::Guid& snapshot_id) override;

 private:
  struct Copy {
    vss::SnapshotRequest request;
    std::string vm_uuid;
    std::optional<VmPointInTimeRequest> take_at_commit;
    std::unique_ptr<VmPointInTime> point;
    bool take_prepared = false;  // `point` came prepared and is taken at commit
  };
  // The calls for one set come one after another, so its content needs no lock; the table does.
  struct Set {
    std::vector<Copy> copies;
    bool preparing = true;  // until EndPrepareSnapshots; guarded by mu_
  };
  // Owned by the table and by the call that works on it.
  using SetPtr = std::shared_ptr<Set>;

  absl::StatusOr<SetPtr> FindSet(const vss::Guid& set_id) const;
  absl::StatusOr<Copy*> FindCopy(const SetPtr& set, const std::string& vm_uuid) const;
  absl::StatusOr<hypervisor::PointInTime*> FindView(const vss::Guid& set_id, const std::string& vm_uuid) const;
  SetPtr TakeOut(const vss::Guid& set_id);

  const PointInTimeTools tools_;
  const vss::ProviderIdentity identity_;
  mutable absl::Mutex mu_;
  absl::flat_hash_map<vss::Guid, SetPtr> sets_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<vss::Guid, vss::Guid> set_of_snapshot_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::providers

#endif  // UMBRA_AGENT_PROVIDERS_CHECKPOINT_PROVIDER_H_
