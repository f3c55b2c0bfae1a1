#include "tests/sim/fleet/plan.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "storage/base/bytes.h"

namespace umbra::sim::fleet {
namespace {

constexpr uint64_t kBlock = 64 * base::kKiB;

constexpr std::string_view kSchedules[] = {"every 10 minutes", "every 15 minutes", "*/20 * * * *",
                                           "hourly at :05",    "every 30 minutes", "7,22,51 * * * *"};

// Where a daemon's death makes a difference; a part of its deaths waits for one of these.
constexpr std::string_view kDaemonPoints[] = {
    "policy.submitted",
    "daemon.repository_committed",
    "daemon.catalog_committed",
    "repo.commit.before_publish",
    "repo.commit.published",
    "jobs.assign.before",
    "jobs.assign.after",
    "jobs.accept.before",
    "jobs.accept.after",
    "jobs.agent-done.before",
    "jobs.agent-done.after",
    "jobs.repo-committed.before",
    "jobs.repo-committed.after",
    "files.Write",
    "files.Rename",
    "files.Sync",
    "wait",
    "message",
};

constexpr std::string_view kAgentCalls[] = {
    "PreparePointInTime", "Freeze",       "Begin",      "Thaw",     "OpenDisk",          "Close",     "files.Write",
    "files.Rename",       "files.Remove", "CreateDisk", "DefineVm", "RemoveCheckpoints", "SaveState", "Resume",
    "files.SyncDirectory"};

template <typename T, size_t n>
const T& OneOf(Dice& dice, const T (&choices)[n]) {
  return choices[dice.Below(n)];
}

VmPlan MakeMachine(Dice& dice, absl::Duration length) {
  VmPlan vm;
  vm.disks.push_back({"vda", kBlock * dice.Between(1, 3) - 512 * dice.Below(3)});
  if (dice.Chance(0.2)) vm.disks.push_back({"vdb", kBlock});
  vm.paused = dice.Chance(0.05);
  vm.guest_agent = !dice.Chance(0.1);
  if (dice.Chance(0.1)) {
    vm.silent_at = dice.Between(absl::Minutes(1), length);
    vm.silent_for = dice.Between(absl::Seconds(1), absl::Minutes(3));
  }
  if (dice.Chance(0.05)) vm.faults.thaw_failures = static_cast<int>(dice.Between(1, 3));
  return vm;
}

Nuisance MakeNuisance(Dice& dice, const FleetPlan& plan) {
  // Deaths, of which there is most to know, come twice as often.
  constexpr NuisanceKind kKinds[] = {
      NuisanceKind::kAgentDies,  NuisanceKind::kAgentDies,  NuisanceKind::kHostPowerCut, NuisanceKind::kLineCut,
      NuisanceKind::kLineSilent, NuisanceKind::kLineSlow,   NuisanceKind::kLineSlow,     NuisanceKind::kLineLossy,
      NuisanceKind::kDaemonDies, NuisanceKind::kDaemonDies, NuisanceKind::kDaemonDies,   NuisanceKind::kDaemonPowerCut,
      NuisanceKind::kDiskFull,   NuisanceKind::kDiskSlow,   NuisanceKind::kClockStep};
  Nuisance nuisance;
  nuisance.kind = OneOf(dice, kKinds);
  nuisance.at = dice.Between(absl::ZeroDuration(), plan.length);
  nuisance.length = dice.Chance(0.5) ? dice.Between(absl::Seconds(1), absl::Seconds(40))
                                     : dice.Between(absl::Seconds(40), absl::Minutes(12));
  nuisance.host = static_cast<int>(dice.Below(plan.hosts.size()));
  switch (nuisance.kind) {
    case NuisanceKind::kAgentDies:
    case NuisanceKind::kHostPowerCut:
      nuisance.amount = dice.Chance(0.1) ? 0 : dice.Between(1, 60);
      if (nuisance.amount > 0 && dice.Chance(0.7)) {
        nuisance.point = OneOf(dice, kAgentCalls);
        nuisance.amount = dice.Between(1, 4);
      }
      break;
    case NuisanceKind::kDaemonDies:
    case NuisanceKind::kDaemonPowerCut:
      nuisance.amount = dice.Chance(0.1) ? 0 : dice.Between(1, 400);
      if (nuisance.amount > 0 && dice.Chance(0.6)) {
        nuisance.point = OneOf(dice, kDaemonPoints);
        nuisance.amount = dice.Between(1, 3);
      }
      break;
    case NuisanceKind::kLineSlow:
      nuisance.amount = dice.Between(2, 18);
      nuisance.length = dice.Between(absl::Minutes(2), absl::Minutes(20));
      break;
    case NuisanceKind::kClockStep:
      nuisance.amount = dice.Between(-2 * 3600, 2 * 3600);
      if (dice.Chance(0.3)) nuisance.amount = dice.Between(-90, 90);
      break;
    default:
      break;
  }
  return nuisance;
}

// What the machines' own limits must allow for.
void TellHosts(FleetPlan& plan) {
  for (const Nuisance& nuisance : plan.nuisances) {
    if (nuisance.kind != NuisanceKind::kAgentDies && nuisance.kind != NuisanceKind::kHostPowerCut) continue;
    plan.hosts[nuisance.host].deaths.push_back({.downtime = nuisance.length});
  }
}

template <typename T>
void SortByTime(std::vector<T>& list) {
  std::stable_sort(list.begin(), list.end(), [](const T& a, const T& b) { return a.at < b.at; });
}

}  // namespace

std::string_view NameOf(Flaw flaw) {
  switch (flaw) {
    case Flaw::kNone:
      return "none";
    case Flaw::kUnfenced:
      return "unfenced";
    case Flaw::kDueBeforeSubmit:
      return "due-before-submit";
    case Flaw::kNoJobRecovery:
      return "no-job-recovery";
    case Flaw::kNoHealing:
      return "no-healing";
    case Flaw::kNoSync:
      return "no-sync";
    case Flaw::kLostChanges:
      return "lost-changes";
    case Flaw::kEventLost:
      return "event-lost";
  }
  return "";
}

std::string_view NameOf(NuisanceKind kind) {
  switch (kind) {
    case NuisanceKind::kAgentDies:
      return "an agent dies";
    case NuisanceKind::kHostPowerCut:
      return "a host loses power";
    case NuisanceKind::kLineCut:
      return "a line is cut";
    case NuisanceKind::kLineSilent:
      return "a line is silent";
    case NuisanceKind::kLineSlow:
      return "a line is slow";
    case NuisanceKind::kLineLossy:
      return "a line is lossy";
    case NuisanceKind::kDaemonDies:
      return "the daemon dies";
    case NuisanceKind::kDaemonPowerCut:
      return "the daemon loses power";
    case NuisanceKind::kDiskFull:
      return "the repository is full";
    case NuisanceKind::kDiskSlow:
      return "the repository is slow";
    case NuisanceKind::kClockStep:
      return "the clock is set";
  }
  return "";
}

std::string FleetPlan::Describe() const {
  std::vector<std::string> parts;
  for (const Plan& host : hosts) parts.push_back(fmt::format("host of {}", host.vms.size()));
  for (const PolicyPlan& policy : policies) parts.push_back(fmt::format("\"{}\"", policy.schedule));
  for (const Nuisance& n : nuisances) {
    parts.push_back(fmt::format("{:.0f} min: {}", absl::ToDoubleMinutes(n.at), NameOf(n.kind)));
    if (!n.point.empty()) parts.back() += fmt::format(" at {}", n.point);
  }
  return fmt::format("{}; {} wishes", fmt::join(parts, ", "), wishes.size());
}

FleetPlan MakeFleetPlan(Dice dice) {
  FleetPlan plan;
  plan.length = dice.Between(absl::Minutes(40), absl::Minutes(100));
  const int host_count = static_cast<int>(dice.Between(2, 4));
  for (int i = 0; i < host_count; ++i) {
    Plan host;
    const int vm_count = static_cast<int>(dice.Between(1, 3));
    for (int k = 0; k < vm_count; ++k) host.vms.push_back(MakeMachine(dice, plan.length));
    if (dice.Chance(0.2)) host.slowest_call = dice.Between(absl::Milliseconds(50), absl::Seconds(1));
    plan.hosts.push_back(std::move(host));
  }
  const int policy_count = static_cast<int>(dice.Between(1, 3));
  for (int i = 0; i < policy_count; ++i) {
    PolicyPlan policy;
    policy.schedule = OneOf(dice, kSchedules);
    for (int host = 0; host < host_count; ++host) {
      if (dice.Chance(0.7)) policy.hosts.push_back(host);
    }
    if (policy.hosts.empty()) policy.hosts.push_back(static_cast<int>(dice.Below(host_count)));
    policy.per_host = dice.Chance(0.4);
    policy.retries = static_cast<int>(dice.Below(4));
    policy.keep_last = dice.Chance(0.6) ? static_cast<int>(dice.Between(1, 3)) : 0;
    if (dice.Chance(0.3)) policy.spread = dice.Between(absl::Seconds(1), absl::Minutes(3));
    plan.policies.push_back(std::move(policy));
  }
  const int nuisance_count = static_cast<int>(dice.Between(0, 7));
  for (int i = 0; i < nuisance_count; ++i) plan.nuisances.push_back(MakeNuisance(dice, plan));
  SortByTime(plan.nuisances);
  TellHosts(plan);
  const int wish_count = static_cast<int>(dice.Between(0, 6));
  for (int i = 0; i < wish_count; ++i) {
    constexpr WishKind kWishes[] = {WishKind::kRestore, WishKind::kRestore, WishKind::kCancel, WishKind::kRunNow};
    plan.wishes.push_back({OneOf(dice, kWishes), dice.Between(absl::Minutes(5), plan.length), dice.Next()});
  }
  SortByTime(plan.wishes);
  return plan;
}

}  // namespace umbra::sim::fleet
