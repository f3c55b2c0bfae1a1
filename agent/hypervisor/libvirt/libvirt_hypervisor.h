// QEMU virtual machines through libvirt's C API at a configurable URI; disks are read by NBD.
//
// Nothing is started or changed on the host but what the calls say. Everything about QEMU goes through libvirt.
#ifndef UMBRA_AGENT_HYPERVISOR_LIBVIRT_LIBVIRT_HYPERVISOR_H_
#define UMBRA_AGENT_HYPERVISOR_LIBVIRT_LIBVIRT_HYPERVISOR_H_

#include <memory>
#include <string>
#include <vector>

#include "agent/hypervisor/hypervisor.h"
#include "agent/hypervisor/libvirt/checkpoint_xml.h"
#include "agent/hypervisor/libvirt/connection.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::hypervisor {

struct LibvirtConfig {
  std::string uri = "qemu:///system";  // unix sockets only are tested
  std::string default_folder = "/var/lib/libvirt/images";
};

// Thread-safe; calls block, those to the guest's agent up to their timeout. The connection is opened with the first call
// and again after the daemon was restarted. The references must outlive this object, and this object what it hands out.
class LibvirtHypervisor final : public Hypervisor {
 public:
  LibvirtHypervisor(LibvirtConfig config, base::Filesystem& files, base::Clock& clock, base::Random& random);

  absl::StatusOr<std::string> Version() override;
  absl::StatusOr<std::vector<VmInfo>> ListVms() override;
  absl::StatusOr<VmInfo> GetVm(const std::string& uuid) override;
  absl::StatusOr<std::string> Configuration(const std::string& uuid) override;
  absl::StatusOr<GuestAgentInfo> QueryGuestAgent(const std::string& uuid, absl::Duration timeout) override;
  absl::StatusOr<int> Freeze(const std::string& uuid, absl::Duration timeout) override;
  absl::StatusOr<int> Thaw(const std::string& uuid, absl::Duration timeout) override;
  absl::Status CheckNoJob(const std::string& uuid) override;
  absl::StatusOr<std::unique_ptr<PreparedPointInTime>> PreparePointInTime(const std::string& uuid,
                                                                          const PointInTimeOptions& options) override;
  absl::StatusOr<CleanUpReport> RemoveCheckpoints(const std::string& uuid, const std::string& keep) override;
  absl::StatusOr<CleanUpReport> CleanUp(const std::string& uuid, const std::string& scratch_folder,
                                        const std::string& owner_tag) override;
  absl::Status CheckCanSave(const std::string& uuid, const SaveOptions& options) override;
  absl::StatusOr<SavedState> SaveState(const std::string& uuid, const SaveOptions& options) override;
  absl::StatusOr<std::string> ExistingState(const std::string& uuid) override;
  absl::Status StartFromState(const std::string& uuid, const std::string& state_path, bool paused) override;
  absl::Status SyncGuestClock(const std::string& uuid, absl::Duration timeout) override;
  absl::Status Pause(const std::string& uuid) override;
  absl::Status Resume(const std::string& uuid) override;
  absl::Status Start(const std::string& uuid) override;
  absl::Status PowerOff(const std::string& uuid) override;
  absl::Status DeleteVm(const std::string& uuid) override;
  absl::StatusOr<std::unique_ptr<BlockWriter>> CreateDisk(const NewDisk& disk) override;
  absl::StatusOr<DefinedVm> DefineVm(const DefineOptions& options) override;
  std::string DefaultFolder() override;

 private:
  absl::StatusOr<VmInfo> Describe(virDomainPtr domain);
  absl::Status CheckDisksExist(virDomainPtr domain);
  std::vector<CheckpointXml> CheckpointsOfRestored(const std::vector<CheckpointXml>& checkpoints,
                                                   const DefineOptions& options);
  absl::Status CheckNotTaken(virConnectPtr connection, const std::string& uuid, const std::string& name);
  bool SwitchExists(virConnectPtr connection, std::string_view kind, const std::string& name);

  const LibvirtConfig config_;
  base::Filesystem& files_;
  base::Clock& clock_;
  base::Random& random_;
  Connection connection_;
};

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_LIBVIRT_LIBVIRT_HYPERVISOR_H_
