#include "tests/sim/guests.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "storage/base/status.h"

namespace umbra::sim {

using hypervisor::VmState;

Guests::Guests(RunContext& run, hypervisor::SimulatedHypervisor& hypervisor, const Plan& plan)
    : run_(run), hypervisor_(hypervisor), plan_(plan), dice_(run.dice.Split("guests")) {
  for (size_t i = 0; i < plan.vms.size(); ++i) {
    Guest guest;
    guest.plan = plan.vms[i];
    guest.name = fmt::format("vm{}", i);
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
  guest.cut = Cut{guest.disks, guest.frozen_since.has_value(), run_.scheduler.Now()};
  run_.Trace("{} cut frozen={}", guest.name, guest.cut->frozen);
  Burst(guest);
}

}  // namespace umbra::sim
