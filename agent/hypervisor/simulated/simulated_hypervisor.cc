#include "agent/hypervisor/simulated/simulated_hypervisor.h"

#include <algorithm>
#include <pugixml.hpp>
#include <sstream>

#include "agent/hypervisor/image/image_writer.h"
#include "storage/base/crash_point.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;
using base::Invalid;

// What is preserved and looked at as one.
constexpr uint64_t kBlock = 64 * base::kKiB;

absl::Status NotRunning(const std::string& name) {
  return base::Error(StatusCode::kFailedPrecondition, "GUEST_NOT_RUNNING", "'{}' does not run", name);
}

std::string ScratchPrefix(const std::string& owner_tag, const std::string& uuid) {
  return owner_tag + "-" + uuid.substr(0, 8) + "-";
}

// 52:54:00 is the prefix of virtual adapters.
std::string NewMac(base::Random& random) {
  const std::string hex = random.Hex(3);
  return fmt::format("52:54:00:{}:{}:{}", hex.substr(0, 2), hex.substr(2, 2), hex.substr(4, 2));
}

}  // namespace

// The bytes of some disks at one moment. A block that the guest overwrites later is copied to the scratch file before.
struct SimulatedHypervisor::View {
  struct Part {
    std::unique_ptr<base::File> scratch;
    std::vector<bool> preserved;  // by block
  };
  std::map<std::string, Part> parts;
  std::string scratch_folder;
  std::string prefix;  // of its files in the scratch folder
  uint64_t scratch_bytes = 0;
  absl::Time time;
  bool lost = false;     // the guest died
  bool full = false;     // the scratch folder is
  bool offline = false;  // the VM was off: `scratch` of each part is the disk itself
  std::map<std::string, absl::StatusOr<std::vector<bool>>> changed;  // since the base, by disk and block
  Checkpoint checkpoint;                                             // for the next view
  bool started = false;  // an offline one: the VM was started since
};

struct SimulatedHypervisor::Vm {
  struct DiskFile {
    SimulatedDisk spec;
    std::string path;                  // empty: excluded
    std::unique_ptr<base::File> file;  // open while the VM is on
    std::string generation = "";       // of the file

    uint64_t blocks() const { return (spec.capacity_bytes + kBlock - 1) / kBlock; }
    TrackedDisk tracked() const { return {spec.name, generation, spec.capacity_bytes}; }
  };
  // What changed since, by disk and block. A disk without an entry isn't tracked; one of another size is broken.
  struct Tracked {
    std::map<std::string, std::vector<bool>> changed;
    bool broken = false;  // the VM's process was killed
  };

  struct Checkpoint {
    OwnCheckpoint own;
    std::vector<std::string> files;  // that its content lies in, when it is external
  };

  DiskFile* Find(const std::string& disk) {
    auto it = std::find_if(disks.begin(), disks.end(), [&](const DiskFile& d) { return d.spec.name == disk; });
    return it == disks.end() ? nullptr : &*it;
  }
  bool on() const { return state == VmState::kRunning || state == VmState::kPaused; }

  std::string uuid;
  std::string name;
  uint64_t memory_bytes = 0;
  bool guest_agent = true;
  bool saveable = true;
  std::vector<NetworkAdapter> adapters;
  std::vector<DiskFile> disks;
  std::vector<Checkpoint> checkpoints;
  std::vector<GuestDisk> guest_disks;
  VmState state = VmState::kOff;
  bool paused_by_full_scratch = false;
  bool frozen = false;
  std::optional<absl::Duration> freeze_lands_at;  // on the monotonic clock: a freeze that nobody waits for any more
  SimulatedFaults faults;
  uint64_t view_bytes_read = 0;
  std::shared_ptr<View> view;  // shared with who reads it: the VM may die first
  std::weak_ptr<View> offline_view;
  std::map<std::string, Tracked> tracked_since;  // by name
  std::string memory;
  int boots = 0;
};

class SimulatedHypervisor::Reader final : public BlockReader {
 public:
  Reader(SimulatedHypervisor& owner, VmPtr vm, std::shared_ptr<View> view, std::string disk, uint64_t capacity_bytes)
      : owner_(owner),
        vm_(std::move(vm)),
        view_(std::move(view)),
        disk_(std::move(disk)),
        capacity_bytes_(capacity_bytes) {}

  uint64_t capacity_bytes() const override { return capacity_bytes_; }

  absl::StatusOr<std::vector<Extent>> Extents() override {
    std::vector<Extent> extents;
    std::vector<std::byte> block(kBlock);
    for (uint64_t at = 0; at < capacity_bytes_; at += kBlock) {
      const base::MutableBytes part(block.data(), std::min(kBlock, capacity_bytes_ - at));
      RETURN_IF_ERROR(owner_.ReadView(*vm_, *view_, disk_, at, part));
      const bool zero = base::IsZero(part);
      if (extents.empty() || extents.back().zero != zero) extents.push_back({at, 0, zero});
      extents.back().length_bytes += part.size();
    }
    return extents;
  }

  absl::StatusOr<std::vector<Extent>> Changes() override {
    const auto found = view_->changed.find(disk_);
    if (found == view_->changed.end()) return BlockReader::Changes();
    RETURN_IF_ERROR(found->second.status());
    const std::vector<bool>& blocks = *found->second;
    std::vector<Extent> changes;
    for (uint64_t block = 0; block < blocks.size(); ++block) {
      if (!blocks[block]) continue;
      const uint64_t at = block * kBlock;
      if (changes.empty() || changes.back().offset_bytes + changes.back().length_bytes != at)
        changes.push_back({at, 0, false});
      changes.back().length_bytes += std::min(kBlock, capacity_bytes_ - at);
    }
    return changes;
  }

  absl::Status ReadExtents(const std::vector<Extent>& extents, uint32_t piece_bytes, const BlockSink& sink) override {
    if (piece_bytes == 0) return Invalid("pieces of 0 bytes");
    std::vector<std::byte> buffer(piece_bytes);
    for (const Extent& extent : extents) {
      const uint64_t end = extent.offset_bytes + extent.length_bytes;
      for (uint64_t at = extent.zero ? end : extent.offset_bytes; at < end;) {
        const base::MutableBytes piece(buffer.data(), std::min(end - at, piece_bytes - at % piece_bytes));
        RETURN_IF_ERROR(ReadAt(at, piece));
        RETURN_IF_ERROR(sink(at, piece));
        at += piece.size();
      }
    }
    return absl::OkStatus();
  }

  absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override {
    if (offset > capacity_bytes_ || out.size() > capacity_bytes_ - offset) {
      return base::Error(StatusCode::kOutOfRange, "INVALID_REQUEST", "read beyond the disk's end");
    }
    return owner_.ReadView(*vm_, *view_, disk_, offset, out);
  }

 private:
  SimulatedHypervisor& owner_;
  const VmPtr vm_;
  const std::shared_ptr<View> view_;
  const std::string disk_;
  const uint64_t capacity_bytes_;
};

class SimulatedHypervisor::PointInTimeView final : public PointInTime {
 public:
  PointInTimeView(SimulatedHypervisor& owner, VmPtr vm, std::shared_ptr<View> view, int64_t agent_life)
      : owner_(owner), vm_(std::move(vm)), view_(std::move(view)), agent_life_(agent_life) {}
  ~PointInTimeView() override { Close().IgnoreError(); }

  absl::Time time() const override { return view_->time; }

  absl::StatusOr<std::unique_ptr<BlockReader>> OpenDisk(const std::string& disk) override {
    absl::MutexLock lock(&owner_.mu_);
    const Vm::DiskFile* file = vm_->Find(disk);
    if (file == nullptr || !view_->parts.contains(disk)) return Invalid("disk '{}' isn't in the view", disk);
    RETURN_IF_ERROR(owner_.ViewHealthLocked(*view_));
    return std::make_unique<Reader>(owner_, vm_, view_, disk, file->spec.capacity_bytes);
  }

  Checkpoint checkpoint() const override { return view_->checkpoint; }

  absl::Status Health() override {
    absl::MutexLock lock(&owner_.mu_);
    return owner_.ViewHealthLocked(*view_);
  }

  absl::Status Close() override {
    if (closed_) return absl::OkStatus();
    closed_ = true;
    return owner_.EndView(*vm_, view_, agent_life_);
  }

 private:
  SimulatedHypervisor& owner_;
  const VmPtr vm_;
  const std::shared_ptr<View> view_;
  const int64_t agent_life_;
  bool closed_ = false;
};

class SimulatedHypervisor::Prepared final : public PreparedPointInTime {
 public:
  Prepared(SimulatedHypervisor& owner, VmPtr vm, PointInTimeOptions options)
      : owner_(owner), vm_(std::move(vm)), options_(std::move(options)) {}

  absl::StatusOr<std::unique_ptr<PointInTime>> Begin() override { return owner_.Begin(vm_, options_); }

 private:
  SimulatedHypervisor& owner_;
  const VmPtr vm_;
  const PointInTimeOptions options_;
};

SimulatedHypervisor::SimulatedHypervisor(std::string folder, base::Filesystem& files, base::Clock& clock,
                                         base::Random& random)
    : folder_(std::move(folder)), files_(files), clock_(clock), random_(random), networks_({"switch0"}) {}

SimulatedHypervisor::~SimulatedHypervisor() = default;

// --- what a test does ---

absl::StatusOr<std::string> SimulatedHypervisor::CreateVm(const SimulatedVmSpec& spec) {
  auto vm = std::make_shared<Vm>();
  vm->uuid = random_.Uuid();
  vm->name = spec.name;
  vm->memory_bytes = spec.memory_bytes;
  vm->guest_agent = spec.guest_agent;
  vm->saveable = spec.saveable;
  vm->adapters = spec.adapters;
  const std::string folder = folder_ + "/" + spec.name;
  RETURN_IF_ERROR(files_.MakeDirectories(folder));
  for (const SimulatedDisk& disk : spec.disks) {
    Vm::DiskFile file{disk, "", nullptr, random_.Uuid()};
    if (disk.exclusion == DiskExclusion::kNone) {
      file.path = fmt::format("{}/{}.raw", folder, disk.name);
      ASSIGN_OR_RETURN(auto created, files_.Open(file.path, base::OpenMode::kCreate));
      RETURN_IF_ERROR(created->Truncate(disk.capacity_bytes));
    }
    vm->disks.push_back(std::move(file));
  }
  {
    absl::MutexLock lock(&mu_);
    vms_[vm->uuid] = vm;
  }
  if (spec.running) RETURN_IF_ERROR(Start(vm->uuid));
  return vm->uuid;
}

void SimulatedHypervisor::SetFaults(const std::string& uuid, const SimulatedFaults& faults) {
  absl::MutexLock lock(&mu_);
  if (auto it = vms_.find(uuid); it != vms_.end()) it->second->faults = faults;
}

void SimulatedHypervisor::AddNetwork(const std::string& name) {
  absl::MutexLock lock(&mu_);
  networks_.insert(name);
}

void SimulatedHypervisor::RemoveNetwork(const std::string& name) {
  absl::MutexLock lock(&mu_);
  networks_.erase(name);
}

absl::Status SimulatedHypervisor::GuestWrite(const std::string& uuid, const std::string& disk, uint64_t offset,
                                             base::Bytes data) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  LandFreezeLocked(*vm);
  if (vm->state != VmState::kRunning) return NotRunning(vm->name);
  if (vm->frozen) return base::Error(StatusCode::kUnavailable, "GUEST_FROZEN", "'{}' is frozen", vm->name);
  Vm::DiskFile* file = vm->Find(disk);
  if (file == nullptr || file->file == nullptr || data.empty() || offset + data.size() > file->spec.capacity_bytes) {
    return Invalid("write of {} bytes at {} of disk '{}'", data.size(), offset, disk);
  }
  RETURN_IF_ERROR(PreserveLocked(*vm, disk, offset, data.size()));
  for (auto& [name, tracked] : vm->tracked_since) {
    const auto blocks = tracked.changed.find(disk);
    if (blocks == tracked.changed.end()) continue;
    for (uint64_t b = offset / kBlock; b <= (offset + data.size() - 1) / kBlock; ++b) blocks->second.at(b) = true;
  }
  return file->file->WriteAt(offset, data);
}

absl::Status SimulatedHypervisor::WriteUnseen(const std::string& uuid, const std::string& disk, uint64_t offset,
                                              base::Bytes data) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  const Vm::DiskFile* file = vm->Find(disk);
  if (file == nullptr || file->path.empty()) return Invalid("no disk '{}'", disk);
  ASSIGN_OR_RETURN(const auto opened, files_.Open(file->path, base::OpenMode::kReadWrite));
  return opened->WriteAt(offset, data);
}

std::vector<std::string> SimulatedHypervisor::Checkpoints(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  std::vector<std::string> names;
  const auto vm = FindLocked(uuid);
  if (!vm.ok()) return names;
  for (const auto& [name, tracked] : (*vm)->tracked_since) names.push_back(name);
  return names;
}

absl::Status SimulatedHypervisor::MakeCheckpoint(const std::string& uuid, const std::string& name) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  for (const Vm::DiskFile& disk : vm->disks) vm->tracked_since[name].changed[disk.spec.name].resize(disk.blocks());
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::DeleteCheckpoint(const std::string& uuid, const std::string& name) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  vm->tracked_since.erase(name);
  return absl::OkStatus();
}

absl::StatusOr<SimulatedHypervisor::VmPtr> SimulatedHypervisor::FindOffLocked(const std::string& uuid) {
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (!vm->on()) return vm;
  return base::Error(StatusCode::kFailedPrecondition, "GUEST_STARTED", "'{}' is on", vm->name);
}

absl::Status SimulatedHypervisor::AddDisk(const std::string& uuid, const SimulatedDisk& disk) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindOffLocked(uuid));
  Vm::DiskFile file{disk, fmt::format("{}/{}/{}-{}.raw", folder_, vm->name, disk.name, random_.Hex(4)), nullptr,
                    random_.Uuid()};
  RETURN_IF_ERROR(files_.MakeDirectories(base::DirectoryOf(file.path)));
  ASSIGN_OR_RETURN(auto created, files_.Open(file.path, base::OpenMode::kCreate));
  RETURN_IF_ERROR(created->Truncate(disk.capacity_bytes));
  vm->disks.push_back(std::move(file));
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::RemoveDisk(const std::string& uuid, const std::string& disk) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindOffLocked(uuid));
  std::erase_if(vm->disks, [&](const Vm::DiskFile& file) { return file.spec.name == disk; });
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::ResizeDisk(const std::string& uuid, const std::string& disk,
                                             uint64_t capacity_bytes) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindOffLocked(uuid));
  Vm::DiskFile* file = vm->Find(disk);
  if (file == nullptr || file->path.empty()) return Invalid("no disk '{}'", disk);
  ASSIGN_OR_RETURN(const auto opened, files_.Open(file->path, base::OpenMode::kReadWrite));
  RETURN_IF_ERROR(opened->Truncate(capacity_bytes));
  file->spec.capacity_bytes = capacity_bytes;
  for (auto& [name, tracked] : vm->tracked_since) {
    if (const auto blocks = tracked.changed.find(disk); blocks != tracked.changed.end())
      blocks->second.resize(file->blocks(), true);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> SimulatedHypervisor::GuestRead(const std::string& uuid, const std::string& disk,
                                                           uint64_t offset, uint64_t length) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (vm->state != VmState::kRunning) return NotRunning(vm->name);
  Vm::DiskFile* file = vm->Find(disk);
  if (file == nullptr || file->file == nullptr) return Invalid("no disk '{}'", disk);
  std::string data(length, '\0');
  RETURN_IF_ERROR(file->file->ReadAt(offset, std::as_writable_bytes(std::span(data.data(), data.size()))));
  return data;
}

bool SimulatedHypervisor::IsFrozen(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  auto vm = FindLocked(uuid);
  if (!vm.ok()) return false;
  LandFreezeLocked(**vm);
  return (*vm)->frozen;
}

absl::Status SimulatedHypervisor::GuestRemember(const std::string& uuid, const std::string& memory) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (vm->state != VmState::kRunning) return NotRunning(vm->name);
  vm->memory = memory;
  return absl::OkStatus();
}

absl::StatusOr<std::string> SimulatedHypervisor::GuestMemory(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (vm->state != VmState::kRunning) return NotRunning(vm->name);
  return vm->memory;
}

int SimulatedHypervisor::Boots(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  auto vm = FindLocked(uuid);
  return vm.ok() ? (*vm)->boots : 0;
}

absl::Status SimulatedHypervisor::KeepCheckpoint(const std::string& uuid, const std::string& name, CheckpointKind kind) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  Vm::Checkpoint checkpoint{{name, "", kind, false, absl::FromUnixSeconds(absl::ToUnixSeconds(clock_.Now())), true}, {}};
  for (Vm::Checkpoint& other : vm->checkpoints) {
    if (other.own.current) checkpoint.own.parent = other.own.name;
    other.own.current = false;
  }
  for (const Vm::DiskFile& disk : vm->disks) {
    if (disk.path.empty() || kind == CheckpointKind::kInternal) continue;
    ASSIGN_OR_RETURN(const std::string content, files_.ReadFile(disk.path, disk.spec.capacity_bytes));
    checkpoint.files.push_back(disk.path + "." + name);
    RETURN_IF_ERROR(files_.WriteFileAtomic(checkpoint.files.back(), content));
  }
  vm->checkpoints.push_back(std::move(checkpoint));
  return absl::OkStatus();
}

void SimulatedHypervisor::SetGuestDisks(const std::string& uuid, std::vector<GuestDisk> disks) {
  absl::MutexLock lock(&mu_);
  if (auto vm = FindLocked(uuid); vm.ok()) (*vm)->guest_disks = std::move(disks);
}

void SimulatedHypervisor::ForgetCheckpoints(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  auto vm = FindLocked(uuid);
  if (!vm.ok()) return;
  for (const Vm::Checkpoint& checkpoint : (*vm)->checkpoints) {
    for (const std::string& file : checkpoint.files) files_.Remove(file).IgnoreError();
  }
  (*vm)->checkpoints.clear();
}

absl::Status SimulatedHypervisor::SaveByHand(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (!vm->on()) return NotRunning(vm->name);
  RETURN_IF_ERROR(WriteStateLocked(*vm, HandSavePathLocked(*vm)));
  StopLocked(*vm);
  vm->state = VmState::kSaved;
  return absl::OkStatus();
}

void SimulatedHypervisor::KillGuest(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  auto vm = FindLocked(uuid);
  if (!vm.ok()) return;
  StopLocked(**vm);
  for (auto& [name, tracked] : (*vm)->tracked_since) tracked.broken = true;
}

void SimulatedHypervisor::CrashAgent() {
  absl::MutexLock lock(&mu_);
  ++agent_life_;
}

void SimulatedHypervisor::RefuseEverything(bool refuse) {
  absl::MutexLock lock(&mu_);
  refuse_everything_ = refuse;
}

absl::Status SimulatedHypervisor::CheckAnswersLocked() const {
  if (!refuse_everything_) return absl::OkStatus();
  return base::MakeError(StatusCode::kUnavailable, "HYPERVISOR_UNAVAILABLE", "the hypervisor doesn't answer");
}

// --- describing ---

absl::StatusOr<std::string> SimulatedHypervisor::Version() {
  return std::string("simulated 1");
}

absl::StatusOr<std::vector<VmInfo>> SimulatedHypervisor::ListVms() {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(CheckAnswersLocked());
  std::vector<VmInfo> all;
  for (const auto& [uuid, vm] : vms_) all.push_back(DescribeLocked(*vm));
  return all;
}

absl::StatusOr<VmInfo> SimulatedHypervisor::GetVm(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  return DescribeLocked(*vm);
}

VmInfo SimulatedHypervisor::DescribeLocked(Vm& vm) {
  VmInfo info{vm.uuid, vm.name, vm.state, vm.memory_bytes, {}, vm.adapters, "", {}};
  for (const Vm::DiskFile& file : vm.disks) {
    Disk disk{file.spec.name,           file.path,           "raw", file.spec.capacity_bytes,
              file.spec.capacity_bytes, file.spec.exclusion, ""};
    if (disk.exclusion != DiskExclusion::kNone) disk.exclusion_detail = "excluded in the simulation";
    info.disks.push_back(std::move(disk));
  }
  for (const Vm::Checkpoint& checkpoint : vm.checkpoints) info.checkpoints.push_back(checkpoint.own);
  return info;
}

absl::StatusOr<std::string> SimulatedHypervisor::Configuration(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  pugi::xml_document doc;
  pugi::xml_node root = doc.append_child("simulated-vm");
  root.append_attribute("name") = vm->name.c_str();
  root.append_attribute("uuid") = vm->uuid.c_str();
  root.append_attribute("memory") = static_cast<unsigned long long>(vm->memory_bytes);
  root.append_attribute("agent") = vm->guest_agent;
  for (const Vm::DiskFile& disk : vm->disks) {
    pugi::xml_node node = root.append_child("disk");
    node.append_attribute("name") = disk.spec.name.c_str();
    node.append_attribute("capacity") = static_cast<unsigned long long>(disk.spec.capacity_bytes);
    node.append_attribute("exclusion") = static_cast<int>(disk.spec.exclusion);
    node.append_attribute("path") = disk.path.c_str();
  }
  for (const NetworkAdapter& adapter : vm->adapters) {
    pugi::xml_node node = root.append_child("adapter");
    node.append_attribute("mac") = adapter.mac.c_str();
    node.append_attribute("network") = adapter.network.c_str();
  }
  for (const Vm::Checkpoint& checkpoint : vm->checkpoints) {
    pugi::xml_node node = root.append_child("checkpoint");
    node.append_attribute("name") = checkpoint.own.name.c_str();
    node.append_attribute("parent") = checkpoint.own.parent.c_str();
    node.append_attribute("kind") = static_cast<int>(checkpoint.own.kind);
    node.append_attribute("current") = checkpoint.own.current;
    node.append_attribute("created") = static_cast<long long>(absl::ToUnixSeconds(checkpoint.own.create_time));
    for (const std::string& file : checkpoint.files) node.append_child("file").append_attribute("path") = file.c_str();
  }
  std::ostringstream text;
  doc.save(text, "  ");
  return text.str();
}

absl::StatusOr<SimulatedHypervisor::VmPtr> SimulatedHypervisor::FindLocked(const std::string& uuid) {
  RETURN_IF_ERROR(CheckAnswersLocked());
  auto it = vms_.find(uuid);
  if (it == vms_.end())
    return base::Error(StatusCode::kNotFound, "VM_NOT_FOUND", "there is no virtual machine {}", uuid);
  return it->second;
}

// --- the guest's agent ---

// A VM whose agent could be asked.
absl::StatusOr<SimulatedHypervisor::VmPtr> SimulatedHypervisor::FindForAgentLocked(const std::string& uuid) {
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  LandFreezeLocked(*vm);
  if (!vm->guest_agent) {
    return base::Error(StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_CONFIGURED", "'{}' has no guest agent",
                       vm->name);
  }
  return vm;
}

void SimulatedHypervisor::LandFreezeLocked(Vm& vm) {
  if (!vm.freeze_lands_at.has_value() || clock_.Monotonic() < *vm.freeze_lands_at) return;
  vm.freeze_lands_at.reset();
  vm.frozen = vm.state == VmState::kRunning;
}

absl::StatusOr<GuestAgentInfo> SimulatedHypervisor::QueryGuestAgent(const std::string& uuid, absl::Duration) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  LandFreezeLocked(*vm);
  GuestAgentInfo info;
  if (!vm->guest_agent) {
    info.state = GuestAgentState::kNotConfigured;
  } else if (!vm->on()) {
    info.state = GuestAgentState::kGuestOff;
  } else if (vm->faults.agent_silent || vm->freeze_lands_at.has_value() || vm->state == VmState::kPaused) {
    info.state = GuestAgentState::kNotResponding;
  } else {
    info = {GuestAgentState::kRunning, "simulated", {}, vm->guest_disks};
    for (const Vm::DiskFile& disk : vm->disks) {
      if (disk.path.empty()) continue;
      info.filesystems.push_back({"/" + disk.spec.name, "ext4", {disk.spec.name}, true});
    }
  }
  return info;
}

absl::StatusOr<int> SimulatedHypervisor::Freeze(const std::string& uuid, absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindForAgentLocked(uuid));
  if (!vm->on()) return NotRunning(vm->name);
  if (vm->faults.agent_silent || vm->state == VmState::kPaused) {
    return base::Error(StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_RUNNING", "nobody answers in '{}'", vm->name);
  }
  if (vm->faults.freeze_fails || vm->frozen) {
    return base::Error(StatusCode::kAborted, "GUEST_FREEZE_FAILED", "'{}' refused to freeze: {}", vm->name,
                       vm->frozen ? "it is frozen" : "a hook failed");
  }
  vm->freeze_lands_at = clock_.Monotonic() + vm->faults.freeze_delay;
  const bool never = false;
  clock_.AwaitFor(mu_, absl::Condition(&never), std::min(timeout, vm->faults.freeze_delay));
  LandFreezeLocked(*vm);
  if (!vm->on()) return NotRunning(vm->name);
  if (!vm->frozen) {
    return base::Error(StatusCode::kDeadlineExceeded, "GUEST_FREEZE_TIMEOUT", "'{}' did not freeze in {}", vm->name,
                       absl::FormatDuration(timeout));
  }
  return static_cast<int>(std::count_if(vm->disks.begin(), vm->disks.end(), [](auto& d) { return !d.path.empty(); }));
}

absl::StatusOr<int> SimulatedHypervisor::Thaw(const std::string& uuid, absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindForAgentLocked(uuid));
  // The agent does one thing after another: while a freeze hangs, nothing else is answered.
  if (vm->freeze_lands_at.has_value()) {
    const bool never = false;
    clock_.AwaitFor(mu_, absl::Condition(&never), std::min(timeout, *vm->freeze_lands_at - clock_.Monotonic()));
    LandFreezeLocked(*vm);
  }
  if (!vm->on()) return 0;
  const bool unanswered = vm->faults.thaw_failures > 0;
  if (unanswered) --vm->faults.thaw_failures;
  if (unanswered || vm->faults.agent_silent || vm->freeze_lands_at.has_value()) {
    return base::Error(StatusCode::kDeadlineExceeded, "GUEST_AGENT_NOT_RUNNING", "'{}' did not answer a thaw",
                       vm->name);
  }
  if (!vm->frozen) return 0;
  vm->frozen = false;
  return static_cast<int>(std::count_if(vm->disks.begin(), vm->disks.end(), [](auto& d) { return !d.path.empty(); }));
}

// --- point in time ---

absl::Status SimulatedHypervisor::CheckNoJob(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  return CheckNoJobLocked(*vm);
}

absl::Status SimulatedHypervisor::CheckNoJobLocked(const Vm& vm) {
  if (vm.view == nullptr && !vm.faults.foreign_job) return absl::OkStatus();
  return base::Error(StatusCode::kFailedPrecondition, "VM_HAS_FOREIGN_JOB", "a job runs on '{}': {}", vm.name,
                     vm.faults.foreign_job ? "not ours" : vm.view->prefix);
}

absl::StatusOr<std::unique_ptr<PreparedPointInTime>> SimulatedHypervisor::PreparePointInTime(
    const std::string& uuid, const PointInTimeOptions& options) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (options.disks.empty()) return Invalid("no disks are asked for");
  if (options.scratch_folder.empty() || options.scratch_folder.size() > kScratchFolderLengthMax) {
    return Invalid("the scratch folder's path must have 1 to {} characters", kScratchFolderLengthMax);
  }
  for (const std::string& disk : options.disks) {
    const Vm::DiskFile* file = vm->Find(disk);
    if (file == nullptr || file->path.empty()) return Invalid("'{}' has no disk '{}' to read", vm->name, disk);
  }
  if (options.offline && vm->state != VmState::kOff && vm->state != VmState::kSaved) {
    return base::Error(StatusCode::kFailedPrecondition, "GUEST_STARTED", "'{}' is neither off nor saved", vm->name);
  }
  if (!options.offline && !vm->on()) return NotRunning(vm->name);
  RETURN_IF_ERROR(CheckNoJobLocked(*vm));
  RETURN_IF_ERROR(files_.MakeDirectories(options.scratch_folder));
  return std::make_unique<Prepared>(*this, vm, options);
}

absl::StatusOr<std::unique_ptr<PointInTime>> SimulatedHypervisor::Begin(const VmPtr& vm,
                                                                        const PointInTimeOptions& options) {
  absl::MutexLock lock(&mu_);
  if (options.offline) {
    ASSIGN_OR_RETURN(std::shared_ptr<View> offline, OfflineViewLocked(*vm, options));
    return std::make_unique<PointInTimeView>(*this, vm, std::move(offline), agent_life_);
  }
  if (!vm->on()) return NotRunning(vm->name);
  RETURN_IF_ERROR(CheckNoJobLocked(*vm));
  if (vm->faults.begin_fails) return base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR", "the cut was refused");
  auto view = std::make_shared<View>();
  view->scratch_folder = options.scratch_folder;
  view->prefix = ScratchPrefix(options.owner_tag, vm->uuid);
  view->time = clock_.Now();
  for (const std::string& disk : options.disks) {
    const std::string path = fmt::format("{}/{}{}.scratch", view->scratch_folder, view->prefix, disk);
    auto scratch = files_.Open(path, base::OpenMode::kTruncate);
    if (!scratch.ok()) {
      RemoveViewLocked(*vm, *view).IgnoreError();
      return scratch.status();
    }
    const uint64_t capacity = vm->Find(disk)->spec.capacity_bytes;
    RETURN_IF_ERROR((*scratch)->Truncate(capacity));
    view->parts[disk] = {*std::move(scratch), std::vector<bool>((capacity + kBlock - 1) / kBlock)};
  }
  TrackLocked(*vm, options, *view);
  vm->view = view;
  return std::make_unique<PointInTimeView>(*this, vm, view, agent_life_);
}

// What changed since the base, at this instant; and, while the VM is on, a new checkpoint.
void SimulatedHypervisor::TrackLocked(Vm& vm, const PointInTimeOptions& options, View& view) {
  const auto found = vm.tracked_since.find(options.base.name);
  const Vm::Tracked* since = found == vm.tracked_since.end() ? nullptr : &found->second;
  const auto changes = [&](const Vm::DiskFile& disk) -> absl::StatusOr<std::vector<bool>> {
    if (!disk.spec.trackable) {
      return base::MakeError(StatusCode::kFailedPrecondition, "CBT_UNSUPPORTED",
                             "its format can't keep track of changes");
    }
    RETURN_IF_ERROR(CheckTracked(options.base, disk.tracked()));
    if (since == nullptr || !since->changed.contains(disk.spec.name)) {
      return base::Error(StatusCode::kFailedPrecondition, "CBT_CHECKPOINT_MISSING", "there is no checkpoint {}",
                         options.base.name);
    }
    if (since->broken) {
      return base::Error(StatusCode::kFailedPrecondition, "CBT_CHECKPOINT_BROKEN", "checkpoint {} is broken",
                         options.base.name);
    }
    return since->changed.at(disk.spec.name);
  };
  Checkpoint next;
  next.name = options.offline ? options.base.name : kCheckpointPrefix + options.owner_tag;
  Vm::Tracked fresh;
  for (const std::string& name : options.disks) {
    const Vm::DiskFile& disk = *vm.Find(name);
    const auto& changed = view.changed.emplace(name, changes(disk)).first->second;
    if (options.offline ? !changed.ok() : !disk.spec.trackable) continue;
    next.disks.push_back(disk.tracked());
    fresh.changed[name].resize(disk.blocks());
  }
  if (next.disks.empty() || (!options.offline && !options.track_changes)) return;
  if (!options.offline) vm.tracked_since[next.name] = std::move(fresh);
  view.checkpoint = std::move(next);
}

absl::StatusOr<CleanUpReport> SimulatedHypervisor::RemoveCheckpoints(const std::string& uuid, const std::string& keep) {
  absl::MutexLock lock(&mu_);
  CleanUpReport report;
  const auto vm = FindLocked(uuid);
  if (absl::IsNotFound(vm.status())) return report;
  RETURN_IF_ERROR(vm.status());
  std::erase_if((*vm)->tracked_since, [&](const auto& entry) {
    if (!entry.first.starts_with(kCheckpointPrefix) || entry.first == keep) return false;
    report.actions.push_back("removed checkpoint " + entry.first);
    return true;
  });
  return report;
}

// Nobody writes while the VM is off: the disks themselves are the view, until it is started.
absl::StatusOr<std::shared_ptr<SimulatedHypervisor::View>> SimulatedHypervisor::OfflineViewLocked(
    Vm& vm, const PointInTimeOptions& options) {
  if (vm.faults.begin_fails) return base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR", "the cut was refused");
  auto view = std::make_shared<View>();
  view->offline = true;
  view->started = vm.state != VmState::kOff && vm.state != VmState::kSaved;
  view->time = clock_.Now();
  RETURN_IF_ERROR(ViewHealthLocked(*view));
  for (const std::string& disk : options.disks) {
    Vm::DiskFile& file = *vm.Find(disk);
    ASSIGN_OR_RETURN(auto opened, files_.Open(file.path, base::OpenMode::kRead));
    view->parts[disk] = {std::move(opened), std::vector<bool>((file.spec.capacity_bytes + kBlock - 1) / kBlock, true)};
  }
  TrackLocked(vm, options, *view);
  vm.offline_view = view;
  return view;
}

// Copies what the guest is about to overwrite.
absl::Status SimulatedHypervisor::PreserveLocked(Vm& vm, const std::string& disk, uint64_t offset, uint64_t length) {
  if (vm.view == nullptr || !vm.view->parts.contains(disk)) return absl::OkStatus();
  View& view = *vm.view;
  View::Part& part = view.parts.at(disk);
  Vm::DiskFile& file = *vm.Find(disk);
  std::vector<std::byte> block(kBlock);
  for (uint64_t index = offset / kBlock; index <= (offset + length - 1) / kBlock; ++index) {
    if (part.preserved[index]) continue;
    const base::MutableBytes bytes(block.data(), std::min(kBlock, file.spec.capacity_bytes - index * kBlock));
    RETURN_IF_ERROR(file.file->ReadAt(index * kBlock, bytes));
    if (vm.faults.scratch_limit_bytes.has_value() &&
        view.scratch_bytes + bytes.size() > *vm.faults.scratch_limit_bytes) {
      ScratchFullLocked(vm);
      return NotRunning(vm.name);
    }
    absl::Status written = part.scratch->WriteAt(index * kBlock, bytes);
    if (base::ReasonOf(written) == "STORAGE_FULL") {
      ScratchFullLocked(vm);
      return NotRunning(vm.name);
    }
    RETURN_IF_ERROR(written);
    part.preserved[index] = true;
    view.scratch_bytes += bytes.size();
  }
  return absl::OkStatus();
}

// As QEMU does: the guest stands still until somebody decides.
void SimulatedHypervisor::ScratchFullLocked(Vm& vm) {
  vm.view->full = true;
  vm.state = VmState::kPaused;
  vm.paused_by_full_scratch = true;
}

absl::Status SimulatedHypervisor::ViewHealthLocked(const View& view) const {
  if (view.started)
    return base::Error(StatusCode::kAborted, "GUEST_STARTED", "the guest was started, and its view is lost");
  if (view.lost) return base::Error(StatusCode::kAborted, "GUEST_STOPPED", "the guest stopped, and its view is lost");
  if (view.full) {
    return base::Error(StatusCode::kResourceExhausted, "SCRATCH_FULL",
                       "the scratch folder {} is full; the guest is paused", view.scratch_folder);
  }
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::ReadView(Vm& vm, View& view, const std::string& disk, uint64_t offset,
                                           base::MutableBytes out) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(ViewHealthLocked(view));
  vm.view_bytes_read += out.size();
  if (!view.offline && vm.faults.dies_after_read_bytes.has_value() &&
      vm.view_bytes_read > *vm.faults.dies_after_read_bytes) {
    StopLocked(vm);
    return ViewHealthLocked(view);
  }
  View::Part& part = view.parts.at(disk);
  while (!out.empty()) {
    const uint64_t size = std::min<uint64_t>(out.size(), kBlock - offset % kBlock);
    base::File& source = part.preserved[offset / kBlock] ? *part.scratch : *vm.Find(disk)->file;
    RETURN_IF_ERROR(source.ReadAt(offset, out.subspan(0, size)));
    out = out.subspan(size);
    offset += size;
  }
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::EndView(Vm& vm, const std::shared_ptr<View>& view, int64_t agent_life) {
  absl::MutexLock lock(&mu_);
  if (agent_life != agent_life_) return absl::OkStatus();  // the agent that held it is dead
  if (vm.view == view) vm.view = nullptr;
  return RemoveViewLocked(vm, *view);
}

absl::Status SimulatedHypervisor::RemoveViewLocked(Vm& vm, const View& view) {
  if (view.offline) return absl::OkStatus();
  if (vm.paused_by_full_scratch) {
    vm.paused_by_full_scratch = false;
    vm.state = VmState::kRunning;
  }
  for (const auto& [disk, part] : view.parts) {
    RETURN_IF_ERROR(files_.Remove(fmt::format("{}/{}{}.scratch", view.scratch_folder, view.prefix, disk)));
  }
  return absl::OkStatus();
}

absl::StatusOr<CleanUpReport> SimulatedHypervisor::CleanUp(const std::string& uuid, const std::string& scratch_folder,
                                                           const std::string& owner_tag) {
  CleanUpReport report;
  const std::string prefix = ScratchPrefix(owner_tag, uuid);
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(CheckAnswersLocked());
  if (auto vm = FindLocked(uuid); vm.ok() && (*vm)->view != nullptr && (*vm)->view->prefix == prefix) {
    if ((*vm)->paused_by_full_scratch) report.actions.push_back("resumed the virtual machine");
    const std::shared_ptr<View> view = std::move((*vm)->view);
    (*vm)->view = nullptr;
    RETURN_IF_ERROR(RemoveViewLocked(**vm, *view));
    report.actions.push_back("ended a point in time");
  }
  ASSIGN_OR_RETURN(const bool exists, files_.Exists(scratch_folder));
  if (!exists) return report;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(scratch_folder));
  for (const std::string& name : names) {
    if (!name.starts_with(prefix)) continue;
    RETURN_IF_ERROR(files_.Remove(scratch_folder + "/" + name));
    report.actions.push_back("removed " + name);
  }
  return report;
}

// --- saved state ---

std::string SimulatedHypervisor::HandSavePathLocked(const Vm& vm) const {
  return fmt::format("{}/{}.save", folder_, vm.name);
}

absl::Status SimulatedHypervisor::WriteStateLocked(const Vm& vm, const std::string& path) {
  pugi::xml_document doc;
  pugi::xml_node root = doc.append_child("simulated-state");
  root.append_attribute("name") = vm.name.c_str();
  root.append_attribute("uuid") = vm.uuid.c_str();
  root.append_attribute("memory") = vm.memory.c_str();
  std::ostringstream text;
  doc.save(text, "  ");
  return files_.WriteFileAtomic(path, text.str());
}

absl::Status SimulatedHypervisor::ReadStateLocked(Vm& vm, const std::string& path) {
  ASSIGN_OR_RETURN(const std::string text, files_.ReadFile(path));
  pugi::xml_document doc;
  if (!doc.load_string(text.c_str()) || !doc.child("simulated-state")) {
    return base::Error(StatusCode::kDataLoss, "STATE_DAMAGED", "the saved state of '{}' is damaged", vm.name);
  }
  const pugi::xml_node root = doc.child("simulated-state");
  if (vm.uuid != root.attribute("uuid").value() || vm.name != root.attribute("name").value()) {
    return Invalid("the saved state is that of '{}'", root.attribute("name").value());
  }
  vm.memory = root.attribute("memory").value();
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::CheckCanSave(const std::string& uuid, const SaveOptions& options) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (!vm->on()) return NotRunning(vm->name);
  RETURN_IF_ERROR(CheckNoJobLocked(*vm));
  if (!vm->saveable) {
    return base::Error(StatusCode::kFailedPrecondition, "SAVED_STATE_UNSUPPORTED",
                       "the memory of '{}' can't be saved: a device is passed through", vm->name);
  }
  return files_.MakeDirectories(options.folder);
}

absl::StatusOr<SavedState> SimulatedHypervisor::SaveState(const std::string& uuid, const SaveOptions& options) {
  RETURN_IF_ERROR(CheckCanSave(uuid, options));
  SavedState saved;
  saved.path = fmt::format("{}/{}state", options.folder, ScratchPrefix(options.owner_tag, uuid));
  {
    absl::MutexLock lock(&mu_);
    ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
    if (!vm->on()) return NotRunning(vm->name);
    saved.was_running = vm->state == VmState::kRunning;
    saved.stopped_at = clock_.Monotonic();
    vm->state = VmState::kPaused;
  }
  base::CrashPoint("agent.save.suspended");
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  const bool never = false;
  clock_.AwaitFor(mu_, absl::Condition(&never), vm->faults.save_takes);
  absl::Status written = vm->on() ? WriteStateLocked(*vm, saved.path) : NotRunning(vm->name);
  if (vm->faults.save_fails)
    written = base::Error(StatusCode::kInternal, "HYPERVISOR_ERROR", "the memory was not saved");
  if (!written.ok()) {
    files_.Remove(saved.path).IgnoreError();
    if (saved.was_running && vm->on()) vm->state = VmState::kRunning;
    return written;
  }
  ASSIGN_OR_RETURN(const auto file, files_.Open(saved.path, base::OpenMode::kRead));
  ASSIGN_OR_RETURN(saved.size_bytes, file->Size());
  return saved;
}

absl::StatusOr<std::string> SimulatedHypervisor::ExistingState(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  return vm->state == VmState::kSaved ? HandSavePathLocked(*vm) : std::string();
}

absl::Status SimulatedHypervisor::StartFromState(const std::string& uuid, const std::string& state_path, bool paused) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (vm->on()) return base::Error(StatusCode::kAlreadyExists, "VM_EXISTS", "'{}' runs already", vm->name);
  RETURN_IF_ERROR(ReadStateLocked(*vm, state_path));
  RETURN_IF_ERROR(OpenDisksLocked(*vm));
  vm->state = paused ? VmState::kPaused : VmState::kRunning;
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::SyncGuestClock(const std::string& uuid, absl::Duration) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindForAgentLocked(uuid));
  if (vm->state != VmState::kRunning) return NotRunning(vm->name);
  if (!vm->faults.agent_silent) return absl::OkStatus();
  return base::Error(StatusCode::kFailedPrecondition, "GUEST_AGENT_NOT_RUNNING", "nobody answers in '{}'", vm->name);
}

// --- power ---

absl::Status SimulatedHypervisor::Pause(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (!vm->on()) return NotRunning(vm->name);
  vm->state = VmState::kPaused;
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::Resume(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (!vm->on()) return NotRunning(vm->name);
  if (vm->faults.resume_failures > 0) {
    --vm->faults.resume_failures;
    return base::Error(StatusCode::kUnavailable, "HYPERVISOR_UNAVAILABLE", "the resume was refused");
  }
  vm->state = VmState::kRunning;
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::OpenDisksLocked(Vm& vm) {
  for (Vm::DiskFile& disk : vm.disks) {
    if (disk.path.empty()) continue;
    auto file = files_.Open(disk.path, base::OpenMode::kReadWrite);
    if (!file.ok()) {
      return base::Error(StatusCode::kFailedPrecondition, "DISK_MISSING", "disk '{}' of '{}': {}", disk.spec.name,
                         vm.name, base::MessageOf(file.status()));
    }
    disk.file = *std::move(file);
  }
  if (const auto view = vm.offline_view.lock()) view->started = true;
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::Start(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (vm->state == VmState::kRunning) return absl::OkStatus();
  const bool boot = vm->state == VmState::kOff;
  const bool saved = vm->state == VmState::kSaved;
  if (saved) RETURN_IF_ERROR(ReadStateLocked(*vm, HandSavePathLocked(*vm)));
  RETURN_IF_ERROR(OpenDisksLocked(*vm));
  if (saved) RETURN_IF_ERROR(files_.Remove(HandSavePathLocked(*vm)));
  if (boot) {
    vm->memory.clear();
    ++vm->boots;
  }
  vm->state = VmState::kRunning;
  return absl::OkStatus();
}

absl::Status SimulatedHypervisor::PowerOff(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  ASSIGN_OR_RETURN(VmPtr vm, FindLocked(uuid));
  if (vm->on()) StopLocked(*vm);
  return absl::OkStatus();
}

void SimulatedHypervisor::StopLocked(Vm& vm) {
  vm.state = VmState::kOff;
  vm.frozen = vm.paused_by_full_scratch = false;
  vm.freeze_lands_at.reset();
  for (Vm::DiskFile& disk : vm.disks) disk.file.reset();
  if (vm.view != nullptr) vm.view->lost = true;
  vm.view = nullptr;  // the job dies with the guest; its scratch files stay
}

// --- restore ---

absl::Status SimulatedHypervisor::DeleteVm(const std::string& uuid) {
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(CheckAnswersLocked());
  auto it = vms_.find(uuid);
  if (it == vms_.end()) return absl::OkStatus();
  if (it->second->state == VmState::kSaved) RETURN_IF_ERROR(files_.Remove(HandSavePathLocked(*it->second)));
  StopLocked(*it->second);
  vms_.erase(it);
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<BlockWriter>> SimulatedHypervisor::CreateDisk(const NewDisk& disk) {
  if (disk.format != "raw" && disk.format != kStateFileFormat)
    return Invalid("simulated disks are raw, not '{}'", disk.format);
  return CreateImage(files_, disk);
}

absl::StatusOr<DefinedVm> SimulatedHypervisor::DefineVm(const DefineOptions& options) {
  pugi::xml_document doc;
  if (!doc.load_string(options.configuration.c_str()) || !doc.child("simulated-vm")) {
    return Invalid("this is no configuration of a simulated virtual machine");
  }
  const pugi::xml_node root = doc.child("simulated-vm");
  const bool is_new = !options.new_name.empty();
  auto vm = std::make_shared<Vm>();
  vm->uuid = is_new ? random_.Uuid() : root.attribute("uuid").value();
  vm->name = is_new ? options.new_name : root.attribute("name").value();
  vm->memory_bytes = root.attribute("memory").as_ullong();
  vm->guest_agent = root.attribute("agent").as_bool();
  DefinedVm defined{vm->uuid, vm->name, {}};
  for (const pugi::xml_node node : root.children("disk")) {
    const std::string name = node.attribute("name").value();
    const auto exclusion = static_cast<DiskExclusion>(node.attribute("exclusion").as_int());
    auto path =
        std::find_if(options.disk_paths.begin(), options.disk_paths.end(), [&](auto& p) { return p.first == name; });
    if (options.unchanged) {
      vm->disks.push_back({{name, node.attribute("capacity").as_ullong(), exclusion},
                           node.attribute("path").value(),
                           nullptr,
                           random_.Uuid()});
      continue;
    }
    const bool restored = path != options.disk_paths.end();
    if (!restored && exclusion != DiskExclusion::kRemovable) {
      defined.warnings.push_back({"DISK_LEFT_OUT", fmt::format("disk '{}' was not restored and is left out", name)});
      continue;
    }
    vm->disks.push_back({{name, node.attribute("capacity").as_ullong(), exclusion},
                         restored ? path->second : "",
                         nullptr,
                         random_.Uuid()});
  }
  DefineCheckpoints(options, options.configuration, *vm);
  absl::MutexLock lock(&mu_);
  RETURN_IF_ERROR(CheckAnswersLocked());
  for (const auto& [uuid, other] : vms_) {
    if (uuid == vm->uuid || other->name == vm->name) {
      return base::Error(StatusCode::kAlreadyExists, "VM_EXISTS", "there is a virtual machine '{}' ({})", other->name,
                         uuid);
    }
  }
  for (const pugi::xml_node node : root.children("adapter")) {
    NetworkAdapter adapter{is_new ? NewMac(random_) : node.attribute("mac").value(), node.attribute("network").value()};
    if (!options.unchanged && !adapter.network.empty() && !networks_.contains(adapter.network)) {
      defined.warnings.push_back(
          {"ADAPTER_DISCONNECTED",
           fmt::format("adapter {} is left disconnected: there is no network '{}'", adapter.mac, adapter.network)});
      adapter.network.clear();
    }
    vm->adapters.push_back(std::move(adapter));
  }
  vms_[vm->uuid] = vm;
  return defined;
}

// Those whose content is there still.
void SimulatedHypervisor::DefineCheckpoints(const DefineOptions& options, const std::string& configuration, Vm& vm) {
  pugi::xml_document doc;
  if (!options.new_name.empty() || !doc.load_string(configuration.c_str())) return;
  std::map<std::string, std::string> stands_for;  // name -> itself, or its nearest ancestor that is kept
  for (const pugi::xml_node node : doc.child("simulated-vm").children("checkpoint")) {
    Vm::Checkpoint checkpoint;
    checkpoint.own.name = node.attribute("name").value();
    checkpoint.own.parent = stands_for[node.attribute("parent").value()];
    checkpoint.own.kind = static_cast<CheckpointKind>(node.attribute("kind").as_int());
    checkpoint.own.current = node.attribute("current").as_bool();
    checkpoint.own.create_time = absl::FromUnixSeconds(node.attribute("created").as_llong());
    bool there = options.unchanged || checkpoint.own.kind == CheckpointKind::kExternal;
    for (const pugi::xml_node file : node.children("file")) {
      checkpoint.files.emplace_back(file.attribute("path").value());
      there = there && files_.Exists(checkpoint.files.back()).value_or(false);
    }
    stands_for[checkpoint.own.name] = there ? checkpoint.own.name : checkpoint.own.parent;
    if (there) vm.checkpoints.push_back(std::move(checkpoint));
  }
}

std::string SimulatedHypervisor::DefaultFolder() {
  return folder_;
}

}  // namespace umbra::hypervisor
