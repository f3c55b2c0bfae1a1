#include "tests/sim/fleet/world.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "storage/base/crash_point.h"
#include "storage/base/status.h"
#include "storage/sqlite/database.h"
#include "tests/sim/fleet/agent.h"
#include "tests/sim/fleet/audit.h"
#include "tests/sim/fleet/daemon.h"

namespace umbra::sim::fleet {
namespace {

// Longer than leases, retries and their waits take when nothing goes wrong any more.
constexpr absl::Duration kPatience = absl::Hours(3);
constexpr absl::Duration kLook = absl::Seconds(10);

class FleetWorld {
 public:
  FleetWorld(uint64_t seed, bool verbose, Flaw flaw);
  ~FleetWorld() { base::ObserveCrashPoints(nullptr); }
  FleetResult Run();

 private:
  // What the network sees of whichever daemon lives.
  class DaemonPort final : public Port {
   public:
    explicit DaemonPort(FleetWorld& world) : world_(world) {}
    bool Listening() const override { return world_.daemon_ != nullptr && world_.daemon_->Listening(); }
    void Accept(std::shared_ptr<Pipe> pipe) override { world_.daemon_->Accept(std::move(pipe)); }

   private:
    FleetWorld& world_;
  };

  // A host, and whoever lives on it.
  struct Seat {
    std::unique_ptr<AgentHost> host;
    std::unique_ptr<FleetAgent> agent;
    absl::Duration downtime = absl::Seconds(5);
    std::unique_ptr<base::Thread> keeper;
  };

  void Enrol();
  void KeepDaemon();
  void KeepAgent(Seat& seat);
  void WatchDaemon();
  // As the daemon's machine shows it.
  absl::Time Wall() { return run_.scheduler.Now() + machine_.wall_ahead; }

  void MakePolicies();
  catalog::Policy PolicyOf(const PolicyPlan& plan, size_t number);
  void PausePolicies();

  void Trouble();
  void Begin(const Nuisance& nuisance);
  void StepClock(absl::Duration by);
  void Calm();

  void People();
  void Grant(const Wish& wish, size_t number);
  void Restore(const catalog::RecoveryPoint& point, int host, const std::string& name, bool must_work);
  void CheckRestored(const catalog::Job& job, int host, const std::string& name, bool must_work);

  // Waits while `look`, asked with a daemon that serves, is false.
  bool AwaitDaemon(absl::Duration patience, const std::function<bool(Daemon&)>& look);
  bool NoJobsLeft(Daemon& daemon);
  std::optional<catalog::Job> AwaitEnd(const catalog::JobId& id);
  void LastWork();
  void TakeAway(AgentHost& host, const hypervisor::VmInfo& vm);
  void CheckHosts();
  void CheckHost(Seat& seat);
  void CheckAfterPowerCut();
  void LoseEvent();

  const Flaw flaw_;
  RunContext run_;
  const FleetPlan plan_;
  Dice dice_;
  std::map<std::string, int64_t> reached_;
  CommittedCuts committed_;
  Audit audit_;
  std::vector<std::unique_ptr<Line>> lines_;
  DaemonMachine machine_;
  DaemonPort port_;
  std::vector<Seat> seats_;
  std::unique_ptr<Daemon> daemon_;
  std::unique_ptr<base::Thread> daemon_keeper_;
  absl::Duration daemon_downtime_ = absl::Seconds(5);
  std::optional<DaemonDeath> next_death_;                   // of the next life
  std::map<std::string, catalog::RecoveryPoint> restores_;  // by the name of the machine
  bool broken_ = false;                                     // the daemon doesn't start any more
  bool calm_ = false;
  bool stop_agents_ = false;
  bool stop_ = false;
};

FleetWorld::FleetWorld(uint64_t seed, bool verbose, Flaw flaw)
    : flaw_(flaw),
      run_(seed, verbose),
      plan_(MakeFleetPlan(run_.dice.Split("plan"))),
      dice_(run_.dice.Split("world")),
      audit_(run_, committed_, reached_),
      machine_{run_, lines_, flaw, run_.dice.Split("daemon")},
      port_(*this) {
  for (size_t i = 0; i < plan_.hosts.size(); ++i) lines_.push_back(std::make_unique<Line>(run_, static_cast<int>(i)));
  for (size_t i = 0; i < plan_.hosts.size(); ++i) {
    Seat seat;
    seat.host = std::make_unique<AgentHost>(
        run_, plan_.hosts[i], static_cast<int>(i), *lines_[i], port_, [this] { return daemon_.get(); }, committed_,
        flaw);
    seats_.push_back(std::move(seat));
  }
  base::ObserveCrashPoints([this](std::string_view name) {
    if (daemon_ != nullptr && !name.starts_with("agent.")) daemon_->Step(name);
  });
}

FleetResult FleetWorld::Run() {
  run_.Trace("plan: {}", plan_.Describe());
  Enrol();
  for (Seat& seat : seats_) seat.host->guests.Start();
  daemon_keeper_ = run_.scheduler.Start([this] { KeepDaemon(); });
  for (Seat& seat : seats_) seat.keeper = run_.scheduler.Start([this, &seat] { KeepAgent(seat); });
  MakePolicies();
  {
    const auto trouble = run_.scheduler.Start([this] { Trouble(); });
    const auto people = run_.scheduler.Start([this] { People(); });
    const auto watch = run_.scheduler.Start([this] { WatchDaemon(); });
    run_.Sleep(plan_.length);
    calm_ = true;
  }
  Calm();
  LastWork();
  CheckHosts();
  stop_agents_ = true;
  for (Seat& seat : seats_) seat.keeper.reset();
  CheckAfterPowerCut();
  stop_ = true;
  daemon_keeper_.reset();
  for (Seat& seat : seats_) seat.host->guests.Stop();
  return {0, plan_.Describe(), run_.violations, run_.fingerprint, run_.scheduler.step_count(), reached_};
}

// ---- Processes ----

void FleetWorld::Enrol() {
  base::PosixFilesystem files;
  UMBRA_CHECK(files.MakeDirectories(base::DirectoryOf(machine_.CatalogPath(0))).ok());
  const auto catalog = catalog::Catalog::Open(files, machine_.CatalogPath(0));
  UMBRA_CHECK(catalog.ok());
  const absl::Status written = (*catalog)->Write([&](catalog::Stores& stores) -> absl::Status {
    for (size_t i = 0; i < seats_.size(); ++i) {
      catalog::Host host;
      host.id = catalog::HostId(fmt::format("h{}", i));
      host.display_name = host.id.value;
      host.certificate_fingerprint = fmt::format("fingerprint of {}", i);
      host.create_time = host.last_seen_time = run_.scheduler.Now();
      RETURN_IF_ERROR(stores.hosts.Insert(host));
    }
    return absl::OkStatus();
  });
  UMBRA_CHECK(written.ok());
}

void FleetWorld::KeepDaemon() {
  while (!stop_) {
    daemon_ = std::make_unique<Daemon>(machine_, [this] {
      if (daemon_ != nullptr) audit_.CheckWorking(*daemon_);
    });
    daemon_->Arm(std::exchange(next_death_, std::nullopt));
    run_.Trace("the daemon starts, life {}", daemon_->life());
    const absl::Status started = daemon_->Start();
    if (started.ok() && daemon_->serving()) {
      audit_.Serving(Wall());
      run_.scheduler.Wait([this] { return stop_ || daemon_->dead(); }, absl::InfiniteDuration());
      audit_.NotServing(Wall());
    } else if (!daemon_->dead()) {
      run_.Trace("the daemon doesn't start: {}", base::Describe(started));
      ++reached_["the daemon did not start"];
      if (!machine_.disk_full) {
        run_.Violate("the daemon doesn't start: {}", base::Describe(started));
        broken_ = true;
      }
    } else {
      ++reached_["the daemon died while it started"];
    }
    const bool died = daemon_->dead();
    // From here on nobody reaches it, also those who have to wait for it to be gone.
    std::unique_ptr<Daemon> gone = std::move(daemon_);
    gone.reset();
    if (broken_) return;
    if (died && flaw_ == Flaw::kEventLost) LoseEvent();
    if (died) ++reached_["the daemon died"];
    if (died && !calm_ && dice_.Chance(0.3)) next_death_ = DaemonDeath{"", dice_.Between(1, 60), false};
    const absl::Duration back = run_.scheduler.Monotonic() + std::exchange(daemon_downtime_, absl::Seconds(5));
    if (!stop_) run_.scheduler.Wait([this] { return stop_; }, back);
  }
}

void FleetWorld::LoseEvent() {
  const auto database = sqlite::Database::Open(machine_.CatalogPath(machine_.life_count), {});
  UMBRA_CHECK(database.ok());
  const absl::Status lost =
      (*database)->Execute("DELETE FROM event WHERE sequence = (SELECT max(sequence) FROM event) - 1");
  UMBRA_CHECK(lost.ok());
}

void FleetWorld::KeepAgent(Seat& seat) {
  std::optional<Death> next;
  while (!stop_agents_) {
    seat.agent = std::make_unique<FleetAgent>(*seat.host);
    seat.agent->Arm(calm_ ? std::nullopt : std::exchange(next, std::nullopt));
    run_.Trace("agent h{} starts", seat.host->number);
    const absl::Status started = seat.agent->Start();
    if (!started.ok() && !seat.agent->dead()) run_.Violate("an agent doesn't start: {}", base::Describe(started));
    run_.scheduler.Wait([&] { return stop_agents_ || seat.agent->dead(); }, absl::InfiniteDuration());
    const bool died = seat.agent->dead();
    std::unique_ptr<FleetAgent> gone = std::move(seat.agent);
    gone.reset();
    if (!died) continue;
    ++reached_["an agent died"];
    if (!calm_ && dice_.Chance(0.3)) next = Death{.countdown = static_cast<int>(dice_.Between(1, 10))};
    const absl::Duration back = run_.scheduler.Monotonic() + std::exchange(seat.downtime, absl::Seconds(5));
    run_.scheduler.Wait([this] { return stop_agents_; }, back);
  }
}

void FleetWorld::WatchDaemon() {
  while (!calm_) {
    if (daemon_ != nullptr && daemon_->serving()) audit_.ReadEvents(*daemon_);
    run_.scheduler.Wait([this] { return calm_; }, run_.scheduler.Monotonic() + absl::Minutes(2));
  }
}

bool FleetWorld::AwaitDaemon(absl::Duration patience, const std::function<bool(Daemon&)>& look) {
  const absl::Duration deadline = run_.scheduler.Monotonic() + patience;
  while (run_.scheduler.Monotonic() < deadline && !broken_) {
    if (daemon_ != nullptr && daemon_->serving() && look(*daemon_)) return true;
    run_.Sleep(kLook);
  }
  return false;
}

// ---- Policies ----

catalog::Policy FleetWorld::PolicyOf(const PolicyPlan& plan, size_t number) {
  catalog::Policy policy;
  policy.id = catalog::PolicyId(fmt::format("p{}", number));
  for (const int host : plan.hosts) {
    for (size_t vm = 0; vm < plan_.hosts[host].vms.size(); ++vm) {
      policy.selection.members.push_back(
          {catalog::HostId(fmt::format("h{}", host)), seats_[host].host->guests.uuid(vm)});
    }
  }
  policy.schedules = {plan.schedule};
  policy.time_zone = "Europe/Berlin";
  policy.repository = catalog::RepositoryId(kRepository);
  policy.freeze_timeout = absl::Seconds(10);
  policy.grouping = plan.per_host ? catalog::PolicyGrouping::kHost : catalog::PolicyGrouping::kVirtualMachine;
  policy.allow_crash_consistent = true;
  policy.retries_max = plan.retries;
  policy.retry_backoff = absl::Minutes(3);
  policy.retention.last = plan.keep_last;
  policy.spread = plan.spread;
  policy.create_time = policy.update_time = policy.done_time = daemon_->Now();
  return policy;
}

void FleetWorld::MakePolicies() {
  const bool known = AwaitDaemon(absl::Minutes(30), [this](Daemon& daemon) {
    const auto vms =
        daemon.catalog().Read([](const catalog::Stores& s) { return s.policies.Vms({.page_size = 1000}); });
    if (!vms.ok()) return false;
    for (size_t i = 0; i < seats_.size(); ++i) {
      const catalog::HostId host(fmt::format("h{}", i));
      const auto there =
          std::ranges::count_if(vms->items, [&](const catalog::Subject& vm) { return vm.key.host == host; });
      if (there != static_cast<int64_t>(plan_.hosts[i].vms.size())) return false;
    }
    return true;
  });
  if (!known) return run_.Violate("the inventories don't come");
  const absl::Status written = daemon_->catalog().Write([&](catalog::Stores& s) -> absl::Status {
    for (size_t i = 0; i < plan_.policies.size(); ++i)
      RETURN_IF_ERROR(s.policies.Insert(PolicyOf(plan_.policies[i], i)));
    return absl::OkStatus();
  });
  UMBRA_CHECK(written.ok());
  daemon_->scheduler().Wake();
}

void FleetWorld::PausePolicies() {
  const absl::Status written = daemon_->catalog().Write([&](catalog::Stores& s) -> absl::Status {
    ASSIGN_OR_RETURN(auto policies, s.policies.All());
    for (catalog::Policy& policy : policies) {
      policy.paused = true;
      RETURN_IF_ERROR(s.policies.Update(policy));
    }
    return absl::OkStatus();
  });
  UMBRA_CHECK(written.ok());
}

// ---- Trouble ----

void FleetWorld::Trouble() {
  const absl::Duration begin = run_.scheduler.Monotonic();
  for (const Nuisance& nuisance : plan_.nuisances) {
    if (run_.scheduler.Wait([this] { return calm_; }, begin + nuisance.at)) return;
    run_.Trace("nuisance: {}", NameOf(nuisance.kind));
    Begin(nuisance);
  }
}

void FleetWorld::Begin(const Nuisance& nuisance) {
  Seat& seat = seats_[nuisance.host];
  Line& line = *lines_[nuisance.host];
  const absl::Duration until = run_.scheduler.Monotonic() + nuisance.length;
  ++reached_[fmt::format("nuisance: {}", NameOf(nuisance.kind))];
  switch (nuisance.kind) {
    case NuisanceKind::kAgentDies:
    case NuisanceKind::kHostPowerCut:
      if (seat.agent == nullptr || seat.agent->dead()) return;
      seat.downtime = nuisance.length;
      seat.agent->Arm(Death{.call = nuisance.point,
                            .countdown = static_cast<int>(std::max<int64_t>(1, nuisance.amount)),
                            .after = dice_.Chance(0.5),
                            .power_cut = nuisance.kind == NuisanceKind::kHostPowerCut});
      if (nuisance.amount == 0) seat.agent->Die();
      return;
    case NuisanceKind::kLineCut:
    case NuisanceKind::kLineSilent:
      return line.Cut(nuisance.kind == NuisanceKind::kLineSilent, nuisance.length);
    case NuisanceKind::kLineSlow:
      return line.MakeSlow(absl::Seconds(nuisance.amount), nuisance.length);
    case NuisanceKind::kLineLossy:
      return line.MakeLossy(nuisance.length);
    case NuisanceKind::kDaemonDies:
    case NuisanceKind::kDaemonPowerCut:
      if (daemon_ == nullptr || daemon_->dead()) return;
      daemon_downtime_ = nuisance.length;
      daemon_->Arm(DaemonDeath{std::string(nuisance.point), std::max<int64_t>(1, nuisance.amount),
                               nuisance.kind == NuisanceKind::kDaemonPowerCut});
      if (nuisance.amount == 0) daemon_->Die();
      return;
    case NuisanceKind::kDiskFull:
      machine_.disk_full = true;
      run_.scheduler.Wait([this] { return calm_; }, until);
      machine_.disk_full = false;
      return;
    case NuisanceKind::kDiskSlow:
      machine_.slow_until = until;
      return;
    case NuisanceKind::kClockStep:
      return StepClock(absl::Seconds(nuisance.amount));
  }
}

void FleetWorld::StepClock(absl::Duration by) {
  const bool serving = daemon_ != nullptr && daemon_->serving();
  if (serving) audit_.NotServing(Wall());
  machine_.wall_ahead += by;
  if (serving) audit_.Serving(Wall());
}

void FleetWorld::Calm() {
  run_.Trace("nothing goes wrong any more");
  next_death_.reset();
  machine_.disk_full = false;
  machine_.slow_until = absl::ZeroDuration();
  for (const auto& line : lines_) line->Mend();
  if (daemon_ != nullptr) daemon_->Arm(std::nullopt);
  for (Seat& seat : seats_) {
    seat.host->guests.Calm();
    seat.host->trouble.calm = true;
    if (seat.agent != nullptr) seat.agent->Arm(std::nullopt);
  }
}

// ---- People ----

void FleetWorld::People() {
  const absl::Duration begin = run_.scheduler.Monotonic();
  for (size_t i = 0; i < plan_.wishes.size(); ++i) {
    if (run_.scheduler.Wait([this] { return calm_; }, begin + plan_.wishes[i].at)) return;
    if (daemon_ != nullptr && daemon_->serving()) Grant(plan_.wishes[i], i);
  }
}

void FleetWorld::Grant(const Wish& wish, size_t number) {
  switch (wish.kind) {
    case WishKind::kRestore: {
      const auto points = audit_.Points(*daemon_, false);
      if (points.empty()) return;
      Restore(points[wish.choice % points.size()], static_cast<int>(wish.choice / 7 % seats_.size()),
              fmt::format("restored{}", number), false);
      return;
    }
    case WishKind::kCancel: {
      const auto active = daemon_->engine().Active();
      if (!active.ok() || active->empty()) return;
      const catalog::JobId id = active->at(wish.choice % active->size()).id;
      run_.Trace("somebody cancels {}", id);
      audit_.CancelWanted(id);
      if (daemon_->engine().Cancel(id).ok()) ++reached_["a job cancelled"];
      return;
    }
    case WishKind::kRunNow: {
      const catalog::PolicyId policy(fmt::format("p{}", wish.choice % plan_.policies.size()));
      const std::string request = fmt::format("wish {}", number);
      const auto jobs = daemon_->scheduler().RunNow(policy, request);
      if (!jobs.ok() || daemon_->dead()) return;
      // Whoever didn't get the answer asks again.
      const auto again = daemon_->scheduler().RunNow(policy, request);
      if (again.ok() && *again != *jobs) run_.Violate("a repeated request gives other jobs");
      return;
    }
  }
}

std::optional<catalog::Job> FleetWorld::AwaitEnd(const catalog::JobId& id) {
  std::optional<catalog::Job> ended;
  AwaitDaemon(kPatience, [&](Daemon& daemon) {
    const auto job = daemon.engine().Get(id);
    if (job.ok() && catalog::IsTerminal(job->state)) ended = *job;
    return ended.has_value();
  });
  return ended;
}

void FleetWorld::Restore(const catalog::RecoveryPoint& point, int host, const std::string& name, bool must_work) {
  catalog::RestoreSpec spec;
  spec.recovery_point = point.id;
  spec.repository = point.repository;
  spec.mode = catalog::RestoreMode::kNew;
  spec.target_host = catalog::HostId(fmt::format("h{}", host));
  spec.display_name = name;
  restores_[name] = point;
  const auto job = daemon_->engine().Submit(spec, {name, name});
  if (!job.ok()) {
    if (must_work) run_.Violate("a restore isn't taken: {}", base::Describe(job.status()));
    return;
  }
  const auto ended = AwaitEnd(job->id);
  if (!ended.has_value()) return run_.Violate("restore {} doesn't end", job->id);
  const auto again = daemon_->engine().Submit(spec, {name, name});
  if (again.ok() && again->id != job->id) run_.Violate("a repeated request gives another job");
  CheckRestored(*ended, host, name, must_work);
}

void FleetWorld::CheckRestored(const catalog::Job& job, int host, const std::string& name, bool must_work) {
  AgentHost& there = *seats_[host].host;
  if (job.state != catalog::JobState::kSucceeded) {
    if (must_work) run_.Violate("nothing goes wrong any more, but a restore fails: {}", job.error.reason);
    return;
  }
  ++reached_["restore succeeded"];
  const auto vms = there.hypervisor.ListVms();
  UMBRA_CHECK(vms.ok());
  const auto vm = std::find_if(vms->begin(), vms->end(), [&](const auto& v) { return v.name == name; });
  if (vm == vms->end()) return run_.Violate("{} was restored, and isn't there", name);
  TakeAway(there, *vm);
}

// A restored machine is whole, whatever became of its job; nobody needs it any more.
void FleetWorld::TakeAway(AgentHost& host, const hypervisor::VmInfo& vm) {
  const auto restored = restores_.find(vm.name);
  if (restored == restores_.end()) return run_.Violate("h{} has a machine {}", host.number, vm.name);
  const Guests::Disks found = host.guests.OnDisk(vm.uuid).value_or(Guests::Disks{});
  const Guests::Disks* const cut = audit_.CutOf(restored->second, found);
  if (cut == nullptr || found != *cut) run_.Violate("{} was restored, and isn't what was backed up", vm.name);
  const std::string folder = base::DirectoryOf(vm.disks.front().path);
  UMBRA_CHECK(host.hypervisor.DeleteVm(vm.uuid).ok());
  for (const std::string& path : host.files.AllFiles(folder)) UMBRA_CHECK(host.files.Remove(path).ok());
  UMBRA_CHECK(host.files.SyncDirectory(folder).ok());  // a power cut doesn't bring them back
}

// ---- The end ----

bool FleetWorld::NoJobsLeft(Daemon& daemon) {
  const auto active = daemon.engine().Active();
  return active.ok() && active->empty();
}

// When nothing goes wrong any more, all that is left is done, and all of it works.
void FleetWorld::LastWork() {
  // Two looks of the scheduler, and the catching up.
  if (!AwaitDaemon(kPatience, [](Daemon&) { return true; })) return run_.Violate("the daemon doesn't come back");
  run_.Sleep(absl::Minutes(1));
  audit_.NotServing(Wall());
  PausePolicies();
  const auto idle = [this](Daemon& daemon) { return NoJobsLeft(daemon); };
  if (!AwaitDaemon(kPatience, idle)) return run_.Violate("jobs don't end");
  std::vector<catalog::JobId> last;
  for (size_t i = 0; i < plan_.policies.size(); ++i) {
    const auto jobs = daemon_->scheduler().RunNow(catalog::PolicyId(fmt::format("p{}", i)), "last");
    if (!jobs.ok()) return run_.Violate("a policy can't be run: {}", base::Describe(jobs.status()));
    last.insert(last.end(), jobs->begin(), jobs->end());
    if (!AwaitDaemon(kPatience, idle)) return run_.Violate("jobs don't end");
  }
  for (const catalog::JobId& id : last) {
    const auto job = daemon_->engine().Get(id);
    if (!job.ok() || job->state != catalog::JobState::kSucceeded)
      run_.Violate("nothing goes wrong any more, but a backup fails: {} {}", id, job.ok() ? job->error.reason : "");
  }
  run_.Sleep(absl::Minutes(1));
  std::map<catalog::VmKey, catalog::RecoveryPoint> newest;
  for (const catalog::RecoveryPoint& point : audit_.Points(*daemon_, false)) newest.emplace(point.vm, point);
  int number = 0;
  for (const auto& [vm, point] : newest) {
    Restore(point, std::stoi(vm.host.value.substr(1)), fmt::format("last{}", ++number), true);
  }
  run_.Sleep(absl::Minutes(2));
  audit_.ReadEvents(*daemon_);
  audit_.CheckJobs(*daemon_);
  audit_.CheckPolicies(*daemon_);
  audit_.CheckRetention(*daemon_);
}

void FleetWorld::CheckHosts() {
  for (Seat& seat : seats_) CheckHost(seat);
}

void FleetWorld::CheckHost(Seat& seat) {
  AgentHost& host = *seat.host;
  for (size_t i = 0; i < host.guests.count(); ++i) {
    const std::string& uuid = host.guests.uuid(i);
    const std::string name = fmt::format("h{}vm{}", host.number, i);
    if (host.guests.IsFrozen(uuid)) run_.Violate("{} is still frozen", name);
    if (!host.hypervisor.CheckNoJob(uuid).ok()) run_.Violate("{} still has a view", name);
    const auto info = host.hypervisor.GetVm(uuid);
    // Those of a machine that is off go with its next backup while it runs.
    const bool off = info.ok() && info->state == hypervisor::VmState::kOff;
    if (!off && host.hypervisor.Checkpoints(uuid).size() > 1) run_.Violate("{} has several checkpoints", name);
    if (!info.ok() || info->state != host.guests.ExpectedState(i)) {
      run_.Violate("{} is in state {}, and was in {}", name, info.ok() ? static_cast<int>(info->state) : -1,
                   static_cast<int>(host.guests.ExpectedState(i)));
    }
  }
  const auto vms = host.hypervisor.ListVms();
  UMBRA_CHECK(vms.ok());
  for (const hypervisor::VmInfo& vm : *vms) {
    if (!vm.name.starts_with(fmt::format("h{}vm", host.number))) TakeAway(host, vm);
  }
  for (const char* folder : {"/scratch", "/data"}) {
    for (const std::string& path : host.files.AllFiles(folder)) {
      if (!path.ends_with(".tmp")) run_.Violate("h{}: left behind: {}", host.number, path);
    }
  }
  for (const std::string& path : host.files.AllFiles(fmt::format("/vms{}", host.number))) {
    if (path.find(fmt::format("/h{}vm", host.number)) == std::string::npos)
      run_.Violate("h{}: left of a restore: {}", host.number, path);
  }
}

// The agents are gone. What a power cut leaves is all there was.
void FleetWorld::CheckAfterPowerCut() {
  if (daemon_ == nullptr) return;
  daemon_->Arm(DaemonDeath{"", 1, true});
  daemon_->Die();
  if (!AwaitDaemon(absl::Minutes(30), [](Daemon&) { return true; }))
    return run_.Violate("the daemon doesn't come back after a power cut");
  audit_.ReadEvents(*daemon_);
  audit_.CheckEvents(*daemon_);
  audit_.CheckPoints(*daemon_);
}

}  // namespace

FleetResult RunFleet(uint64_t seed, bool verbose, Flaw flaw) {
  FleetResult result = FleetWorld(seed, verbose, flaw).Run();
  result.seed = seed;
  return result;
}

std::vector<std::string> RarePaths() {
  std::vector<std::string> paths = {
      "a due time ran by itself",  "a job cancelled",
      "a job of several attempts", "a point removed by retention",
      "a run that caught up",      "an agent died",
      "backup succeeded",          "failed: AGENT_LOST",
      "failed: AGENT_RESTARTED",   "failed: DAEMON_RESTARTED",
      "failed: STORAGE_FULL",      "restore succeeded",
      "the daemon died",           "the daemon died while it started",
  };
  for (int kind = 0; kind <= static_cast<int>(NuisanceKind::kClockStep); ++kind)
    paths.push_back(fmt::format("nuisance: {}", NameOf(static_cast<NuisanceKind>(kind))));
  return paths;
}

std::string Report(const FleetResult& result) {
  std::string text = fmt::format("seed {} ({})\n", result.seed, result.plan);
  for (const std::string& violation : result.violations) text += fmt::format("  {}\n", violation);
  return text + fmt::format("  again: tests/sim/run --fleet --seed {} -v\n", result.seed);
}

}  // namespace umbra::sim::fleet
