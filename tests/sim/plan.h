// What a seed makes of a run: the machines, the jobs, and what goes wrong with them.
#ifndef UMBRA_TESTS_SIM_PLAN_H_
#define UMBRA_TESTS_SIM_PLAN_H_

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/time/time.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/vss/types.h"
#include "agent/vss/writer.h"
#include "tests/sim/dice.h"

namespace umbra::sim {

struct VmPlan {
  std::vector<hypervisor::SimulatedDisk> disks;
  bool guest_agent = true;
  bool running = true;
  bool paused = false;
  hypervisor::SimulatedFaults faults;
  absl::Duration silent_at = absl::InfiniteDuration();  // since the start; the agent in the guest stops answering
  absl::Duration silent_for;
  absl::Duration killed_at = absl::InfiniteDuration();
  bool clustered = false;           // a resource of the failover cluster
  bool silent_when_frozen = false;  // falls silent as soon as it is frozen, for `silent_for`
};

struct AppPlan {
  vss::ApplicationLevel level = vss::ApplicationLevel::kFrontEnd;
  absl::Duration freeze_limit = absl::Seconds(60);
};

enum class FaultKind { kDelay, kVetoBefore, kVetoAfter, kThrow, kHang };
std::string_view NameOf(FaultKind kind);

// Happens once, at the first such event or call.
struct WriterFault {
  int writer = 0;  // 0: Hyper-V; then the applications
  vss::WriterEvent event = vss::WriterEvent::kFreeze;
  FaultKind kind = FaultKind::kVetoBefore;
  absl::Duration duration;  // of kDelay and kHang
};

inline constexpr std::string_view kProviderCalls[] = {
    "IsVolumeSupported", "BeginPrepareSnapshot", "EndPrepareSnapshots",     "PreCommitSnapshots",
    "CommitSnapshots",   "PostCommitSnapshots",  "PreFinalCommitSnapshots", "PostFinalCommitSnapshots",
    "AbortSnapshots",    "DeleteSnapshots",
};

struct ProviderFault {
  int provider = 0;  // 0: checkpoints; 1: applications' data
  std::string_view call;
  FaultKind kind = FaultKind::kVetoBefore;
  absl::Duration duration;
};

// The agent's process ends at its n-th call of this name, before the call reaches anybody or after it has been done.
struct Death {
  std::string_view call;  // empty: any
  int countdown = 1;
  bool after = false;
  absl::Duration downtime;
  bool power_cut = false;  // the whole host's: guests are off then, and files are as they were last synced
};

// Of the failover cluster, whose resources the plans of the machines say.
struct ClusterPlan {
  bool exists = false;
  int silent_call = 0;  // of the agent, counted over all, from which on nobody answers; 0: never
  int silent_count = 0;
};

struct Outage {
  int first_call = 0;  // of the hypervisor, counted over all; 0: never
  int call_count = 0;
};

// A service that joins through the file-set writer.
struct ServicePlan {
  bool exists = false;
  FaultKind freeze = FaultKind::kDelay;  // what goes wrong with the first freeze; a delay: nothing
  int thaw_failures = 0;
};

struct JobPlan {
  std::vector<int> vms;
  std::vector<int> apps;
  bool service = false;
  bool allow_crash_consistent = false;
  int cancel_after_step = -1;  // of the requester; -1: never
  absl::Duration start;
};

// In place, of the newest point that a job of the run made, after the jobs of the life in which it comes about.
struct RestorePlan {
  int vm = 0;
  bool power_on = false;
  bool take_cluster_offline = false;
};

struct Plan {
  std::vector<VmPlan> vms;
  std::vector<AppPlan> apps;
  ServicePlan service;
  ClusterPlan cluster;
  std::vector<JobPlan> jobs;
  std::vector<RestorePlan> restores;
  std::vector<WriterFault> writer_faults;
  std::vector<ProviderFault> provider_faults;
  std::vector<Death> deaths;  // one for each life of the agent, in order; the life after the last is spared
  Outage outage;
  int file_error_at = 0;                                // n-th change of the agent's own files fails; 0: never
  absl::Duration slowest_call = absl::Milliseconds(2);  // of the hypervisor

  // For people: one line.
  std::string Describe() const;
};

Plan MakePlan(Dice dice);

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_PLAN_H_
