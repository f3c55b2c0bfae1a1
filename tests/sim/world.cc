#include "tests/sim/world.h"

#include <algorithm>
#include <memory>
#include <optional>
#include <utility>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "storage/base/random.h"
#include "tests/sim/agent.h"
#include "tests/sim/apps.h"
#include "tests/sim/cluster.h"
#include "tests/sim/guests.h"
#include "tests/sim/plan.h"
#include "tests/sim/run_context.h"
#include "tests/support/memory_filesystem.h"

namespace umbra::sim {
namespace {

// Longer than any handler of a plan hangs.
constexpr absl::Duration kQuietTime = absl::Minutes(40);

class World {
 public:
  World(uint64_t seed, bool verbose);
  RunResult Run();

 private:
  void LiveAndDie();
  // True when the agent lived to the end of its jobs.
  bool LiveOnce(const std::optional<Death>& death);
  void Settle(Agent& agent);
  void CheckAsBefore(Agent& agent);
  void CheckCheckpoints(const JobPlan& job);
  JobPlan Everything();

  RunContext run_;
  const Plan plan_;
  testing::MemoryFilesystem files_;
  base::SeededRandom random_;
  hypervisor::SimulatedHypervisor hypervisor_;
  Guests guests_;
  std::vector<std::unique_ptr<App>> apps_;
  Service service_;
  Cluster cluster_;
  PendingFaults faults_;
  MachineTrouble trouble_;
  Host host_;
  std::vector<JobOutcome> outcomes_, restored_;
};

World::World(uint64_t seed, bool verbose)
    : run_(seed, verbose),
      plan_(MakePlan(run_.dice.Split("plan"))),
      random_(run_.dice.Next()),
      hypervisor_("/vms", files_, run_.scheduler, random_),
      guests_(run_, hypervisor_, files_, plan_),
      service_(run_, plan_, files_),
      cluster_(run_, hypervisor_, guests_, files_, random_, plan_),
      faults_{plan_.writer_faults, plan_.provider_faults},
      host_{run_, plan_, files_, hypervisor_, guests_, apps_, service_, cluster_, faults_, trouble_},
      outcomes_(plan_.jobs.size(), JobOutcome::kPending),
      restored_(plan_.restores.size(), JobOutcome::kPending) {
  host_.power_cut = [this] {
    guests_.PowerCut();
    service_.app.Thaw(absl::InfiniteDuration());  // it starts anew with the host
    files_.CutPower();
    guests_.TakeWhatIsOnDisk();
  };
  trouble_.on_call = [this] { cluster_.NoteCall(); };
  for (size_t i = 0; i < plan_.apps.size(); ++i) {
    apps_.push_back(std::make_unique<App>(run_, plan_, static_cast<int>(i)));
  }
}

RunResult World::Run() {
  run_.Trace("plan: {}", plan_.Describe());
  guests_.Start();
  for (const auto& app : apps_) app->Start();
  service_.app.Start();
  cluster_.Start();
  LiveAndDie();
  guests_.Stop();
  for (const auto& app : apps_) app->Stop();
  service_.app.Stop();
  cluster_.Stop();
  return {0, plan_.Describe(), run_.violations, run_.fingerprint, run_.scheduler.step_count(), run_.probes};
}

void World::LiveAndDie() {
  for (const Death& death : plan_.deaths) {
    if (LiveOnce(death)) return;
    run_.Sleep(death.downtime);
  }
  LiveOnce(std::nullopt);
}

bool World::LiveOnce(const std::optional<Death>& death) {
  Agent agent(host_, death);
  run_.Trace("the agent starts");
  agent.StartHealing();
  {
    std::vector<std::unique_ptr<base::Thread>> jobs;
    for (size_t i = 0; i < plan_.jobs.size(); ++i) {
      if (outcomes_[i] != JobOutcome::kPending && outcomes_[i] != JobOutcome::kCutShort) continue;
      jobs.push_back(run_.scheduler.Start([this, &agent, i] {
        run_.Sleep(plan_.jobs[i].start);
        outcomes_[i] = agent.RunJob(plan_.jobs[i], fmt::format("life{}-job{}", host_.life_count, i), false);
      }));
    }
  }
  for (size_t i = 0; i < plan_.restores.size() && !agent.dead(); ++i) {
    if (restored_[i] == JobOutcome::kPending) restored_[i] = agent.RunRestore(plan_.restores[i], false);
  }
  if (agent.dead()) return false;
  Settle(agent);
  return !agent.dead();
}

JobPlan World::Everything() {
  JobPlan job;
  job.allow_crash_consistent = true;
  for (size_t i = 0; i < plan_.vms.size(); ++i) {
    const auto info = hypervisor_.GetVm(guests_.uuid(i));
    if (info.ok() && info->state != hypervisor::VmState::kOff) job.vms.push_back(static_cast<int>(i));
  }
  for (size_t i = 0; i < plan_.apps.size(); ++i) job.apps.push_back(static_cast<int>(i));
  job.service = plan_.service.exists;
  return job;
}

void World::Settle(Agent& agent) {
  run_.Trace("nothing goes wrong any more");
  guests_.Calm();
  trouble_.calm = true;
  faults_ = {};
  const auto died = [&agent] { return agent.dead(); };
  if (run_.scheduler.Wait(died, run_.scheduler.Monotonic() + kQuietTime)) return;
  agent.HealUntilDone(absl::Minutes(10));
  if (agent.dead()) return;
  for (size_t i = 0; i < guests_.count(); ++i) guests_.SettleRestore(guests_.uuid(i), true);
  CheckAsBefore(agent);
  const JobPlan everything = Everything();
  if (!everything.vms.empty() || !everything.apps.empty() || everything.service) {
    agent.RunJob(everything, fmt::format("life{}-last", host_.life_count), true);
  }
  if (agent.dead()) return;
  CheckCheckpoints(everything);
  for (const RestorePlan& restore : plan_.restores) {
    if (!agent.dead()) agent.RunRestore(restore, true);
  }
  if (!agent.dead()) CheckAsBefore(agent);
}

// A backup that worked has left the checkpoint that its recovery point knows.
void World::CheckCheckpoints(const JobPlan& job) {
  for (const int vm : job.vms) {
    const std::string& uuid = guests_.uuid(vm);
    const auto names = hypervisor_.Checkpoints(uuid);
    const std::string& known = host_.checkpoints[uuid].name;
    if (names != std::vector<std::string>{known}) {
      run_.Violate("vm{} has checkpoint {}, and its recovery point knows {}", vm,
                   names.empty() ? "none" : names.front(), known);
    }
  }
}

void World::CheckAsBefore(Agent& agent) {
  for (size_t i = 0; i < guests_.count(); ++i) {
    const std::string& uuid = guests_.uuid(i);
    if (guests_.IsFrozen(uuid)) run_.Violate("vm{} is still frozen", i);
    if (!hypervisor_.CheckNoJob(uuid).ok()) run_.Violate("vm{} still has a view", i);
    const size_t checkpoints = hypervisor_.Checkpoints(uuid).size();
    if (checkpoints > 1) run_.Violate("vm{} has {} checkpoints", i, checkpoints);
    const auto info = hypervisor_.GetVm(uuid);
    const bool may_have_died = plan_.vms[i].faults.dies_after_read_bytes.has_value();
    if (!info.ok() || (info->state != guests_.ExpectedState(i) && !may_have_died)) {
      run_.Violate("vm{} is in state {}, and was in {}", i, info.ok() ? static_cast<int>(info->state) : -1,
                   static_cast<int>(guests_.ExpectedState(i)));
    }
  }
  for (const auto& app : apps_) {
    if (app->frozen()) run_.Violate("app{} is still frozen", app->index());
  }
  if (service_.app.frozen()) run_.Violate("the service is still frozen");
  if (!files_.AllFiles(kCopiesFolder).empty()) run_.Violate("a copy is left");
  for (const std::string& intent : files_.AllFiles(kFileSetIntentsFolder)) {
    if (intent.ends_with(".fileset")) run_.Violate("an intent is left: {}", intent);
  }
  const auto left = files_.AllFiles(kScratchFolder);
  if (!left.empty()) run_.Violate("a scratch file is left: {}", left.front());
  cluster_.CheckAsBefore();
  if (agent.deed_count() > 0) run_.Violate("{} deeds of the cluster are left", agent.deed_count());
  if (agent.intent_count() > 0) run_.Violate("{} intents are left", agent.intent_count());
}

}  // namespace

RunResult RunSeed(uint64_t seed, bool verbose) {
  RunResult result = World(seed, verbose).Run();
  result.seed = seed;
  return result;
}

}  // namespace umbra::sim
