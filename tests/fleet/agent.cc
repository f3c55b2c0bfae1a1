#include "tests/fleet/agent.h"

#include <fmt/format.h>

#include <utility>

#include "agent/link/rpc.h"
#include "tests/fleet/backup.h"
#include "tests/fleet/link_stream.h"

namespace umbra::fleet {
namespace {

// A stream that brings no Welcome is given up on, as ControlLinkOptions says.
const absl::Duration kConnectTimeout = link::ControlLinkOptions{}.connect_timeout;

Step AnyStep(base::Random& random) {
  return static_cast<Step>(static_cast<int>(random.Fraction() * static_cast<double>(Step::kDone)));
}

}  // namespace

std::string VmUuid(int agent, int vm) {
  return fmt::format("{:08x}-{:04x}-4000-8000-{:012x}", agent + 1, vm + 1, 0);
}

Agent::Agent(const World& world, int number, link::Identity identity)
    : world_(world),
      number_(number),
      identity_(std::move(identity)),
      slow_(number < world.options.slow * world.options.agents),
      backoff_(world.random, {}) {}

void Agent::Start() {
  {
    absl::MutexLock lock(&mu_);
    if (alive_) return;
    alive_ = true;
    process_id_ = world_.random.Uuid();
    backoff_.Reset();
  }
  Connect();
}

void Agent::Die(absl::Duration down) {
  std::map<link::AssignmentKey, std::shared_ptr<Backup>> backups;
  std::vector<std::shared_ptr<grpc::Channel>> channels;  // closed without the lock
  {
    absl::MutexLock lock(&mu_);
    if (!alive_) return;
    alive_ = false;
    backups.swap(backups_);
    results_.clear();
    channels.swap(free_channels_);
    if (stream_ != nullptr) stream_->Cancel();
  }
  world_.tally.working -= static_cast<int64_t>(backups.size());
  for (const auto& [key, backup] : backups) backup->Stop();
  if (down == absl::InfiniteDuration()) return;
  world_.timers.After(down * (0.5 + world_.random.Fraction()), [this] { Start(); });
}

void Agent::Stop() {
  Die(absl::InfiniteDuration());
}

void Agent::CutLink() {
  absl::MutexLock lock(&mu_);
  if (stream_ != nullptr) stream_->Cancel();
}

// ---- The stream ----

agent::v1::AgentMessage Agent::HelloLocked() {
  agent::v1::AgentMessage message;
  agent::v1::Hello& hello = *message.mutable_hello();
  hello.set_agent_version(UMBRA_VERSION);
  hello.set_host_name(fmt::format("fleet-{:05}", number_));
  hello.set_hypervisor("simulated fleet");
  hello.set_process_id(process_id_);
  hello.set_machine_id(fmt::format("machine-{:05}", number_));
  hello.set_boot_id(fmt::format("boot-{:05}", number_));
  for (const auto& [key, backup] : backups_) *hello.add_running() = backup->assignment().id();
  for (const auto& [key, result] : results_) *hello.add_running() = result.id();
  return message;
}

void Agent::Connect() {
  const std::shared_ptr<grpc::Channel> channel = link::MakeChannel(identity_, identity_.daemon_address);
  int64_t number = 0;
  {
    absl::MutexLock lock(&mu_);
    if (!alive_ || stream_ != nullptr) return;  // the end of that one brings the next
    ++world_.tally.attempts;
    number = ++stream_number_;
    stream_ = LinkStream::Open(*this, channel, HelloLocked());
  }
  world_.timers.After(kConnectTimeout, [this, number] {
    absl::MutexLock lock(&mu_);
    if (stream_number_ == number && stream_ != nullptr && !welcomed_) stream_->Cancel();
  });
}

void Agent::OnStreamEnded(const LinkStream* stream, const std::string& why) {
  absl::Duration wait;
  {
    absl::MutexLock lock(&mu_);
    if (stream_.get() != stream) return;
    stream_.reset();
    if (std::exchange(welcomed_, false)) --world_.tally.connected;
    if (!alive_) return;
    wait = backoff_.Next();
  }
  world_.tally.Failed("link: " + why);
  world_.timers.After(wait, [this] { Connect(); });
}

void Agent::OnMessage(const LinkStream* stream, const agent::v1::DaemonMessage& message) {
  {
    absl::MutexLock lock(&mu_);
    if (stream_.get() != stream || !alive_) return;
  }
  switch (message.message_case()) {
    case agent::v1::DaemonMessage::kWelcome:
      return OnWelcome(message.welcome());
    case agent::v1::DaemonMessage::kAssignment:
      return OnAssignment(message.assignment());
    case agent::v1::DaemonMessage::kCancel:
      return OnCancel(message.cancel().id());
    case agent::v1::DaemonMessage::kResultAcknowledged: {
      absl::MutexLock lock(&mu_);
      world_.tally.acknowledged +=
          static_cast<int64_t>(results_.erase(link::AssignmentKey::Of(message.result_acknowledged().id())));
      return;
    }
    case agent::v1::DaemonMessage::kRefreshInventory:
      return Say(Inventory());
    default:
      return;
  }
}

void Agent::OnWelcome(const agent::v1::Welcome& welcome) {
  absl::MutexLock lock(&mu_);
  if (stream_ == nullptr || welcomed_) return;
  welcomed_ = true;
  backoff_.Reset();
  ++world_.tally.connected;
  ++world_.tally.welcomes;
  heartbeat_ =
      absl::Seconds(welcome.heartbeat_interval().seconds()) + absl::Nanoseconds(welcome.heartbeat_interval().nanos());
  stream_->Send(Inventory());
  for (const auto& [key, result] : results_) {
    agent::v1::AgentMessage message;
    *message.mutable_result() = result;
    stream_->Send(std::move(message));
  }
  spoke_ = true;
  world_.timers.After(heartbeat_, [this, number = stream_number_] { Beat(number); });
}

void Agent::Beat(int64_t stream_number) {
  absl::MutexLock lock(&mu_);
  if (stream_number_ != stream_number || stream_ == nullptr || !welcomed_) return;
  if (!std::exchange(spoke_, false)) {
    agent::v1::AgentMessage message;
    message.mutable_heartbeat();
    stream_->Send(std::move(message));
  }
  world_.timers.After(heartbeat_, [this, stream_number] { Beat(stream_number); });
}

void Agent::Say(agent::v1::AgentMessage message) {
  absl::MutexLock lock(&mu_);
  if (stream_ == nullptr || !welcomed_) return;  // news that Hello makes good for, and results that are kept
  spoke_ = true;
  stream_->Send(std::move(message));
}

agent::v1::AgentMessage Agent::Inventory() const {
  agent::v1::AgentMessage message;
  agent::v1::Inventory& inventory = *message.mutable_inventory();
  for (int i = 0; i < world_.options.vms; ++i) {
    umbra::v1::VirtualMachine& vm = *inventory.add_virtual_machines();
    vm.set_name(VmUuid(number_, i));
    vm.set_uuid(VmUuid(number_, i));
    vm.set_display_name(fmt::format("vm-{:05}-{:03}", number_, i));
    vm.set_state(umbra::v1::VIRTUAL_MACHINE_STATE_RUNNING);
    vm.set_memory_bytes(int64_t{4} << 30);
    vm.set_mechanism(umbra::v1::BACKUP_MECHANISM_CHILD_SNAPSHOT);
    umbra::v1::VirtualDisk& disk = *vm.add_disks();
    disk.set_name("vda");
    disk.set_path("/simulated/" + vm.uuid());
    disk.set_format("qcow2");
    disk.set_capacity_bytes(world_.options.disk_bytes);
    disk.set_allocated_bytes(world_.options.disk_bytes);
  }
  umbra::v1::Writer& writer = *inventory.add_writers();
  writer.set_name("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  writer.set_writer_id(writer.name());
  writer.set_display_name("Microsoft Hyper-V VSS Writer");
  writer.set_state("STABLE");
  writer.set_component_count(world_.options.vms);
  return message;
}

// ---- Work ----

void Agent::OnAssignment(const agent::v1::Assignment& assignment) {
  if (!assignment.has_backup()) return world_.tally.Failed("assignment that is no backup");
  const Options& options = world_.options;
  const link::AssignmentKey key = link::AssignmentKey::Of(assignment.id());
  std::shared_ptr<Backup> backup;
  {
    absl::MutexLock lock(&mu_);
    if (!alive_ || stream_ == nullptr || backups_.contains(key) || results_.contains(key)) return;
    std::set<std::string> busy;
    for (const auto& [other, b] : backups_) {
      busy.insert(b->assignment().backup().virtual_machines().begin(),
                  b->assignment().backup().virtual_machines().end());
    }
    for (const std::string& vm : assignment.backup().virtual_machines())
      world_.tally.overlaps += busy.contains(vm) ? 1 : 0;
    auto channel = DataChannelLocked();
    const Step dies = world_.random.Fraction() < options.die ? AnyStep(world_.random) : Step::kDone;
    const Step cuts = world_.random.Fraction() < options.cut ? AnyStep(world_.random) : Step::kDone;
    backup = std::make_shared<Backup>(*this, assignment, std::move(channel), dies, cuts);
    backups_[key] = backup;
  }
  ++world_.tally.assignments;
  ++world_.tally.working;
  backup->Start();
}

std::shared_ptr<grpc::Channel> Agent::DataChannelLocked() {
  if (!world_.options.data_connections) return stream_->channel();
  if (free_channels_.empty()) return link::MakeDataChannel(identity_, identity_.daemon_address);
  std::shared_ptr<grpc::Channel> channel = std::move(free_channels_.back());
  free_channels_.pop_back();
  return channel;
}

void Agent::OnCancel(const agent::v1::AssignmentId& id) {
  std::shared_ptr<Backup> backup;
  {
    absl::MutexLock lock(&mu_);
    const auto it = backups_.find(link::AssignmentKey::Of(id));
    if (it == backups_.end()) return;  // its result is said already
    backup = it->second;
  }
  ++world_.tally.cancelled;
  backup->Stop();
  agent::v1::AssignmentResult result;
  *result.mutable_id() = id;
  result.set_outcome(agent::v1::AssignmentResult::OUTCOME_CANCELLED);
  Ended(backup.get(), std::move(result));
}

void Agent::Ended(const Backup* backup, agent::v1::AssignmentResult result) {
  std::shared_ptr<Backup> ended;  // outlives the lock: it may own the last of a channel
  absl::MutexLock lock(&mu_);
  const auto it = backups_.find(link::AssignmentKey::Of(result.id()));
  if (it == backups_.end() || it->second.get() != backup) return;
  ended = std::move(it->second);
  backups_.erase(it);
  --world_.tally.working;
  if (world_.options.data_connections) free_channels_.push_back(ended->channel());
  results_[link::AssignmentKey::Of(result.id())] = result;
  if (stream_ == nullptr || !welcomed_) return;
  spoke_ = true;
  agent::v1::AgentMessage message;
  *message.mutable_result() = std::move(result);
  stream_->Send(std::move(message));
}

}  // namespace umbra::fleet
