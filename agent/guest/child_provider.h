// The provider inside a guest: a "volume" is a disk of the virtual machine, and CommitSnapshots cuts the hypervisor's
// view of all its disks at once.
//
// Serves one backup of one guest. Nothing is cut when a writer of the guest has failed before: the set is of no use.
// Threads: the events of the coordinator on its thread; TakePoint when the set is made.
#ifndef UMBRA_AGENT_GUEST_CHILD_PROVIDER_H_
#define UMBRA_AGENT_GUEST_CHILD_PROVIDER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/guest/child_events.h"
#include "agent/providers/guest_freeze.h"
#include "agent/providers/vm_point_in_time.h"
#include "agent/vss/provider.h"

namespace umbra::guest {

// "/dev/vda/", the name of a guest's volume, of the disk's target name.
std::string VolumeOf(std::string_view disk);

class ChildProvider final : public vss::Provider {
 public:
  // References outlive the provider. `freeze`: while it owes a thaw, the intent stays for healing.
  ChildProvider(const providers::PointInTimeTools& tools, const providers::VmPointInTimeRequest& request,
                const ChildEvents& events, const providers::GuestFreeze& freeze);

  // The guest's snapshot, to be handed to the host's provider (B7). Null before CommitSnapshots succeeded.
  std::unique_ptr<providers::VmPointInTime> TakePoint();

  // --- vss::Provider ---
  const vss::ProviderIdentity& identity() const override { return identity_; }
  absl::StatusOr<bool> IsVolumeSupported(const std::string& volume, uint32_t context) override;
  // With the first disk, the view of all of them is prepared: that is the slow part, and it happens once.
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
  absl::Status CheckSet(const vss::Guid& set_id) const;

  const providers::PointInTimeTools tools_;
  const providers::VmPointInTimeRequest request_;
  const ChildEvents& events_;
  const providers::GuestFreeze& freeze_;
  const vss::ProviderIdentity identity_;
  std::vector<vss::SnapshotRequest> snapshots_;  // of the set
  std::unique_ptr<providers::VmPointInTime> point_;
};

}  // namespace umbra::guest

#endif  // UMBRA_AGENT_GUEST_CHILD_PROVIDER_H_
