// The agent's process in one life: the real coordinator, Hyper-V writer, checkpoint provider, journal and healing, put
// together as writers::VssHost does, with faults in front of each; and the jobs that it runs.
#ifndef UMBRA_TESTS_SIM_AGENT_H_
#define UMBRA_TESTS_SIM_AGENT_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "agent/cluster/cluster_hold.h"
#include "agent/cluster/deed_journal.h"
#include "agent/journal/healing.h"
#include "agent/journal/intent_journal.h"
#include "agent/providers/checkpoint_provider.h"
#include "agent/vss/coordinator.h"
#include "agent/vss/requester.h"
#include "agent/writers/hyperv_writer.h"
#include "agent/writers/vm_restore.h"
#include "storage/base/random.h"
#include "tests/sim/apps.h"
#include "tests/sim/cluster.h"
#include "tests/sim/faulty.h"
#include "tests/sim/guests.h"
#include "tests/sim/life.h"
#include "tests/sim/service.h"

namespace umbra::sim {

// What a backup that was complete left with the daemon, of one virtual machine.
struct Point {
  vss::BackupDocuments documents;
  std::string configuration;
  hypervisor::VmInfo vm;
  Guests::Disks disks;
};

// What outlives the agent.
struct Host {
  RunContext& run;
  const Plan& plan;
  base::Filesystem& files;
  hypervisor::SimulatedHypervisor& hypervisor;
  Guests& guests;
  std::vector<std::unique_ptr<App>>& apps;
  Service& service;
  Cluster& cluster;
  PendingFaults& faults;
  MachineTrouble& trouble;
  int life_count = 0;
  std::map<std::string, Point> points = {};  // by uuid; the newest
  std::function<void()> power_cut = {};
  std::map<std::string, hypervisor::Checkpoint> checkpoints =
      {};  // by virtual machine, as the recovery points know them
};

inline constexpr char kScratchFolder[] = "/scratch";
inline constexpr char kJournalFolder[] = "/intents";

enum class JobOutcome { kPending, kComplete, kFailed, kCancelled, kCutShort };  // the last: the agent died

class Agent {
 public:
  Agent(Host& host, std::optional<Death> death);
  ~Agent();  // runs to its end; without effect when it is dead

  bool dead() const { return life_.dead(); }
  // Heals as often as the agent does, until nothing is open or `patience` is over.
  void HealUntilDone(absl::Duration patience);
  // At the start, and from then on from time to time.
  void StartHealing();
  // Blocks until the job has ended. `must_work`: anything but a complete backup breaks the rules.
  JobOutcome RunJob(const JobPlan& job, const std::string& owner_tag, bool must_work);
  // The same for a restore in place, as the agent's runner does it. Without a point there is nothing to do: complete.
  JobOutcome RunRestore(const RestorePlan& restore, bool must_work);

  size_t intent_count();
  size_t deed_count();
  size_t app_copy_count() const { return app_provider_.set_count(); }

 private:
  struct JobRun;

  bool HealOnce();
  bool HealClusterAfter(const journal::HealReport& machines, cluster::JournalList deeds);
  size_t CountFiles(const char* folder, std::string_view suffix);
  absl::Status Choose(JobRun& job);
  absl::Status PrepareWhenFree(JobRun& job);
  absl::Status TakeSnapshot(JobRun& job);
  void CheckCopies(JobRun& job);
  absl::Status ReadAll(JobRun& job);
  absl::Status ReadVm(JobRun& job, const writers::CapturedVm& captured);
  absl::Status Recover(hypervisor::BlockReader& reader, std::string* bytes);
  absl::Status StoreAndMark(JobRun& job);
  absl::Status Commit(JobRun& job);
  absl::Status Step(JobRun& job, int step);
  JobOutcome Conclude(JobRun& job, const absl::Status& status);
  void CheckUntouched(const JobPlan& job);
  absl::Status RestoreFiles(const Point& point, std::vector<journal::RestoredDisk>& disks);
  absl::Status WriteDisk(const journal::RestoredDisk& disk, const std::string& bytes);
  absl::Status Restore(const RestorePlan& plan, const Point& point);
  void RegisterByHand(const Point& point, bool ran);

  Host& host_;
  RunContext& run_;
  Life life_;
  LifeClock clock_;
  LifeFiles files_;
  LifeHypervisor hypervisor_;
  base::SeededRandom random_;
  journal::IntentJournal journal_;
  const providers::PointInTimeTools tools_;
  providers::CheckpointProvider provider_;
  LifeCluster life_cluster_;
  cluster::DeedJournal deeds_;
  const cluster::ClusterTools cluster_tools_;
  writers::HypervWriter writer_;
  std::vector<std::unique_ptr<AppWriter>> app_writers_;
  AppProvider app_provider_;
  ServiceCommands service_commands_;
  ServiceCopier service_copier_;
  providers::FolderProvider folder_provider_;
  writers::FileSetWriter file_set_writer_;
  std::vector<std::unique_ptr<FaultyWriter>> faulty_writers_;
  std::vector<std::unique_ptr<FaultyProvider>> faulty_providers_;
  std::unique_ptr<vss::Coordinator> coordinator_;
  bool stop_healing_ = false;
  std::unique_ptr<base::Thread> healer_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_AGENT_H_
