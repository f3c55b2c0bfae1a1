#include "agent/hypervisor/libvirt/saved_state.h"

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "agent/hypervisor/libvirt/daemon_network.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;

// Device state and libvirt's header beside the memory; and what scratch files need at first.
constexpr uint64_t kSaveReserveBytes = 64 * base::kMiB;
constexpr absl::Duration kAgentPoll = absl::Milliseconds(100);
constexpr absl::Duration kClockTolerance = absl::Seconds(2);
constexpr char kManagedSaveFolder[] = "/var/lib/libvirt/qemu/save";

// Beside the names of pull_backup.cc, but none of theirs: a view that begins removes those.
std::string StatePath(const std::string& folder, const std::string& owner_tag, const std::string& uuid) {
  return fmt::format("{}/{}-{}_state", folder, owner_tag, uuid.substr(0, 8));
}

struct DomainState {
  bool running = false;
  bool paused = false;
};

absl::StatusOr<DomainState> StateOf(virDomainPtr domain) {
  int state = 0;
  if (virDomainGetState(domain, &state, nullptr, 0) != 0) return LibvirtError("get the state");
  return DomainState{state == VIR_DOMAIN_RUNNING || state == VIR_DOMAIN_BLOCKED, state == VIR_DOMAIN_PAUSED};
}

// What QEMU holds of the guest's memory now, which is the most that it writes; its whole memory when that isn't known.
uint64_t UsedMemoryBytes(virDomainPtr domain) {
  virDomainMemoryStatStruct stats[VIR_DOMAIN_MEMORY_STAT_NR];
  const uint64_t whole = uint64_t{virDomainGetMaxMemory(domain)} * base::kKiB;
  const int count = virDomainMemoryStats(domain, stats, VIR_DOMAIN_MEMORY_STAT_NR, 0);
  for (int i = 0; i < count; ++i) {
    if (stats[i].tag == VIR_DOMAIN_MEMORY_STAT_RSS) return std::min<uint64_t>(whole, stats[i].val * base::kKiB);
  }
  return whole;
}

absl::Status CheckRoom(const PullBackupEnvironment& env, virDomainPtr domain, const std::string& folder) {
  RETURN_IF_ERROR(env.files.MakeDirectories(folder));
  const uint64_t needed = UsedMemoryBytes(domain) + kSaveReserveBytes;
  ASSIGN_OR_RETURN(const uint64_t free_bytes, env.files.FreeSpace(folder));
  if (free_bytes >= needed) return absl::OkStatus();
  return base::Error(StatusCode::kResourceExhausted, "SCRATCH_FULL",
                     "the scratch folder {} has only {} free, the memory of '{}' may take {}", folder,
                     base::FormatSize(free_bytes), virDomainGetName(domain), base::FormatSize(needed));
}

absl::Status SaveError(const std::string& name) {
  const std::string text = LastErrorText();
  if (text.find("No space left") != std::string::npos) {
    return base::Error(StatusCode::kResourceExhausted, "SCRATCH_FULL", "save the memory of '{}': {}", name, text);
  }
  switch (LastErrorCode()) {
    case VIR_ERR_CONFIG_UNSUPPORTED:
    case VIR_ERR_OPERATION_UNSUPPORTED:
    case VIR_ERR_ARGUMENT_UNSUPPORTED:
      return base::Error(StatusCode::kFailedPrecondition, "SAVED_STATE_UNSUPPORTED", "save the memory of '{}': {}", name,
                         text);
    default:
      break;
  }
  // A device that QEMU can't migrate: the words are QEMU's.
  if (text.find("migrat") != std::string::npos || text.find("assigned") != std::string::npos) {
    return base::Error(StatusCode::kFailedPrecondition, "SAVED_STATE_UNSUPPORTED", "save the memory of '{}': {}", name,
                       text);
  }
  return LibvirtError("save the memory");
}

bool ShowsHostTime(virDomainPtr domain, base::Clock& clock) {
  long long seconds = 0;
  unsigned int nanoseconds = 0;
  if (virDomainGetTime(domain, &seconds, &nanoseconds, 0) != 0) return false;
  const absl::Time guest = absl::FromUnixSeconds(seconds) + absl::Nanoseconds(nanoseconds);
  return absl::AbsDuration(guest - clock.Now()) < kClockTolerance;
}

}  // namespace

absl::Status CheckCanSaveDomain(const PullBackupEnvironment& env, const std::string& uuid, const SaveOptions& options) {
  ASSIGN_OR_RETURN(const DomainPtr domain, env.connection.Find(uuid));
  const std::string name = virDomainGetName(domain.get());
  ASSIGN_OR_RETURN(const DomainState state, StateOf(domain.get()));
  if (!state.running && !state.paused) {
    return base::Error(StatusCode::kFailedPrecondition, "GUEST_NOT_RUNNING", "'{}' does not run", name);
  }
  RETURN_IF_ERROR(CheckNoBackupJob(domain.get(), name));
  const CString live(virDomainGetXMLDesc(domain.get(), 0));
  if (live == nullptr) return LibvirtError("get the live domain XML");
  ASSIGN_OR_RETURN(const DomainDescription description, ParseDomain(live.get()));
  for (const Disk& disk : description.vm.disks) {
    if (!disk.name.starts_with("hostdev")) continue;
    return base::Error(StatusCode::kFailedPrecondition, "SAVED_STATE_UNSUPPORTED",
                       "the memory of '{}' can't be saved: {}", name, disk.exclusion_detail);
  }
  return CheckRoom(env, domain.get(), options.folder);
}

absl::StatusOr<SavedState> SaveDomain(const PullBackupEnvironment& env, const std::string& uuid,
                                      const SaveOptions& options) {
  RETURN_IF_ERROR(CheckCanSaveDomain(env, uuid, options));
  ASSIGN_OR_RETURN(const DomainPtr domain, env.connection.Find(uuid));
  const std::string name = virDomainGetName(domain.get());
  const CString live(virDomainGetXMLDesc(domain.get(), 0));
  if (live == nullptr) return LibvirtError("get the live domain XML");
  SavedState saved;
  saved.path = StatePath(options.folder, options.owner_tag, uuid);
  ASSIGN_OR_RETURN(const std::string xml, MemorySnapshotXml(live.get(), saved.path));
  RETURN_IF_ERROR(RemoveSavedState(env.files, uuid, options.folder, options.owner_tag).status());
  ASSIGN_OR_RETURN(const DomainState state, StateOf(domain.get()));
  saved.was_running = state.running;
  saved.stopped_at = env.clock.Monotonic();
  if (state.running && virDomainSuspend(domain.get()) != 0) return LibvirtError("suspend");
  absl::Cleanup put_back = [&] {
    if (state.running && virDomainResume(domain.get()) != 0) {
      base::Log("hypervisor")->error("not resumed after a failed save vm={} error=\"{}\"", uuid, LastErrorText());
    }
    RemoveSavedState(env.files, uuid, options.folder, options.owner_tag).status().IgnoreError();
  };
  base::CrashPoint("agent.save.suspended");
  const unsigned int flags = VIR_DOMAIN_SNAPSHOT_CREATE_NO_METADATA;
  const virDomainSnapshotPtr snapshot = virDomainSnapshotCreateXML(domain.get(), xml.c_str(), flags);
  if (snapshot == nullptr) return SaveError(name);
  virDomainSnapshotFree(snapshot);
  ASSIGN_OR_RETURN(const auto file, env.files.Open(saved.path, base::OpenMode::kRead));
  ASSIGN_OR_RETURN(saved.size_bytes, file->Size());
  std::move(put_back).Cancel();
  return saved;
}

absl::Status StartDomainFromState(const PullBackupEnvironment& env, const std::string& uuid,
                                  const std::string& state_path, const RewriteOptions& rewrite, bool paused) {
  ASSIGN_OR_RETURN(const ConnectionPtr connection, env.connection.Get());
  ASSIGN_OR_RETURN(const DomainPtr domain, env.connection.Find(uuid));
  const std::string name = virDomainGetName(domain.get());
  if (virDomainIsActive(domain.get()) == 1) {
    return base::Error(StatusCode::kAlreadyExists, "VM_EXISTS", "'{}' runs already", name);
  }
  const unsigned int secure = VIR_DOMAIN_SAVE_IMAGE_XML_SECURE;
  const CString saved(virDomainSaveImageGetXMLDesc(connection.get(), state_path.c_str(), secure));
  if (saved == nullptr) {
    return base::Error(StatusCode::kDataLoss, "STATE_DAMAGED", "the saved state of '{}' can't be read: {}", name,
                       LastErrorText());
  }
  ASSIGN_OR_RETURN(const RewrittenDomain rewritten, RewriteSavedDomain(saved.get(), rewrite));
  if (rewritten.uuid != uuid || rewritten.name != name) {
    return base::Error(StatusCode::kInvalidArgument, "INVALID_REQUEST",
                       "the saved state is that of '{}' ({}), and can't become '{}' ({})", rewritten.name,
                       rewritten.uuid, name, uuid);
  }
  const unsigned int flags = paused ? VIR_DOMAIN_SAVE_PAUSED : VIR_DOMAIN_SAVE_RUNNING;
  if (virDomainRestoreFlags(connection.get(), state_path.c_str(), rewritten.xml.c_str(), flags) == 0) {
    return absl::OkStatus();
  }
  const std::string text = LastErrorText();
  // What QEMU and libvirt say of a stream that ends too early or makes no sense.
  for (const char* sign : {"load of migration failed", "failed to read", "corrupt", "incomplete", "End of file"}) {
    if (text.find(sign) == std::string::npos) continue;
    return base::Error(StatusCode::kDataLoss, "STATE_DAMAGED", "the saved state of '{}' is damaged: {}", name, text);
  }
  return LibvirtError("start from the saved state");
}

absl::Status SyncDomainClock(const PullBackupEnvironment& env, const std::string& uuid, absl::Duration timeout) {
  ASSIGN_OR_RETURN(const DomainPtr domain, env.connection.Find(uuid));
  const absl::Duration deadline = env.clock.Monotonic() + timeout;
  while (true) {
    const absl::Time now = env.clock.Now();
    const int64_t seconds = absl::ToUnixSeconds(now);
    const auto nanoseconds = static_cast<unsigned int>(absl::ToInt64Nanoseconds(now - absl::FromUnixSeconds(seconds)));
    if (virDomainSetTime(domain.get(), seconds, nanoseconds, 0) == 0) return absl::OkStatus();
    const int code = LastErrorCode();
    const std::string text = LastErrorText();
    if (code == VIR_ERR_ARGUMENT_UNSUPPORTED || code == VIR_ERR_CONFIG_UNSUPPORTED) {
      return base::Error(StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_CONFIGURED", "'{}': {}",
                         virDomainGetName(domain.get()), text);
    }
    // The agent sets the system's clock first and then its hardware's, and complains when the latter can't be done.
    if (ShowsHostTime(domain.get(), env.clock)) return absl::OkStatus();
    // After a start the agent's channel takes a moment.
    const bool no_answer = code == VIR_ERR_AGENT_UNRESPONSIVE || code == VIR_ERR_AGENT_UNSYNCED;
    if (!no_answer) return base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR", "set the guest's clock: {}", text);
    if (env.clock.Monotonic() + kAgentPoll > deadline) {
      return base::Error(StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_RUNNING", "'{}': {}",
                         virDomainGetName(domain.get()), text);
    }
    env.clock.Sleep(kAgentPoll);
  }
}

std::string ManagedSavePath(const std::string& daemon_socket, const std::string& name, base::Filesystem& files) {
  if (name.find('/') != std::string::npos) return "";
  const std::string root = DaemonRoot(daemon_socket);
  const std::string path = fmt::format("{}{}/{}.save", root, kManagedSaveFolder, name);
  return files.Exists(path).value_or(false) ? path : "";
}

absl::StatusOr<bool> RemoveSavedState(base::Filesystem& files, const std::string& uuid, const std::string& folder,
                                      const std::string& owner_tag) {
  const absl::Status removed = files.Remove(StatePath(folder, owner_tag, uuid));
  if (absl::IsNotFound(removed)) return false;
  RETURN_IF_ERROR(removed);
  return true;
}

}  // namespace umbra::hypervisor
