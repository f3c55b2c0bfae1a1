#include "tests/sim/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

namespace umbra::sim {
namespace {

constexpr uint64_t kBlock = 64 * base::kKiB;

constexpr vss::WriterEvent kFaultyEvents[] = {
    vss::WriterEvent::kIdentify,       vss::WriterEvent::kPrepareBackup,  vss::WriterEvent::kPrepareSnapshot,
    vss::WriterEvent::kFreeze,         vss::WriterEvent::kThaw,           vss::WriterEvent::kPostSnapshot,
    vss::WriterEvent::kBackupComplete, vss::WriterEvent::kBackupShutdown, vss::WriterEvent::kAbort,
};

// Every call of the agent that reaches the world outside of it.
constexpr std::string_view kCalls[] = {
    "QueryGuestAgent", "Configuration", "CheckNoJob",   "PreparePointInTime",
    "Freeze",          "Begin",         "Thaw",         "OpenDisk",
    "Close",           "CleanUp",       "files.Open",   "files.Write",
    "files.Sync",      "files.Rename",  "files.Remove", "files.SyncDirectory",
    "hook.freeze",     "hook.thaw",     "copy",         "remove copy",
    "CheckCanSave",    "SaveState",     "Resume",
};

constexpr std::string_view kRestoreCalls[] = {"DeleteVm",     "CreateDisk",          "DefineVm",   "Start",
                                              "files.Rename", "files.SyncDirectory", "disk.Write", "GetVm"};
constexpr std::string_view kRestoreHealingCalls[] = {"DefineVm", "Start", "files.Rename", "GetVm"};

template <typename T, size_t n>
const T& OneOf(Dice& dice, const T (&choices)[n]) {
  return choices[dice.Below(n)];
}

hypervisor::SimulatedFaults MakeFaults(Dice& dice) {
  hypervisor::SimulatedFaults faults;
  switch (dice.Below(9)) {
    case 0:
      faults.freeze_delay = dice.Between(absl::Milliseconds(1), absl::Seconds(9));
      break;
    case 1:
      faults.freeze_delay = dice.Between(absl::Seconds(10), absl::Minutes(2));
      break;
    case 2:
      faults.freeze_delay = dice.Between(absl::Minutes(2), absl::Minutes(6));
      break;
    case 3:
      faults.freeze_fails = true;
      break;
    case 4:
      faults.thaw_failures = static_cast<int>(dice.Between(1, 6));
      break;
    case 5:
      faults.begin_fails = true;
      break;
    case 6:
      faults.dies_after_read_bytes = dice.Below(3 * kBlock);
      break;
    case 7:
      faults.scratch_limit_bytes = dice.Below(2 * kBlock);
      break;
    default:
      faults.foreign_job = true;
  }
  return faults;
}

VmPlan MakeVm(Dice& dice) {
  VmPlan vm;
  const int disk_count = static_cast<int>(dice.Between(1, 2));
  for (int i = 0; i < disk_count; ++i) {
    vm.disks.push_back({i == 0 ? "vda" : "vdb", kBlock * dice.Between(1, 3) - 512 * dice.Below(3)});
  }
  if (dice.Chance(0.1)) vm.disks.push_back({"vdz", kBlock, hypervisor::DiskExclusion::kPassThrough});
  vm.guest_agent = !dice.Chance(0.1);
  vm.paused = dice.Chance(0.1);
  vm.running = vm.paused || !dice.Chance(0.03);
  return vm;
}

FaultKind MakeKind(Dice& dice) {
  constexpr FaultKind kKinds[] = {FaultKind::kDelay, FaultKind::kVetoBefore, FaultKind::kVetoAfter, FaultKind::kThrow,
                                  FaultKind::kHang};
  return OneOf(dice, kKinds);
}

absl::Duration MakeLength(Dice& dice, FaultKind kind) {
  if (kind == FaultKind::kDelay) return dice.Between(absl::Milliseconds(1), absl::Seconds(8));
  return dice.Between(absl::Seconds(61), absl::Minutes(15));
}

void AddNuisance(Dice& dice, Plan& plan) {
  VmPlan& vm = plan.vms[dice.Below(plan.vms.size())];
  const FaultKind kind = MakeKind(dice);
  switch (dice.Below(11)) {
    case 0:
    case 1:
      plan.writer_faults.push_back({static_cast<int>(dice.Below(1 + plan.apps.size())), OneOf(dice, kFaultyEvents),
                                    kind, MakeLength(dice, kind)});
      break;
    case 2:
    case 3:
      plan.provider_faults.push_back(
          {static_cast<int>(dice.Below(2)), OneOf(dice, kProviderCalls), kind, MakeLength(dice, kind)});
      break;
    case 4:
    case 5:
      vm.faults = MakeFaults(dice);
      break;
    case 6:
      vm.silent_when_frozen = dice.Chance(0.5);
      if (!vm.silent_when_frozen) vm.silent_at = dice.Between(absl::ZeroDuration(), absl::Seconds(20));
      vm.silent_for = dice.Between(absl::Milliseconds(10), absl::Minutes(4));
      break;
    case 7:
      vm.killed_at = dice.Between(absl::ZeroDuration(), absl::Seconds(20));
      break;
    case 8:
      plan.outage = {static_cast<int>(dice.Between(1, 60)), static_cast<int>(dice.Between(1, 12))};
      break;
    case 9:
      plan.file_error_at = static_cast<int>(dice.Between(1, 20));
      break;
    default:
      plan.slowest_call = dice.Between(absl::Milliseconds(50), absl::Seconds(3));
  }
}

void AddDeath(Dice& dice, Plan& plan) {
  // A life that begins after a death begins with healing.
  constexpr std::string_view kHealingCalls[] = {
      "CleanUp", "Thaw", "Resume", "files.Open", "files.Remove", "files.SyncDirectory", "hook.thaw", "remove copy"};
  Death death;
  if (!plan.deaths.empty() && dice.Chance(0.6)) {
    death.call = OneOf(dice, kHealingCalls);
  } else if (dice.Chance(0.7)) {
    death.call = OneOf(dice, kCalls);
    death.countdown = static_cast<int>(dice.Between(1, 3));
  } else {
    death.countdown = static_cast<int>(dice.Between(1, 120));
  }
  death.after = dice.Chance(0.5);
  death.downtime = dice.Between(absl::Milliseconds(100), absl::Minutes(2));
  plan.deaths.push_back(death);
}

void AddJobs(Dice& dice, Plan& plan) {
  const int job_count = dice.Chance(0.3) ? 2 : 1;
  for (int i = 0; i < job_count; ++i) {
    JobPlan job;
    job.allow_crash_consistent = dice.Chance(0.5);
    if (dice.Chance(0.1)) job.cancel_after_step = static_cast<int>(dice.Below(6));
    job.start = dice.Between(absl::ZeroDuration(), absl::Seconds(2));
    plan.jobs.push_back(job);
  }
  // No virtual machine and no application is in two jobs.
  for (size_t vm = 0; vm < plan.vms.size(); ++vm) plan.jobs[dice.Below(job_count)].vms.push_back(static_cast<int>(vm));
  for (size_t app = 0; app < plan.apps.size(); ++app) {
    plan.jobs[dice.Below(job_count)].apps.push_back(static_cast<int>(app));
  }
  if (plan.service.exists) plan.jobs[dice.Below(job_count)].service = true;
  std::erase_if(plan.jobs, [](const JobPlan& job) { return job.vms.empty() && job.apps.empty() && !job.service; });
}

// Deaths of their own, so that each call of a restore has its turn.
void AddRestores(Dice dice, Plan& plan) {
  if (!dice.Chance(0.35)) return;
  plan.restores.push_back({static_cast<int>(dice.Below(plan.vms.size())), dice.Chance(0.5)});
  if (plan.vms.size() > 1 && dice.Chance(0.2)) {
    const int other = (plan.restores[0].vm + 1) % static_cast<int>(plan.vms.size());
    plan.restores.push_back({other, dice.Chance(0.5)});
  }
  if (!dice.Chance(0.6)) return;
  Death death;
  death.call = OneOf(dice, kRestoreCalls);
  if (death.call.starts_with("files.")) death.countdown = static_cast<int>(dice.Between(2, 12));
  death.after = dice.Chance(0.5);
  death.downtime = dice.Between(absl::Milliseconds(100), absl::Minutes(2));
  plan.deaths.assign(1, death);
  if (dice.Chance(0.3)) {
    death.call = OneOf(dice, kRestoreHealingCalls);
    plan.deaths.push_back(death);
  }
}

void AddPowerCuts(Dice dice, Plan& plan) {
  for (Death& death : plan.deaths) death.power_cut = plan.restores.empty() && dice.Chance(0.15);
}

// Only machines that nobody but the agent stops: a cluster fails over what really fails, and one whose scratch space is
// full stands still until the agent looks. Most can only be saved, because that is what the cluster must be told of.
void AddCluster(Dice dice, Plan& plan) {
  if (!dice.Chance(0.35)) return;
  for (VmPlan& vm : plan.vms) {
    const bool stops = vm.killed_at < absl::InfiniteDuration() || vm.faults.dies_after_read_bytes.has_value() ||
                       vm.faults.scratch_limit_bytes.has_value();
    if (!vm.running || vm.paused || stops || !dice.Chance(0.7)) continue;
    vm.clustered = plan.cluster.exists = true;
    if (dice.Chance(0.7)) vm.guest_agent = false;
  }
  if (!plan.cluster.exists) return;
  for (JobPlan& job : plan.jobs) job.allow_crash_consistent = job.allow_crash_consistent && dice.Chance(0.3);
  for (RestorePlan& restore : plan.restores) restore.take_cluster_offline = dice.Chance(0.8);
  for (Death& death : plan.deaths) death.power_cut = false;
  if (dice.Chance(0.2)) {
    plan.cluster.silent_call = static_cast<int>(dice.Between(1, 12));
    plan.cluster.silent_count = static_cast<int>(dice.Between(1, 6));
  }
  if (!dice.Chance(0.5)) return;
  constexpr std::string_view kClusterCalls[] = {"cluster.List", "cluster.Plan", "cluster.Begin", "cluster.End",
                                                "SaveState",    "Resume",       "DeleteVm",      "DefineVm"};
  Death death;
  death.call = OneOf(dice, kClusterCalls);
  death.countdown = static_cast<int>(dice.Between(1, 2));
  death.after = dice.Chance(0.5);
  death.downtime = dice.Between(absl::Milliseconds(100), absl::Minutes(2));
  plan.deaths.assign(1, death);
  if (!dice.Chance(0.4)) return;
  death.call = "cluster.End";  // of healing
  death.countdown = 1;
  death.after = dice.Chance(0.5);
  plan.deaths.push_back(death);
}

}  // namespace

std::string_view NameOf(FaultKind kind) {
  switch (kind) {
    case FaultKind::kDelay:
      return "delay";
    case FaultKind::kVetoBefore:
      return "veto before";
    case FaultKind::kVetoAfter:
      return "veto after";
    case FaultKind::kThrow:
      return "throw";
    case FaultKind::kHang:
      return "hang";
  }
  return "";
}

Plan MakePlan(Dice dice) {
  Plan plan;
  const int vm_count = static_cast<int>(dice.Between(1, 4));
  for (int i = 0; i < vm_count; ++i) plan.vms.push_back(MakeVm(dice));
  constexpr vss::ApplicationLevel kLevels[] = {vss::ApplicationLevel::kFrontEnd, vss::ApplicationLevel::kBackEnd,
                                               vss::ApplicationLevel::kSystem};
  const int app_count = static_cast<int>(dice.Below(3));
  for (int i = 0; i < app_count; ++i) {
    plan.apps.push_back({OneOf(dice, kLevels), dice.Chance(0.5) ? absl::Seconds(60) : absl::Seconds(15)});
  }
  plan.service.exists = dice.Chance(0.4);
  if (plan.service.exists && dice.Chance(0.3)) plan.service.freeze = MakeKind(dice);
  if (plan.service.exists && dice.Chance(0.2)) plan.service.thaw_failures = static_cast<int>(dice.Between(1, 5));
  AddJobs(dice, plan);
  const int nuisance_count = static_cast<int>(dice.Below(4));
  for (int i = 0; i < nuisance_count; ++i) AddNuisance(dice, plan);
  while (plan.deaths.size() < 3 && dice.Chance(0.4)) AddDeath(dice, plan);
  AddRestores(dice.Split("restores"), plan);
  AddPowerCuts(dice.Split("power"), plan);
  AddCluster(dice.Split("cluster"), plan);
  return plan;
}

std::string Plan::Describe() const {
  std::string text = fmt::format("{} VMs, {} apps, {} jobs", vms.size(), apps.size(), jobs.size());
  for (size_t i = 0; i < vms.size(); ++i) {
    const VmPlan& vm = vms[i];
    const hypervisor::SimulatedFaults& f = vm.faults;
    text += fmt::format("; vm{}: {} disks{}{}{}", i, vm.disks.size(), vm.guest_agent ? "" : " no-agent",
                        vm.running ? "" : " off", vm.paused ? " paused" : "");
    if (vm.clustered) text += " clustered";
    if (f.freeze_delay > absl::ZeroDuration()) text += " freeze after " + absl::FormatDuration(f.freeze_delay);
    if (f.freeze_fails) text += " refuses to freeze";
    if (f.thaw_failures > 0) text += fmt::format(" {} thaws unanswered", f.thaw_failures);
    if (f.begin_fails) text += " cut fails";
    if (f.foreign_job) text += " foreign job";
    if (f.dies_after_read_bytes) text += fmt::format(" dies after {} bytes read", *f.dies_after_read_bytes);
    if (f.scratch_limit_bytes) text += fmt::format(" scratch limit {}", *f.scratch_limit_bytes);
    if (vm.silent_when_frozen) text += " silent when frozen, for " + absl::FormatDuration(vm.silent_for);
    if (vm.silent_at < absl::InfiniteDuration()) {
      text +=
          fmt::format(" silent at {} for {}", absl::FormatDuration(vm.silent_at), absl::FormatDuration(vm.silent_for));
    }
    if (vm.killed_at < absl::InfiniteDuration()) text += " killed at " + absl::FormatDuration(vm.killed_at);
  }
  if (service.exists) {
    text += fmt::format("; service: {} at freeze, {} thaws fail", NameOf(service.freeze), service.thaw_failures);
  }
  for (const JobPlan& job : jobs) {
    text +=
        fmt::format("; job: vms [{}] apps [{}]{}{}{}", fmt::join(job.vms, ","), fmt::join(job.apps, ","),
                    job.service ? " service" : "", job.allow_crash_consistent ? " crash-consistent" : "",
                    job.cancel_after_step < 0 ? "" : fmt::format(" cancelled after step {}", job.cancel_after_step));
  }
  for (const RestorePlan& r : restores)
    text += fmt::format("; restore vm{}{}{}", r.vm, r.power_on ? " and start it" : "",
                        r.take_cluster_offline ? ", its resource offline" : "");
  for (const WriterFault& f : writer_faults) {
    text += fmt::format("; writer {} {} at {} ({})", f.writer, NameOf(f.kind), vss::NameOf(f.event),
                        absl::FormatDuration(f.duration));
  }
  for (const ProviderFault& f : provider_faults) {
    text += fmt::format("; provider {} {} at {} ({})", f.provider, NameOf(f.kind), f.call,
                        absl::FormatDuration(f.duration));
  }
  for (const Death& d : deaths) {
    text += fmt::format("; {} {} call {} of {}", d.power_cut ? "power cut" : "agent dies", d.after ? "after" : "before",
                        d.countdown, d.call.empty() ? "any" : d.call);
  }
  if (cluster.silent_call > 0)
    text += fmt::format("; cluster silent at calls {}+{}", cluster.silent_call, cluster.silent_count);
  if (outage.first_call > 0)
    text += fmt::format("; hypervisor silent at calls {}+{}", outage.first_call, outage.call_count);
  if (file_error_at > 0) text += fmt::format("; file error at change {}", file_error_at);
  return text;
}

}  // namespace umbra::sim
