#include "tests/sim/guests.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "storage/base/status.h"

namespace umbra::sim {

using hypervisor::VmState;

Guests::Guests(RunContext& run, hypervisor::SimulatedHypervisor& hypervisor, base::Filesystem& files, const Plan& plan,
               std::string_view prefix)
    : run_(run), hypervisor_(hypervisor), files_(files), plan_(plan), dice_(run.dice.Split("guests")) {
  for (size_t i = 0; i < plan.vms.size(); ++i) {
    Guest guest;
    guest.plan = plan.vms[i];
    guest.name = fmt::format("{}{}", prefix, i);
    hypervisor::SimulatedVmSpec spec;
    spec.name = guest.name;
    spec.disks = guest.plan.disks;
    spec.guest_agent = guest.plan.guest_agent;
    const auto uuid = hypervisor.CreateVm(spec);
    UMBRA_CHECK(uuid.ok());
    guest.uuid = *uuid;
    for (const hypervisor::SimulatedDisk& disk : guest.plan.disks) {
      if (disk.exclusion == hypervisor::DiskExclusion::kNone)
        guest.disks[disk.name] = std::string(disk.capacity_bytes, '\0');
    }
    guests_.push_back(std::move(guest));
  }
  for (Guest& guest : guests_) {
    for (int i = 0; i < 4; ++i) Write(guest);
    if (guest.plan.paused) UMBRA_CHECK(hypervisor.Pause(guest.uuid).ok());
    if (!guest.plan.running) UMBRA_CHECK(hypervisor.PowerOff(guest.uuid).ok());
    guest.expected = !guest.plan.running ? VmState::kOff : guest.plan.paused ? VmState::kPaused : VmState::kRunning;
    guest.faults = guest.plan.faults;
    hypervisor.SetFaults(guest.uuid, guest.faults);
  }
}

Guests::~Guests() = default;

Guests::Guest& Guests::Find(const std::string& uuid) {
  const auto found = std::find_if(guests_.begin(), guests_.end(), [&](const Guest& g) { return g.uuid == uuid; });
  UMBRA_CHECK(found != guests_.end());
  return *found;
}

void Guests::Start() {
  for (Guest& guest : guests_) {
    programs_.push_back(run_.scheduler.Start([this, &guest] { Program(guest); }));
  }
}

void Guests::Stop() {
  stop_ = true;
  programs_.clear();
}

void Guests::Calm() {
  calm_ = true;
  for (Guest& guest : guests_) {
    guest.faults = {};
    hypervisor_.SetFaults(guest.uuid, guest.faults);
    guest.answers_again_at = absl::InfiniteDuration();
  }
}

bool Guests::IsFrozen(const std::string& uuid) {
  Watch(Find(uuid));
  return Find(uuid).frozen_since.has_value();
}

void Guests::Program(Guest& guest) {
  const auto woken = [this, &guest] { return stop_ || guest.wake; };
  while (!stop_) {
    guest.wake = false;
    // From a fifth of a millisecond to five seconds, each magnitude as often.
    const absl::Duration pause =
        absl::Microseconds(200) * std::exp(static_cast<double>(dice_.Below(1000)) / 1000.0 * std::log(25000.0));
    absl::Duration until = run_.scheduler.Monotonic() + pause * guest.pause_factor;
    if (!calm_) until = std::min(until, std::max(run_.scheduler.Monotonic(), NextEvent(guest) + kStart));
    run_.scheduler.Wait(woken, until);
    if (stop_) return;
    if (!calm_) Events(guest);
    guest.pause_factor = std::min(guest.pause_factor * 2, 256);
    Burst(guest);
  }
}

absl::Duration Guests::NextEvent(const Guest& guest) const {
  return std::min({guest.plan.silent_at, guest.plan.killed_at, guest.answers_again_at - kStart});
}

void Guests::Events(Guest& guest) {
  const absl::Duration now = run_.scheduler.Monotonic();
  const absl::Duration since_start = now - kStart;
  if (since_start >= guest.plan.killed_at) {
    guest.plan.killed_at = absl::InfiniteDuration();
    if (guest.restoring.has_value()) return;  // it is being replaced: there is nothing to kill
    run_.Trace("{} is killed", guest.name);
    run_.probes.Hit("guest: killed");
    Watch(guest);
    hypervisor_.KillGuest(guest.uuid);
    guest.expected = VmState::kOff;
    guest.frozen_since.reset();
  }
  if (since_start >= guest.plan.silent_at) {
    guest.plan.silent_at = absl::InfiniteDuration();
    FallSilent(guest);
  }
  if (now >= guest.answers_again_at) {
    guest.answers_again_at = absl::InfiniteDuration();
    guest.faults.agent_silent = false;
    hypervisor_.SetFaults(guest.uuid, guest.faults);
    run_.Trace("{}'s agent answers again", guest.name);
  }
}

void Guests::FallSilent(Guest& guest) {
  guest.faults.agent_silent = true;
  guest.faults.thaw_failures = 0;
  hypervisor_.SetFaults(guest.uuid, guest.faults);
  guest.answers_again_at = run_.scheduler.Monotonic() + guest.plan.silent_for;
  guest.wake = true;  // its program looks when to answer again
  run_.Trace("{}'s agent falls silent", guest.name);
  Watch(guest);
  if (guest.frozen_since.has_value()) run_.probes.Hit("guest: agent fell silent while frozen");
}

void Guests::Burst(Guest& guest) {
  for (uint64_t i = dice_.Below(3); i > 0; --i) Write(guest);
}

void Guests::Write(Guest& guest) {
  SettleRestore(guest.uuid, false);  // before the first write to what a restore put there
  auto disk = guest.disks.begin();
  std::advance(disk, dice_.Below(guest.disks.size()));
  std::string& bytes = disk->second;
  const uint64_t length = std::min<uint64_t>(dice_.Chance(0.1) ? 70000 : 1 + dice_.Below(2000), bytes.size());
  const uint64_t offset = dice_.Below(bytes.size() - length + 1);
  const std::string data(length, static_cast<char>('a' + dice_.Below(26)));
  const absl::Status written =
      hypervisor_.GuestWrite(guest.uuid, disk->first, offset, std::as_bytes(std::span(data.data(), data.size())));
  Watch(guest);
  if (!written.ok()) return;
  bytes.replace(offset, length, data);
}

absl::Duration Guests::FrozenLimit(const Guest& guest) const {
  const VmPlan& plan = guest.plan;
  // Freeze's answer, cut, thaw.
  absl::Duration limit = 3 * plan_.slowest_call + absl::Milliseconds(100);
  // A thaw that isn't answered is tried again after at most two seconds, a late freeze is met by such a try.
  if (plan.faults.thaw_failures > 0) limit += absl::Seconds(12) + 6 * plan_.slowest_call;
  if (plan.faults.freeze_delay > absl::Seconds(9)) limit += absl::Seconds(10);
  // What healing takes: its period, one round over the other machines and its own tries.
  const absl::Duration healing = absl::Seconds(30) + absl::Minutes(2) + 20 * plan_.slowest_call;
  if (plan.faults.freeze_delay > absl::Seconds(100)) limit += healing;
  if (plan.silent_for > absl::ZeroDuration()) limit += plan.silent_for + absl::Seconds(10) + healing;
  if (plan_.outage.call_count > 0) limit += healing;
  for (const Death& death : plan_.deaths) limit += death.downtime + healing;
  return limit;
}

void Guests::Watch(Guest& guest) {
  const bool frozen = hypervisor_.IsFrozen(guest.uuid);
  const absl::Duration now = run_.scheduler.Monotonic();
  if (frozen && !guest.frozen_since.has_value()) guest.frozen_since = now;
  if (frozen || !guest.frozen_since.has_value()) return;
  const absl::Duration frozen_for = now - *guest.frozen_since;
  guest.frozen_since.reset();
  if (frozen_for > FrozenLimit(guest)) {
    run_.Violate("{} was frozen for {}, more than {}", guest.name, absl::FormatDuration(frozen_for),
                 absl::FormatDuration(FrozenLimit(guest)));
  }
}

void Guests::BeginRestore(const std::string& uuid, const Disks& disks) {
  Find(uuid).restoring = disks;
}

std::optional<Guests::Disks> Guests::OnDisk(const std::string& uuid) {
  const auto vm = hypervisor_.GetVm(uuid);
  if (!vm.ok()) return std::nullopt;
  Disks disks;
  for (const hypervisor::Disk& disk : vm->disks) {
    if (disk.exclusion != hypervisor::DiskExclusion::kNone) continue;
    disks[disk.name] = files_.ReadFile(disk.path).value_or("unreadable");
  }
  return disks;
}

void Guests::SettleRestore(const std::string& uuid, bool finished) {
  Guest& guest = Find(uuid);
  if (!guest.restoring.has_value()) return;
  const std::optional<Disks> disks = OnDisk(uuid);
  if (!disks.has_value()) {
    if (finished) run_.Violate("{} is gone after a restore", guest.name);
    return;
  }
  const VmState state = hypervisor_.GetVm(uuid)->state;
  // When nothing was written since the backup the content tells nothing; the state does: healing starts nobody who didn't run.
  const bool same = *guest.restoring == guest.disks;
  const bool started = state == VmState::kRunning && guest.expected != VmState::kRunning;
  if (same && !finished && !started) return;
  const bool old = *disks == guest.disks && !(same && state != guest.expected);
  if (old && state == guest.expected && !finished) return;  // perhaps it was never touched, and will be
  if (!old && *disks != *guest.restoring) {
    run_.Violate("{}'s disks are neither those of the recovery point nor those from before its restore", guest.name);
  }
  run_.probes.Hit(old ? "restore: undone, or never begun" : "restore: the disks are those of the point");
  if (!finished && old) return;
  if (!old) {
    guest.disks = *disks;
    guest.expected = guest.plan.clustered ? VmState::kRunning : state;  // off, or started by the restore
  } else if (guest.expected == VmState::kPaused && state == VmState::kOff) {
    guest.expected = VmState::kOff;  // its memory went with the machine
  }
  if (old && guest.expected == VmState::kRunning && guest.plan.faults.dies_after_read_bytes.has_value())
    guest.expected = state;
  guest.restoring.reset();
}

void Guests::EndRestore(const std::string& uuid) {
  Guest& guest = Find(uuid);
  guest.restoring.reset();
  const std::optional<Disks> disks = OnDisk(uuid);
  if (!disks.has_value()) return run_.Violate("{} is gone after a restore", guest.name);
  guest.disks = *disks;
  guest.expected = guest.plan.clustered ? VmState::kRunning : hypervisor_.GetVm(uuid)->state;
}

void Guests::PowerCut() {
  for (Guest& guest : guests_) {
    Watch(guest);
    hypervisor_.KillGuest(guest.uuid);
    guest.expected = VmState::kOff;
    guest.frozen_since.reset();
  }
}

void Guests::TakeWhatIsOnDisk() {
  for (Guest& guest : guests_) {
    for (auto& [name, bytes] : guest.disks) {
      const size_t size = bytes.size();
      const std::optional<Disks> disks = OnDisk(guest.uuid);
      if (disks.has_value() && disks->contains(name)) bytes = disks->at(name);
      bytes.resize(size, '\0');
    }
  }
}

void Guests::NoteCall(const std::string& uuid) {
  Guest& guest = Find(uuid);
  guest.pause_factor = 1;
  Watch(guest);
  Burst(guest);
}

void Guests::NoteFrozen(const std::string& uuid) {
  Guest& guest = Find(uuid);
  guest.pause_factor = 1;
  Watch(guest);
  if (guest.faults.freeze_delay > absl::ZeroDuration()) run_.probes.Hit("guest: freeze slow, but in time");
  if (guest.plan.silent_when_frozen && !calm_) {
    guest.plan.silent_when_frozen = false;
    FallSilent(guest);
  }
  Burst(guest);
}

void Guests::NoteThawed(const std::string& uuid, int count) {
  Guest& guest = Find(uuid);
  guest.pause_factor = 1;
  run_.Trace("{} thawed {}", guest.name, count);
  if (count > 0 && guest.plan.faults.freeze_delay > absl::Seconds(131)) {
    run_.probes.Hit("guest: freeze landed after nobody tried to thaw any more");
  }
  Watch(guest);
  Burst(guest);
}

void Guests::NoteCut(const std::string& uuid) {
  Guest& guest = Find(uuid);
  guest.pause_factor = 1;
  Watch(guest);
  SettleRestore(uuid, false);
  guest.cut = Cut{guest.disks, guest.frozen_since.has_value(), run_.scheduler.Now()};
  run_.Trace("{} cut frozen={}", guest.name, guest.cut->frozen);
  Burst(guest);
}

}  // namespace umbra::sim
