// What the agent needs from a hypervisor: virtual machines, their disks, the guest's agent, point-in-time views, and
// the operations of a restore. Drivers implement it (libvirt, simulated); every one passes tests/contract/hypervisor.
//
// The words are those of virtualization; what a backup makes of it is decided elsewhere.
//
// Threads: a Hypervisor is thread-safe; a PointInTime, BlockReader or BlockWriter is used by one thread at a time unless
// its comment says otherwise. Calls may block as long as the driver's own limits say (seconds; a freeze up to its
// timeout), so call them from worker threads.
//
// Errors, on every call: UNAVAILABLE / HYPERVISOR_UNAVAILABLE the hypervisor can't be reached (retry later);
// NOT_FOUND / VM_NOT_FOUND; INTERNAL / HYPERVISOR_ERROR it refused, the text has its words. Others are named below.
#ifndef UMBRA_AGENT_HYPERVISOR_HYPERVISOR_H_
#define UMBRA_AGENT_HYPERVISOR_HYPERVISOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/bytes.h"
#include "storage/base/filesystem.h"

namespace umbra::hypervisor {

enum class VmState { kUnknown, kRunning, kPaused, kSaved, kOff, kCrashed };

// Why a disk can't be part of a backup. kNone: it can.
enum class DiskExclusion {
  kNone,
  kPassThrough,        // LUN or host device handed through: the host can't see its content
  kNetwork,            // iSCSI, RBD, NBD ...: not the host's own
  kRemovable,          // CD, floppy
  kShared,             // shareable, transient or read-only
  kFormatUnsupported,  // an image format that the driver can't read at a point in time
};

struct Disk {
  std::string name;            // target, such as "vda"; unique in the VM
  std::string path;            // image file or block device; empty when there is none
  std::string format;          // "qcow2", "raw", ...
  uint64_t capacity_bytes = 0;   // as the guest sees it
  uint64_t allocated_bytes = 0;  // taken on the host
  DiskExclusion exclusion = DiskExclusion::kNone;
  std::string exclusion_detail;  // for people, e.g. "block device /dev/sdb passed through as LUN"
};

enum class GuestAgentState { kUnknown, kRunning, kNotResponding, kNotConfigured, kGuestOff };

// A file system that the guest has mounted, as its agent reports it.
struct GuestFilesystem {
  std::string mount_point;
  std::string type;                      // "ext4", "ntfs", ...
  std::vector<std::string> disk_names;   // targets of the VM's disks that it lies on; empty when not known
  bool can_freeze = true;                // the type supports freezing
};

// A disk that the guest attached by itself, past the hypervisor, such as by iSCSI.
struct GuestDisk {
  std::string name;  // as the guest calls it, such as "/dev/sdb"
  std::string bus;   // as the guest's agent calls it, such as "iscsi"
};

struct GuestAgentInfo {
  GuestAgentState state = GuestAgentState::kUnknown;
  std::string version;
  std::vector<GuestFilesystem> filesystems;  // empty when not running or not reported
  std::vector<GuestDisk> own_disks;          // as far as the agent tells
};

// A network adapter and what it was plugged into.
struct NetworkAdapter {
  std::string mac;
  std::string network;  // virtual switch: name of a network or of a bridge; empty when disconnected
};

// Where the disks' content of a checkpoint lies.
enum class CheckpointKind {
  kInternal,  // inside the images of the disks; a view of them doesn't show it
  kExternal,  // in image files beneath those of the disks, which the VM doesn't write any more
};

// A state of the VM that a person or another program kept, to go back to it. What drivers make for a backup is none.
struct OwnCheckpoint {
  std::string name;    // unique in the VM
  std::string parent;  // name; empty: a root
  CheckpointKind kind = CheckpointKind::kInternal;
  bool has_memory = false;
  absl::Time create_time;
  bool current = false;  // the disks go on from this one; one of them at most

  friend bool operator==(const OwnCheckpoint&, const OwnCheckpoint&) = default;
};

struct VmInfo {
  std::string uuid;  // lower case
  std::string name;
  VmState state = VmState::kUnknown;
  uint64_t memory_bytes = 0;
  std::vector<Disk> disks;               // all, the excluded ones too
  std::vector<NetworkAdapter> adapters;
  std::string snapshot_folder;           // where the hypervisor puts snapshot files of this VM; empty: beside each disk
  std::vector<OwnCheckpoint> checkpoints = {};  // parents before their children
};

// A stretch of a disk. Ranges of one answer are ordered, don't overlap and cover what was asked.
struct Extent {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
  bool zero = false;  // reads as zero: no need to read it
};

// Called once for every finished read, in any order, on the thread that called ReadExtents. `data` is valid during the
// call only. A non-OK return stops the reading and is returned by ReadExtents.
using BlockSink = std::function<absl::Status(uint64_t offset_bytes, base::Bytes data)>;

// Reads one disk of a point in time.
class BlockReader {
 public:
  virtual ~BlockReader() = default;

  virtual uint64_t capacity_bytes() const = 0;

  // Allocation of the whole disk.
  virtual absl::StatusOr<std::vector<Extent>> Extents() = 0;

  // Reads the given stretches (any, not only those of Extents; `zero` ones are skipped) with several requests in flight,
  // in pieces of at most `piece_bytes` that never cross a multiple of `piece_bytes`, and hands each piece to `sink`.
  // For whole pieces, round the stretches outwards to multiples of `piece_bytes`, but not beyond the capacity.
  // Errors: ABORTED / GUEST_STOPPED the guest went away meanwhile (the view is lost; back up again);
  // RESOURCE_EXHAUSTED / SCRATCH_FULL, looked for about once a second (Close the view at once: the guest may be paused).
  virtual absl::Status ReadExtents(const std::vector<Extent>& extents, uint32_t piece_bytes, const BlockSink& sink) = 0;

  // Exactly `out.size()` bytes at `offset_bytes`. For small reads and tests.
  virtual absl::Status ReadAt(uint64_t offset_bytes, base::MutableBytes out) = 0;

  // The stretches that may hold something else than at PointInTimeOptions::base: ordered, apart; whatever they leave
  // out has not changed. `zero` means nothing here: a stretch that became zero has changed, and Extents tells that it
  // is zero now. A hint of the hypervisor, to be checked by samples. Errors: FAILED_PRECONDITION with a reason CBT_...,
  // for people too: nothing is known, read the whole disk.
  virtual absl::StatusOr<std::vector<Extent>> Changes();
};

// Writes a restored disk. WriteAt may be called from several threads at once; no byte may be written twice. When the
// writer ends without an OK from Finish, its file is removed.
class BlockWriter {
 public:
  virtual ~BlockWriter() = default;

  // What was never written reads as zero and takes no space where the format can do that.
  // Errors: RESOURCE_EXHAUSTED / TARGET_FULL.
  virtual absl::Status WriteAt(uint64_t offset_bytes, base::Bytes data) = 0;
  // What the disk held before the first write and holds wherever nothing is written, so that only what differs need be
  // written; zeros too then. Null: nothing, as a disk does that was made without a seed. Lives as long as the writer; what
  // was written since is there too.
  virtual BlockReader* seed() { return nullptr; }
  // Everything written is durable when OK returns; no write may follow.
  virtual absl::Status Finish() = 0;
};

// A unix socket's path has room for 107 characters, and the names in the scratch folder take up to 54 of them.
inline constexpr size_t kScratchFolderLengthMax = 52;

// A disk whose changes are tracked, at the instant of its checkpoint.
struct TrackedDisk {
  std::string name;
  std::string generation;  // which image it is, in the driver's words: another text, another image
  uint64_t capacity_bytes = 0;

  friend bool operator==(const TrackedDisk&, const TrackedDisk&) = default;
};

// From where on the hypervisor tracks what changes. Kept with a recovery point and given back as the base of the next
// view.
struct Checkpoint {
  std::string name;  // empty: none
  std::vector<TrackedDisk> disks;

  friend bool operator==(const Checkpoint&, const Checkpoint&) = default;
};

// Every checkpoint of ours has such a name; others are never touched.
inline constexpr char kCheckpointPrefix[] = "umbra-";

// For drivers: may changes of the disk, as it is now, be counted from `base`? FAILED_PRECONDITION / CBT_NO_BASE,
// CBT_DISK_NEW, CBT_DISK_RESIZED or CBT_DISK_REPLACED.
absl::Status CheckTracked(const Checkpoint& base, const TrackedDisk& now);

struct PointInTimeOptions {
  std::vector<std::string> disks;  // targets to include; at least one
  // Folder for copy-before-write scratch files and sockets. Needs free space for what the guest overwrites meanwhile.
  // At most kScratchFolderLengthMax characters; the hypervisor's processes must be able to write there.
  std::string scratch_folder;
  // Names everything that the driver leaves on the host, so that CleanUp can find it after a crash. Only
  // [a-z0-9-], at most 40 characters.
  std::string owner_tag;
  // The VM is off or saved: its disks are read as they lie there. Nothing keeps anybody from starting it meanwhile;
  // the view is lost then (GUEST_STARTED).
  bool offline = false;
  // With the view, at the same instant, a checkpoint kCheckpointPrefix + owner_tag begins, for the disks that can have
  // one and no others. Not of an offline view: nothing begins then, and what was tracked stays so.
  bool track_changes = false;
  // The checkpoint of an earlier view that changes are asked for; without a name: none. Whatever of it doesn't hold any
  // more is no error: BlockReader::Changes says so, disk by disk.
  Checkpoint base;
};

// A frozen view of some disks of one VM at one moment, while the guest goes on. Ends with Close or the destructor:
// the view's job, scratch files and sockets are removed then.
class PointInTime {
 public:
  virtual ~PointInTime() = default;

  virtual absl::Time time() const = 0;

  // One reader per disk at a time; readers must end before Close.
  virtual absl::StatusOr<std::unique_ptr<BlockReader>> OpenDisk(const std::string& disk) = 0;

  // From where on changes are tracked for a view to come: what began with this view; of an offline view its base, as
  // far as it still holds. Without a name when nothing is tracked.
  virtual Checkpoint checkpoint() const { return {}; }

  // OK when the view can still be trusted. ABORTED / GUEST_STOPPED, or RESOURCE_EXHAUSTED / SCRATCH_FULL. Of one that
  // is read offline: ABORTED / GUEST_STARTED when the VM was started, or its images were changed, since Begin.
  virtual absl::Status Health() = 0;

  virtual absl::Status Close() = 0;
};

// A point in time that only has to be cut: everything slow (folders, checks, descriptions) is done. Begin is what
// happens while the guest is frozen.
class PreparedPointInTime {
 public:
  virtual ~PreparedPointInTime() = default;

  // Cuts the view for all disks at once, in one call to the hypervisor. Call it once.
  // Errors: FAILED_PRECONDITION / GUEST_NOT_RUNNING or VM_HAS_FOREIGN_JOB, RESOURCE_EXHAUSTED / SCRATCH_FULL.
  virtual absl::StatusOr<std::unique_ptr<PointInTime>> Begin() = 0;
};

// Where the memory of a VM is saved.
struct SaveOptions {
  std::string folder;     // exists or can be made; the hypervisor's processes must be able to write there
  std::string owner_tag;  // as in PointInTimeOptions
};

// A VM's memory and devices of one instant, in a file. The file goes with CleanUp, or with whoever removes it.
struct SavedState {
  std::string path;
  uint64_t size_bytes = 0;
  bool was_running = false;    // before; false: it was paused
  absl::Duration stopped_at;   // when it was told to stand still, on the monotonic clock; meaningful when it was running
};

// What a CreateDisk of this format makes: plain bytes of any size.
inline constexpr char kStateFileFormat[] = "state";

struct NewDisk {
  std::string path;    // must not exist: ALREADY_EXISTS / TARGET_EXISTS; its folder must
  std::string format;  // "qcow2" or "raw", or kStateFileFormat for a saved state
  uint64_t capacity_bytes = 0;  // a multiple of 512, but for a saved state
  // A raw image may begin with what this file holds, when it lies beside it on a file system that lets them share it;
  // BlockWriter::seed tells whether it does. Empty: with nothing. The file is only read, and may be missing, of another
  // size or anything else.
  std::string seed_path = {};
};

// How a saved configuration becomes a VM again.
struct DefineOptions {
  std::string configuration;                     // as Configuration() gave it
  std::string new_name;                          // empty: keep name, uuid and MAC addresses; else all three are new
  std::vector<std::pair<std::string, std::string>> disk_paths;  // target -> path, for every disk that was restored
  // Excluded disks (not restored) are removed from the configuration; removable drives stay, empty.
  // The configuration as it is, nothing renamed, removed or unplugged; the others are empty then.
  bool unchanged = false;
};

// What isn't as it was, and a person should know.
struct Warning {
  std::string reason;  // stable, of error_reasons.proto
  std::string message;

  friend bool operator==(const Warning&, const Warning&) = default;
};

struct DefinedVm {
  std::string uuid;
  std::string name;
  // ADAPTER_DISCONNECTED, DISK_LEFT_OUT, DEVICE_LEFT_OUT, ENCRYPTION_NOT_RESTORED.
  std::vector<Warning> warnings;
};

struct CleanUpReport {
  std::vector<std::string> actions;  // for the log: what was found and removed
};

class Hypervisor {
 public:
  virtual ~Hypervisor() = default;

  // Driver and versions, for people: "libvirt 9.0.0 / QEMU 7.2.22".
  virtual absl::StatusOr<std::string> Version() = 0;

  virtual absl::StatusOr<std::vector<VmInfo>> ListVms() = 0;
  virtual absl::StatusOr<VmInfo> GetVm(const std::string& uuid) = 0;
  // The hypervisor's own description of the VM and of its checkpoints, enough to define them again; with secrets. Kept with
  // a recovery point.
  virtual absl::StatusOr<std::string> Configuration(const std::string& uuid) = 0;

  // --- the guest's agent ---

  // Asks the agent; waits at most `timeout`. OK with a state other than kRunning when nobody answers.
  virtual absl::StatusOr<GuestAgentInfo> QueryGuestAgent(const std::string& uuid, absl::Duration timeout) = 0;

  // Freezes every file system of the guest; returns how many.
  // Errors: FAILED_PRECONDITION / GUEST_AGENT_NOT_CONFIGURED, GUEST_AGENT_NOT_RUNNING or GUEST_NOT_RUNNING: nothing was
  // asked of the guest;
  // ABORTED / GUEST_FREEZE_FAILED: the guest refused and is not frozen (unless it was frozen before);
  // DEADLINE_EXCEEDED / GUEST_FREEZE_TIMEOUT: no answer in `timeout`; THE GUEST MAY STILL FREEZE LATER: call Thaw until
  // it returns OK.
  virtual absl::StatusOr<int> Freeze(const std::string& uuid, absl::Duration timeout) = 0;

  // Thaws; returns how many file systems were frozen (0: none, or the VM is off; cheap, always safe).
  // Errors: DEADLINE_EXCEEDED / GUEST_AGENT_NOT_RUNNING no answer: try again;
  // FAILED_PRECONDITION / GUEST_AGENT_NOT_CONFIGURED.
  virtual absl::StatusOr<int> Thaw(const std::string& uuid, absl::Duration timeout) = 0;

  // --- point in time ---

  // Refused, before anything is touched, with FAILED_PRECONDITION / VM_HAS_FOREIGN_JOB when a job runs on the VM that the
  // hypervisor would wait for. Call before a freeze, because the wait would be spent frozen.
  virtual absl::Status CheckNoJob(const std::string& uuid) = 0;

  // Gets everything ready; call it before a freeze. Includes CheckNoJob.
  // Errors: INVALID_ARGUMENT / INVALID_REQUEST a disk is not there or excluded, or an option is out of its range;
  // FAILED_PRECONDITION / GUEST_NOT_RUNNING the VM is neither running nor paused, GUEST_STARTED the view shall be offline
  // and the VM is neither off nor saved, or VM_HAS_FOREIGN_JOB;
  // RESOURCE_EXHAUSTED / SCRATCH_FULL the scratch folder has no room.
  virtual absl::StatusOr<std::unique_ptr<PreparedPointInTime>> PreparePointInTime(const std::string& uuid,
                                                                                  const PointInTimeOptions& options) = 0;

  // Both steps in one, for when nothing is frozen meanwhile.
  absl::StatusOr<std::unique_ptr<PointInTime>> BeginPointInTime(const std::string& uuid,
                                                                const PointInTimeOptions& options);

  // Removes every checkpoint of ours of this VM but the one of the name `keep` (empty: all), and what they left in
  // images. Checkpoints of others are never touched. Those of a VM that is off may have to stay until it runs; the
  // report says so. Safe to repeat. OK when the VM doesn't exist.
  virtual absl::StatusOr<CleanUpReport> RemoveCheckpoints(const std::string& uuid, const std::string& keep) = 0;

  // After a crash of the agent: ends point-in-time jobs, resumes a VM that a full scratch paused, and removes scratch
  // files, saved states and sockets, only those with this owner tag in `scratch_folder`. Safe to repeat; thaws nobody,
  // lets nobody go on that SaveState stopped, and leaves checkpoints alone (RemoveCheckpoints).
  virtual absl::StatusOr<CleanUpReport> CleanUp(const std::string& uuid, const std::string& scratch_folder,
                                                const std::string& owner_tag) = 0;

  // --- saved state ---

  // What can be known before a SaveState, without touching the VM. Errors: as SaveState.
  virtual absl::Status CheckCanSave(const std::string& uuid, const SaveOptions& options) = 0;

  // Stops a running VM and writes its memory and devices to a file; of a paused one they are written as they are. When it
  // returns OK the VM stands still (kPaused): disks and file show one instant until somebody calls Resume. After an error
  // the VM is as it was. Blocks while the memory is written: about a second per GiB that the guest has used.
  // Errors: FAILED_PRECONDITION / GUEST_NOT_RUNNING, VM_HAS_FOREIGN_JOB, or SAVED_STATE_UNSUPPORTED the VM has a device
  // whose state can't be saved; RESOURCE_EXHAUSTED / SCRATCH_FULL no room for the memory.
  virtual absl::StatusOr<SavedState> SaveState(const std::string& uuid, const SaveOptions& options) = 0;

  // The file that holds the memory of a VM that somebody saved (kSaved); empty for any other, and when the file can't be
  // reached from here. It goes when the VM is started.
  virtual absl::StatusOr<std::string> ExistingState(const std::string& uuid) = 0;

  // Starts a defined VM, which is off, from a saved state: it goes on at the very instant of the file, or stands still
  // there when `paused`. Its disks must be those of that instant.
  // Errors: INVALID_ARGUMENT / INVALID_REQUEST the file is no saved state of a VM of this name and uuid; DATA_LOSS /
  // STATE_DAMAGED it can't be read to its end; FAILED_PRECONDITION / DISK_MISSING; ALREADY_EXISTS / VM_EXISTS it runs.
  virtual absl::Status StartFromState(const std::string& uuid, const std::string& state_path, bool paused) = 0;

  // Sets the guest's clock to the host's, by its agent: after a start from a saved state it shows the instant of the
  // save. Waits at most `timeout` for the agent.
  // Errors: FAILED_PRECONDITION / GUEST_AGENT_NOT_CONFIGURED, GUEST_AGENT_NOT_RUNNING or GUEST_NOT_RUNNING.
  virtual absl::Status SyncGuestClock(const std::string& uuid, absl::Duration timeout) = 0;

  // --- power ---

  // FAILED_PRECONDITION / GUEST_NOT_RUNNING when it is off. OK when it is paused, or runs, already.
  virtual absl::Status Pause(const std::string& uuid) = 0;
  virtual absl::Status Resume(const std::string& uuid) = 0;
  // OK when it runs already. FAILED_PRECONDITION / DISK_MISSING names a disk whose file isn't there.
  virtual absl::Status Start(const std::string& uuid) = 0;
  // Off at once, as by the power button held; OK when it is off already.
  virtual absl::Status PowerOff(const std::string& uuid) = 0;

  // --- restore ---

  // Forgets the VM (powered off first if needed): configuration, snapshots' metadata, saved state. Its disk files stay.
  // OK when it doesn't exist.
  virtual absl::Status DeleteVm(const std::string& uuid) = 0;

  // Creates an empty image and opens it for writing.
  // RESOURCE_EXHAUSTED / TARGET_FULL, ALREADY_EXISTS / TARGET_EXISTS.
  virtual absl::StatusOr<std::unique_ptr<BlockWriter>> CreateDisk(const NewDisk& disk) = 0;

  // Registers a VM from a saved configuration, off. Adapters whose network is gone are left disconnected, with a warning.
  // One that keeps its identity has those of its checkpoints again whose content is still there: an external one whose files
  // are as they were, and when `unchanged` all of them. Ask GetVm which.
  // ALREADY_EXISTS / VM_EXISTS when name or uuid is taken.
  virtual absl::StatusOr<DefinedVm> DefineVm(const DefineOptions& options) = 0;

  // Where a new VM's files go by default, and where links to VMs elsewhere are kept.
  virtual std::string DefaultFolder() = 0;
};

struct FileReading {
  // What Changes answers.
  absl::Status no_changes = absl::FailedPreconditionError("");
  // Asked when a read fails: why that may be. Its answer is returned unless it is OK.
  std::function<absl::Status()> why = [] { return absl::OkStatus(); };
  bool skip_cache = false;  // as File::SkipCache: for a file that is also written past the page cache
};

// Reads a file as a disk's reader does; `piece_bytes` as there. For saved states, and raw images that nobody writes to.
// NOT_FOUND when it isn't there.
absl::StatusOr<std::unique_ptr<BlockReader>> OpenFile(base::Filesystem& files, const std::string& path,
                                                      FileReading reading = {});

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_HYPERVISOR_H_
