// The writer that every guest has: its file systems, frozen and thawed through the guest's agent, whose freeze hooks
// quiesce what runs in there.
//
// It freezes after and thaws before every other writer of the guest (level kSystem), so that those can still write what
// makes them consistent. The agent answers late or never at times; what GuestFreeze promises then (a thaw is tried
// until it is answered) is kept whatever the coordinator has given up meanwhile, and thaw_owed() of the freeze tells
// the rest.
#ifndef UMBRA_AGENT_GUEST_FILESYSTEM_WRITER_H_
#define UMBRA_AGENT_GUEST_FILESYSTEM_WRITER_H_

#include <string>
#include <string_view>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "agent/providers/guest_freeze.h"
#include "agent/vss/writer.h"

namespace umbra::guest {

inline constexpr std::string_view kFilesystemWriterName = "Umbra guest file systems";
inline constexpr vss::Guid kFilesystemWriterId = vss::Guid::Literal("7c1d5e0a-3f62-4b8e-9d47-51a2c60e8b93");

// From the call of the freeze to the answer of the thaw; a guest that stood still longer was not at rest, it was down.
// A request that lets the freeze alone take longer gets its own time and the hold window.
absl::Duration FreezeWindowOf(const providers::FreezeLimits& limits);

class FilesystemWriter final : public vss::Writer {
 public:
  // `freeze` outlives the writer. `filesystems` as the guest's agent reports them, may be empty; `disks`: names of the
  // disks in the backup.
  FilesystemWriter(providers::GuestFreeze& freeze, const providers::FreezeLimits& limits, const vss::Guid& instance_id,
                   std::vector<hypervisor::GuestFilesystem> filesystems, std::vector<std::string> disks);

  const vss::WriterIdentity& identity() const override { return identity_; }
  vss::WriterLimits limits() const override;
  // A component per file system that lies on disks of the backup, named by its mount point.
  absl::StatusOr<vss::WriterMetadata> OnIdentify(const vss::EventContext& context) override;
  absl::Status OnFreeze(vss::EventContext& context) override;
  // Fails with kWriterErrorTimeout when the guest was frozen for longer than FreezeWindowOf.
  absl::Status OnThaw(vss::EventContext& context) override;
  absl::Status OnAbort(vss::EventContext& context) override;

 private:
  std::vector<vss::Component> Components() const;

  providers::GuestFreeze& freeze_;
  const providers::FreezeLimits limits_;
  const vss::WriterIdentity identity_;
  const std::vector<hypervisor::GuestFilesystem> filesystems_;
  const std::vector<std::string> disks_;
};

}  // namespace umbra::guest

#endif  // UMBRA_AGENT_GUEST_FILESYSTEM_WRITER_H_
