#include "agent/hypervisor/libvirt/libvirt_hypervisor.h"

#include <libvirt/libvirt-qemu.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "absl/cleanup/cleanup.h"
#include "agent/hypervisor/image/image_writer.h"
#include "agent/hypervisor/libvirt/change_tracking.h"
#include "agent/hypervisor/libvirt/checkpoints.h"
#include "agent/hypervisor/libvirt/daemon_network.h"
#include "agent/hypervisor/libvirt/domain_xml.h"
#include "agent/hypervisor/libvirt/guest_disks.h"
#include "agent/hypervisor/libvirt/image_making.h"
#include "agent/hypervisor/libvirt/offline_view.h"
#include "agent/hypervisor/libvirt/pull_backup.h"
#include "agent/hypervisor/libvirt/saved_state.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;

struct NetworkDeleter {
  void operator()(virNetworkPtr n) const { virNetworkFree(n); }
};
struct VolumeDeleter {
  void operator()(virStorageVolPtr v) const { virStorageVolFree(v); }
};
struct PoolDeleter {
  void operator()(virStoragePoolPtr p) const { virStoragePoolFree(p); }
};

// Kept by an undefine: a VM that is restored in place uses them again.
constexpr unsigned int kUndefineFlags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE | VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
                                        VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | VIR_DOMAIN_UNDEFINE_KEEP_NVRAM |
                                        VIR_DOMAIN_UNDEFINE_KEEP_TPM;

// libvirt counts an agent's time in whole seconds.
int WholeSeconds(absl::Duration timeout) {
  return static_cast<int>(std::clamp<int64_t>(absl::ToInt64Seconds(absl::Ceil(timeout, absl::Seconds(1))), 1, 3600));
}

VmState StateFrom(int state, bool has_managed_save) {
  switch (state) {
    case VIR_DOMAIN_RUNNING:
    case VIR_DOMAIN_BLOCKED:
    case VIR_DOMAIN_SHUTDOWN:  // being shut down, still there
      return VmState::kRunning;
    case VIR_DOMAIN_PAUSED:
    case VIR_DOMAIN_PMSUSPENDED:
      return VmState::kPaused;
    case VIR_DOMAIN_SHUTOFF:
      return has_managed_save ? VmState::kSaved : VmState::kOff;
    case VIR_DOMAIN_CRASHED:
      return VmState::kCrashed;
    default:
      return VmState::kUnknown;
  }
}

bool IsIn(virDomainPtr domain, int wanted) {
  int state = 0;
  return virDomainGetState(domain, &state, nullptr, 0) == 0 && state == wanted;
}

bool Contains(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// Nothing reached the guest: there is no agent, it isn't connected, or it didn't answer the handshake before the command.
bool NothingAsked(const std::string& text) { return Contains(text, "not connected"); }

absl::Status AgentError(StatusCode code, std::string_view reason, const std::string& uuid) {
  return base::Error(code, reason, "guest agent of virtual machine {}: {}", uuid, LastErrorText());
}

// Frozen or not: what libvirt's last error says after a freeze.
absl::Status FreezeError(const std::string& uuid) {
  const int code = LastErrorCode();
  if (code == VIR_ERR_ARGUMENT_UNSUPPORTED || code == VIR_ERR_CONFIG_UNSUPPORTED) {
    return AgentError(StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_CONFIGURED", uuid);
  }
  if (code == VIR_ERR_AGENT_UNRESPONSIVE || code == VIR_ERR_AGENT_UNSYNCED) {
    if (NothingAsked(LastErrorText())) return AgentError(StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_RUNNING", uuid);
    return AgentError(StatusCode::kDeadlineExceeded, "GUEST_FREEZE_TIMEOUT", uuid);
  }
  // The agent's own words: "fsfreeze hook has failed", "agent is in frozen state".
  if (code == VIR_ERR_INTERNAL_ERROR) return AgentError(StatusCode::kAborted, "GUEST_FREEZE_FAILED", uuid);
  return LibvirtError("freeze the guest");
}

bool CanFreeze(const std::string& type) {
  static const std::set<std::string> cannot = {"vfat", "FAT", "FAT32",    "exfat", "exFAT", "fuse",     "fuseblk", "tmpfs",
                                               "nfs",  "nfs4", "iso9660", "CDFS",  "UDF",   "squashfs", "9p",      "virtiofs"};
  return !cannot.contains(type);
}

std::vector<GuestFilesystem> FilesystemsOf(virDomainPtr domain) {
  std::vector<GuestFilesystem> result;
  virDomainFSInfoPtr* infos = nullptr;
  const int count = virDomainGetFSInfo(domain, &infos, 0);
  for (int i = 0; i < count; ++i) {
    GuestFilesystem fs{infos[i]->mountpoint, infos[i]->fstype, {}, CanFreeze(infos[i]->fstype)};
    for (size_t d = 0; d < infos[i]->ndevAlias; ++d) fs.disk_names.emplace_back(infos[i]->devAlias[d]);
    result.push_back(std::move(fs));
    virDomainFSInfoFree(infos[i]);
  }
  std::free(infos);
  return result;
}

// {"return": {"version": "7.2.22", ...}}
std::string AgentVersion(const char* answer) {
  const auto json = nlohmann::json::parse(answer, nullptr, /*allow_exceptions=*/false);
  const nlohmann::json::json_pointer pointer("/return/version");
  if (json.is_discarded() || !json.contains(pointer) || !json[pointer].is_string()) return "";
  return json[pointer].get<std::string>();
}

// Empty when the agent doesn't know the command.
std::string AgentReply(virDomainPtr domain, const char* command, int timeout_seconds) {
  const CString answer(virDomainQemuAgentCommand(domain, command, timeout_seconds, 0));
  return answer == nullptr ? "" : answer.get();
}

std::string VolumePath(virConnectPtr connection, const PoolVolume& volume) {
  const std::unique_ptr<virStoragePool, PoolDeleter> pool(virStoragePoolLookupByName(connection, volume.pool.c_str()));
  if (pool == nullptr) return "";
  const std::unique_ptr<virStorageVol, VolumeDeleter> found(virStorageVolLookupByName(pool.get(), volume.volume.c_str()));
  const CString path(found == nullptr ? nullptr : virStorageVolGetPath(found.get()));
  return path == nullptr ? "" : path.get();
}

void FillSizes(virDomainPtr domain, Disk& disk) {
  virDomainBlockInfo info{};
  if (disk.exclusion != DiskExclusion::kNone) return;
  absl::MutexLock asking(&ImageMaking());
  if (virDomainGetBlockInfo(domain, disk.name.c_str(), &info, 0) != 0) return;  // a missing file: sizes stay 0
  disk.capacity_bytes = info.capacity;
  disk.allocated_bytes = info.allocation;
}

std::string FormatVersion(unsigned long v) { return fmt::format("{}.{}.{}", v / 1000000, v / 1000 % 1000, v % 1000); }

}  // namespace

LibvirtHypervisor::LibvirtHypervisor(LibvirtConfig config, base::Filesystem& files, base::Clock& clock,
                                     base::Random& random)
    : config_(std::move(config)), files_(files), clock_(clock), random_(random), connection_(config_.uri) {}

// --- describing ---

absl::StatusOr<std::string> LibvirtHypervisor::Version() {
  ASSIGN_OR_RETURN(const ConnectionPtr connection, connection_.Get());
  unsigned long libvirt = 0;
  unsigned long qemu = 0;
  if (virConnectGetLibVersion(connection.get(), &libvirt) != 0 || virConnectGetVersion(connection.get(), &qemu) != 0) {
    return LibvirtError("get versions");
  }
  return fmt::format("libvirt {} / QEMU {}", FormatVersion(libvirt), FormatVersion(qemu));
}

absl::StatusOr<std::vector<VmInfo>> LibvirtHypervisor::ListVms() {
  ASSIGN_OR_RETURN(const ConnectionPtr connection, connection_.Get());
  virDomainPtr* domains = nullptr;
  const int count = virConnectListAllDomains(connection.get(), &domains, 0);
  if (count < 0) return LibvirtError("list virtual machines");
  const absl::Cleanup free_domains = [&] {
    for (int i = 0; i < count; ++i) virDomainFree(domains[i]);
    std::free(domains);
  };
  std::vector<VmInfo> all;
  for (int i = 0; i < count; ++i) {
    auto vm = Describe(domains[i]);
    if (vm.ok()) {
      all.push_back(*std::move(vm));
    } else if (!absl::IsNotFound(vm.status())) {  // one that can't be described doesn't hide the others
      base::Log("hypervisor")->warn("vm not described vm={} error={}", virDomainGetName(domains[i]), base::Describe(vm.status()));
    }
  }
  return all;
}

absl::StatusOr<VmInfo> LibvirtHypervisor::GetVm(const std::string& uuid) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  return Describe(domain.get());
}

absl::StatusOr<VmInfo> LibvirtHypervisor::Describe(virDomainPtr domain) {
  const CString xml(virDomainGetXMLDesc(domain, VIR_DOMAIN_XML_INACTIVE));
  if (xml == nullptr) return LibvirtError("get the domain XML");
  ASSIGN_OR_RETURN(DomainDescription description, ParseDomain(xml.get()));
  VmInfo& vm = description.vm;
  int state = 0;
  if (virDomainGetState(domain, &state, nullptr, 0) != 0) return LibvirtError("get the state");
  vm.state = StateFrom(state, state == VIR_DOMAIN_SHUTOFF && virDomainHasManagedSaveImage(domain, 0) == 1);
  for (const PoolVolume& volume : description.pool_volumes) {
    auto disk = std::find_if(vm.disks.begin(), vm.disks.end(), [&](const Disk& d) { return d.name == volume.disk; });
    disk->path = VolumePath(virDomainGetConnect(domain), volume);
  }
  for (Disk& disk : vm.disks) FillSizes(domain, disk);
  ASSIGN_OR_RETURN(const std::vector<CheckpointXml> checkpoints, ReadCheckpoints(domain));
  for (const CheckpointXml& checkpoint : checkpoints) {
    if (auto own = ParseCheckpoint(checkpoint); own.ok()) vm.checkpoints.push_back(*std::move(own));
  }
  return std::move(vm);
}

absl::StatusOr<std::string> LibvirtHypervisor::Configuration(const std::string& uuid) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  // INACTIVE: as it will start again, without what belongs to this run only.
  const CString xml(virDomainGetXMLDesc(domain.get(), VIR_DOMAIN_XML_INACTIVE | VIR_DOMAIN_XML_SECURE));
  if (xml == nullptr) return LibvirtError("get the domain XML");
  ASSIGN_OR_RETURN(const std::vector<CheckpointXml> checkpoints, ReadCheckpoints(domain.get()));
  return EmbedCheckpoints(xml.get(), checkpoints);
}

// --- the guest's agent ---

absl::StatusOr<GuestAgentInfo> LibvirtHypervisor::QueryGuestAgent(const std::string& uuid, absl::Duration timeout) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  const CString xml(virDomainGetXMLDesc(domain.get(), 0));
  if (xml == nullptr) return LibvirtError("get the live domain XML");
  ASSIGN_OR_RETURN(const DomainDescription description, ParseDomain(xml.get()));
  GuestAgentInfo info;
  if (!description.guest_agent_configured) {
    info.state = GuestAgentState::kNotConfigured;
    return info;
  }
  const int seconds = WholeSeconds(timeout);
  const CString answer(virDomainQemuAgentCommand(domain.get(), R"({"execute":"guest-info"})", seconds, 0));
  if (answer == nullptr) {
    switch (LastErrorCode()) {
      case VIR_ERR_OPERATION_INVALID:
        info.state = virDomainIsActive(domain.get()) == 0 ? GuestAgentState::kGuestOff : GuestAgentState::kNotResponding;
        return info;
      case VIR_ERR_AGENT_UNRESPONSIVE:
      case VIR_ERR_AGENT_UNSYNCED:
        info.state = GuestAgentState::kNotResponding;
        return info;
      default:
        return LibvirtError("ask the guest agent");
    }
  }
  info.state = GuestAgentState::kRunning;
  info.version = AgentVersion(answer.get());
  virDomainAgentSetResponseTimeout(domain.get(), seconds, 0);
  info.filesystems = FilesystemsOf(domain.get());
  const std::string disks = AgentReply(domain.get(), R"({"execute":"guest-get-disks"})", seconds);
  const std::string filesystems = AgentReply(domain.get(), R"({"execute":"guest-get-fsinfo"})", seconds);
  info.own_disks = OwnDisks(disks, filesystems);
  AddOwnDisks(filesystems, info.own_disks, info.filesystems);
  return info;
}

absl::StatusOr<int> LibvirtHypervisor::Freeze(const std::string& uuid, absl::Duration timeout) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  // Without this libvirt gives up after 5 s. The setting stays on the VM; Thaw sets its own.
  if (virDomainAgentSetResponseTimeout(domain.get(), WholeSeconds(timeout), 0) != 0) return FreezeError(uuid);
  const int frozen = virDomainFSFreeze(domain.get(), nullptr, 0, 0);
  if (frozen < 0) return FreezeError(uuid);
  return frozen;
}

absl::StatusOr<int> LibvirtHypervisor::Thaw(const std::string& uuid, absl::Duration timeout) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  virDomainAgentSetResponseTimeout(domain.get(), WholeSeconds(timeout), 0);  // without it the former one holds
  const int thawed = virDomainFSThaw(domain.get(), nullptr, 0, 0);
  if (thawed >= 0) return thawed;
  const absl::Status error = LibvirtError("thaw the guest");
  switch (LastErrorCode()) {
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
    case VIR_ERR_CONFIG_UNSUPPORTED:
      return AgentError(StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_CONFIGURED", uuid);
    case VIR_ERR_AGENT_UNRESPONSIVE:
    case VIR_ERR_AGENT_UNSYNCED:
      return AgentError(StatusCode::kDeadlineExceeded, "GUEST_AGENT_NOT_RUNNING", uuid);
    default:
      if (virDomainIsActive(domain.get()) == 0) return 0;  // off: nothing is frozen
      return error;
  }
}

// --- point in time ---

absl::Status LibvirtHypervisor::CheckNoJob(const std::string& uuid) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  return CheckNoBackupJob(domain.get(), virDomainGetName(domain.get()));
}

absl::StatusOr<std::unique_ptr<PreparedPointInTime>> LibvirtHypervisor::PreparePointInTime(
    const std::string& uuid, const PointInTimeOptions& options) {
  if (options.offline) {
    ASSIGN_OR_RETURN(const VmInfo vm, GetVm(uuid));
    return PrepareOfflineView({connection_, files_, clock_}, vm, options);
  }
  return PreparePullBackup({connection_, files_, clock_}, uuid, options);
}

absl::StatusOr<CleanUpReport> LibvirtHypervisor::RemoveCheckpoints(const std::string& uuid, const std::string& keep) {
  return RemoveDomainCheckpoints({connection_, files_, clock_}, uuid, keep);
}

absl::StatusOr<CleanUpReport> LibvirtHypervisor::CleanUp(const std::string& uuid, const std::string& scratch_folder,
                                                         const std::string& owner_tag) {
  ASSIGN_OR_RETURN(CleanUpReport report,
                   CleanUpPullBackup({connection_, files_, clock_}, uuid, scratch_folder, owner_tag));
  ASSIGN_OR_RETURN(const bool removed, RemoveSavedState(files_, uuid, scratch_folder, owner_tag));
  if (removed) report.actions.push_back("removed the saved state of " + owner_tag);
  return report;
}

// --- saved state ---

absl::Status LibvirtHypervisor::CheckCanSave(const std::string& uuid, const SaveOptions& options) {
  return CheckCanSaveDomain({connection_, files_, clock_}, uuid, options);
}

absl::StatusOr<SavedState> LibvirtHypervisor::SaveState(const std::string& uuid, const SaveOptions& options) {
  return SaveDomain({connection_, files_, clock_}, uuid, options);
}

absl::StatusOr<std::string> LibvirtHypervisor::ExistingState(const std::string& uuid) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  if (virDomainHasManagedSaveImage(domain.get(), 0) != 1) return std::string();
  return ManagedSavePath(DaemonSocket(connection_.uri(), files_), virDomainGetName(domain.get()), files_);
}

absl::Status LibvirtHypervisor::StartFromState(const std::string& uuid, const std::string& state_path, bool paused) {
  ASSIGN_OR_RETURN(const ConnectionPtr connection, connection_.Get());
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  RETURN_IF_ERROR(CheckDisksExist(domain.get()));
  ASSIGN_OR_RETURN(const VmInfo vm, Describe(domain.get()));
  RewriteOptions rewrite;
  for (const Disk& disk : vm.disks) {
    if (disk.exclusion == DiskExclusion::kNone) rewrite.disk_paths.emplace_back(disk.name, disk.path);
  }
  rewrite.switch_exists = [&](std::string_view kind, const std::string& name) {
    return SwitchExists(connection.get(), kind, name);
  };
  return StartDomainFromState({connection_, files_, clock_}, uuid, state_path, rewrite, paused);
}

absl::Status LibvirtHypervisor::SyncGuestClock(const std::string& uuid, absl::Duration timeout) {
  return SyncDomainClock({connection_, files_, clock_}, uuid, timeout);
}

// --- power ---

absl::Status LibvirtHypervisor::Pause(const std::string& uuid) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  if (virDomainSuspend(domain.get()) == 0) return absl::OkStatus();
  const absl::Status error = LibvirtError("pause");
  return IsIn(domain.get(), VIR_DOMAIN_PAUSED) ? absl::OkStatus() : error;
}

absl::Status LibvirtHypervisor::Resume(const std::string& uuid) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  if (virDomainResume(domain.get()) == 0) return absl::OkStatus();
  const absl::Status error = LibvirtError("resume");
  return IsIn(domain.get(), VIR_DOMAIN_RUNNING) ? absl::OkStatus() : error;
}

absl::Status LibvirtHypervisor::Start(const std::string& uuid) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  int state = 0;
  if (virDomainGetState(domain.get(), &state, nullptr, 0) != 0) return LibvirtError("get the state");
  if (state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED) return absl::OkStatus();
  if (state == VIR_DOMAIN_PAUSED) return Resume(uuid);
  RETURN_IF_ERROR(CheckDisksExist(domain.get()));
  return virDomainCreate(domain.get()) == 0 ? absl::OkStatus() : LibvirtError("start");
}

absl::Status LibvirtHypervisor::CheckDisksExist(virDomainPtr domain) {
  ASSIGN_OR_RETURN(const VmInfo vm, Describe(domain));
  for (const Disk& disk : vm.disks) {
    if (disk.path.empty() || disk.exclusion == DiskExclusion::kRemovable) continue;
    ASSIGN_OR_RETURN(const bool exists, files_.Exists(disk.path));
    if (exists) continue;
    return base::Error(StatusCode::kFailedPrecondition, "DISK_MISSING", "disk '{}' of '{}': there is no {}", disk.name,
                       vm.name, disk.path);
  }
  return absl::OkStatus();
}

absl::Status LibvirtHypervisor::PowerOff(const std::string& uuid) {
  ASSIGN_OR_RETURN(const DomainPtr domain, connection_.Find(uuid));
  if (virDomainDestroy(domain.get()) == 0 || LastErrorCode() == VIR_ERR_OPERATION_INVALID) return absl::OkStatus();
  return LibvirtError("power off");
}

// --- restore ---

absl::Status LibvirtHypervisor::DeleteVm(const std::string& uuid) {
  const absl::Status off = PowerOff(uuid);
  if (absl::IsNotFound(off)) return absl::OkStatus();
  RETURN_IF_ERROR(off);
  auto domain = connection_.Find(uuid);
  if (absl::IsNotFound(domain.status())) return absl::OkStatus();  // was never defined, only running
  RETURN_IF_ERROR(domain.status());
  return virDomainUndefineFlags(domain->get(), kUndefineFlags) == 0 ? absl::OkStatus() : LibvirtError("undefine");
}

absl::StatusOr<std::unique_ptr<BlockWriter>> LibvirtHypervisor::CreateDisk(const NewDisk& disk) {
  return CreateImage(files_, disk);
}

absl::StatusOr<DefinedVm> LibvirtHypervisor::DefineVm(const DefineOptions& options) {
  ASSIGN_OR_RETURN(const ConnectionPtr connection, connection_.Get());
  RewriteOptions rewrite;
  rewrite.new_name = options.new_name;
  if (!options.new_name.empty()) rewrite.new_uuid = random_.Uuid();
  rewrite.disk_paths = options.disk_paths;
  rewrite.switch_exists = [&](std::string_view kind, const std::string& name) {
    return SwitchExists(connection.get(), kind, name);
  };
  ASSIGN_OR_RETURN(ConfigurationParts parts, TakeCheckpoints(options.configuration));
  RewrittenDomain rewritten;
  if (options.unchanged) {
    ASSIGN_OR_RETURN(const DomainDescription description, ParseDomain(parts.domain_xml));
    rewritten = {std::move(parts.domain_xml), description.vm.uuid, description.vm.name, {}};
  } else {
    ASSIGN_OR_RETURN(rewritten, RewriteDomain(parts.domain_xml, rewrite));
    parts.checkpoints = CheckpointsOfRestored(parts.checkpoints, options);
  }
  RETURN_IF_ERROR(CheckNotTaken(connection.get(), rewritten.uuid, rewritten.name));
  const DomainPtr domain(virDomainDefineXML(connection.get(), rewritten.xml.c_str()));
  if (domain == nullptr) return LibvirtError("define the virtual machine");
  DescribeCheckpoints(domain.get(), parts.checkpoints);
  return DefinedVm{rewritten.uuid, rewritten.name, rewritten.warnings};
}

// Another identity has none: their files belong to the original.
std::vector<CheckpointXml> LibvirtHypervisor::CheckpointsOfRestored(const std::vector<CheckpointXml>& checkpoints,
                                                                    const DefineOptions& options) {
  if (!options.new_name.empty()) return {};
  std::vector<std::string> replaced;
  for (const auto& [disk, path] : options.disk_paths) replaced.push_back(path);
  return KeptCheckpoints(checkpoints, replaced, [&](const std::string& path) { return files_.Exists(path).value_or(false); });
}

// libvirt itself would replace the definition of a VM of the same name and uuid.
absl::Status LibvirtHypervisor::CheckNotTaken(virConnectPtr connection, const std::string& uuid, const std::string& name) {
  DomainPtr found(virDomainLookupByUUIDString(connection, uuid.c_str()));
  if (found == nullptr) found.reset(virDomainLookupByName(connection, name.c_str()));
  if (found == nullptr) return LastErrorCode() == VIR_ERR_NO_DOMAIN ? absl::OkStatus() : LibvirtError("look for the name");
  return base::Error(StatusCode::kAlreadyExists, "VM_EXISTS", "there is a virtual machine '{}' already",
                     virDomainGetName(found.get()));
}

// When nothing can be found out, the answer is yes: then starting tells.
bool LibvirtHypervisor::SwitchExists(virConnectPtr connection, std::string_view kind, const std::string& name) {
  if (kind == "network") {
    const std::unique_ptr<virNetwork, NetworkDeleter> network(virNetworkLookupByName(connection, name.c_str()));
    if (network == nullptr) return LastErrorCode() != VIR_ERR_NO_NETWORK;
    return virNetworkIsActive(network.get()) != 0;
  }
  return DaemonSeesDevice(DaemonSocket(connection_.uri(), files_), name, files_).value_or(true);
}

std::string LibvirtHypervisor::DefaultFolder() { return config_.default_folder; }

}  // namespace umbra::hypervisor
