// A hypervisor without virtual machines: disks are real raw files, guests are made of this class's Guest... calls.
//
// For tests and simulation; passes the same contract suite as the real drivers. A point in time is copy-before-write: the
// bytes are those of the moment of Begin while the guest writes on. What can go wrong with a real guest has a switch in
// SimulatedFaults. The object stands for the hypervisor, so it outlives the agent: CrashAgent drops what an agent held,
// as kill -9 would.
//
// Thread-safe. Waits (a hanging freeze) go through the clock.
#ifndef UMBRA_AGENT_HYPERVISOR_SIMULATED_SIMULATED_HYPERVISOR_H_
#define UMBRA_AGENT_HYPERVISOR_SIMULATED_SIMULATED_HYPERVISOR_H_

#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "agent/hypervisor/hypervisor.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::hypervisor {

struct SimulatedDisk {
  std::string name;
  uint64_t capacity_bytes = 0;
  DiskExclusion exclusion = DiskExclusion::kNone;  // another value: a disk without a file
  bool trackable = true;                           // false: a format that can't keep track of changes
};

struct SimulatedVmSpec {
  std::string name;
  std::vector<SimulatedDisk> disks;
  uint64_t memory_bytes = 256 * base::kMiB;
  std::vector<NetworkAdapter> adapters;
  bool guest_agent = true;  // configured
  bool running = true;
  bool saveable = true;  // false: it has a device whose state can't be saved
};

// What goes wrong with one VM.
struct SimulatedFaults {
  bool agent_silent = false;                      // nobody in the guest listens: nothing can be asked
  absl::Duration freeze_delay;                    // a freeze takes effect this late, also when its caller gave up before
  bool freeze_fails = false;                      // the guest refuses (a hook failed)
  int thaw_failures = 0;                          // so many thaws get no answer; counts down
  bool foreign_job = false;                       // somebody else's job runs on the VM
  bool begin_fails = false;                       // the next cut is refused
  bool save_fails = false;                        // the memory can't be saved: the VM goes on
  absl::Duration save_takes;                      // the VM stands still so long before its memory is on disk
  int resume_failures = 0;                        // so many resumes are refused; counts down
  std::optional<uint64_t> dies_after_read_bytes;  // the guest dies when so much of its views was read
  std::optional<uint64_t> scratch_limit_bytes;    // the scratch folder is full beyond this
};

class SimulatedHypervisor final : public Hypervisor {
 public:
  // Disk files go to `folder`/VM name/. `folder` is made when needed. The references must outlive this object, and this
  // object everything it hands out.
  SimulatedHypervisor(std::string folder, base::Filesystem& files, base::Clock& clock, base::Random& random);
  ~SimulatedHypervisor() override;

  // --- what a test does ---

  // Returns the new VM's uuid. Disks are empty.
  absl::StatusOr<std::string> CreateVm(const SimulatedVmSpec& spec);
  void SetFaults(const std::string& uuid, const SimulatedFaults& faults);
  void AddNetwork(const std::string& name);  // "switch0" is there from the start
  void RemoveNetwork(const std::string& name);

  // What a program in the guest does. FAILED_PRECONDITION / GUEST_NOT_RUNNING when the guest is off or paused;
  // UNAVAILABLE / GUEST_FROZEN while it is frozen (a real program would wait).
  absl::Status GuestWrite(const std::string& uuid, const std::string& disk, uint64_t offset_bytes, base::Bytes data);
  absl::StatusOr<std::string> GuestRead(const std::string& uuid, const std::string& disk, uint64_t offset_bytes,
                                        uint64_t length_bytes);
  bool IsFrozen(const std::string& uuid);
  // What the guest has in memory: survives a saved state, and is gone after a boot. Same errors as GuestWrite.
  absl::Status GuestRemember(const std::string& uuid, const std::string& memory);
  absl::StatusOr<std::string> GuestMemory(const std::string& uuid);
  // How often the guest was booted; a start from a saved state is no boot.
  int Boots(const std::string& uuid);
  // What a person does: keeps the present content of every disk as a checkpoint, on which the disks go on. That of an
  // external one is a file beside each disk; that of an internal one is gone when the disk's file is replaced.
  absl::Status KeepCheckpoint(const std::string& uuid, const std::string& name, CheckpointKind kind);
  // Disks that the guest attached itself, as its agent tells of them.
  void SetGuestDisks(const std::string& uuid, std::vector<GuestDisk> disks);
  void ForgetCheckpoints(const std::string& uuid);
  // What a person does: the VM is kSaved then, and its next Start goes on where it was.
  absl::Status SaveByHand(const std::string& uuid);
  // As kill -9 of the guest's process. Views of it are lost, and so is what was tracked of changes.
  void KillGuest(const std::string& uuid);
  // Names of its checkpoints, ours and others.
  std::vector<std::string> Checkpoints(const std::string& uuid);
  // What another tool does: makes a checkpoint, or deletes one. NOT_FOUND / VM_NOT_FOUND.
  absl::Status MakeCheckpoint(const std::string& uuid, const std::string& name);
  absl::Status DeleteCheckpoint(const std::string& uuid, const std::string& name);
  // What a person does while the VM is off. Disks are made empty; an existing one is grown with zeros, or cut.
  // FAILED_PRECONDITION / GUEST_STARTED when it is on.
  absl::Status AddDisk(const std::string& uuid, const SimulatedDisk& disk);
  absl::Status RemoveDisk(const std::string& uuid, const std::string& disk);
  absl::Status ResizeDisk(const std::string& uuid, const std::string& disk, uint64_t capacity_bytes);
  // As GuestWrite, of data that nobody tracks: something writes past the hypervisor.
  absl::Status WriteUnseen(const std::string& uuid, const std::string& disk, uint64_t offset_bytes, base::Bytes data);
  // The agent dies: points in time that it held stay behind, with their scratch files, until CleanUp.
  void CrashAgent();
  // Between a crash of the agent and its restart: what a dying agent's threads still ask for is refused and not done.
  void RefuseEverything(bool refuse);

  // --- Hypervisor ---

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
  // Only "raw" and saved states: what this hypervisor's VMs use.
  absl::StatusOr<std::unique_ptr<BlockWriter>> CreateDisk(const NewDisk& disk) override;
  absl::StatusOr<DefinedVm> DefineVm(const DefineOptions& options) override;
  std::string DefaultFolder() override;

 private:
  struct Vm;
  struct View;
  class Prepared;
  class PointInTimeView;
  class Reader;

  // Shared between the table and calls that wait while the VM may be deleted.
  using VmPtr = std::shared_ptr<Vm>;

  absl::Status CheckAnswersLocked() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<VmPtr> FindLocked(const std::string& uuid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<VmPtr> FindForAgentLocked(const std::string& uuid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void LandFreezeLocked(Vm& vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void StopLocked(Vm& vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<VmPtr> FindOffLocked(const std::string& uuid) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void TrackLocked(Vm& vm, const PointInTimeOptions& options, View& view) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  std::string HandSavePathLocked(const Vm& vm) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WriteStateLocked(const Vm& vm, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ReadStateLocked(Vm& vm, const std::string& path) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status OpenDisksLocked(Vm& vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<std::shared_ptr<View>> OfflineViewLocked(Vm& vm, const PointInTimeOptions& options)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status CheckNoJobLocked(const Vm& vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<std::unique_ptr<PointInTime>> Begin(const VmPtr& vm, const PointInTimeOptions& options);
  absl::Status PreserveLocked(Vm& vm, const std::string& disk, uint64_t offset, uint64_t length)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void ScratchFullLocked(Vm& vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ViewHealthLocked(const View& view) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status ReadView(Vm& vm, View& view, const std::string& disk, uint64_t offset, base::MutableBytes out);
  absl::Status EndView(Vm& vm, const std::shared_ptr<View>& view, int64_t agent_life);
  absl::Status RemoveViewLocked(Vm& vm, const View& view) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void DefineCheckpoints(const DefineOptions& options, const std::string& configuration, Vm& vm);
  VmInfo DescribeLocked(Vm& vm) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::string folder_;
  base::Filesystem& files_;
  base::Clock& clock_;
  base::Random& random_;

  // One lock for all: a guest's write and the copy of what it overwrites must not be seen apart.
  absl::Mutex mu_;
  std::map<std::string, VmPtr> vms_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> networks_ ABSL_GUARDED_BY(mu_);
  int64_t agent_life_ ABSL_GUARDED_BY(mu_) = 0;  // counts CrashAgent
  bool refuse_everything_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace umbra::hypervisor

#endif  // UMBRA_AGENT_HYPERVISOR_SIMULATED_SIMULATED_HYPERVISOR_H_
