// The daemon's machine, and its process in one life: the server's rooms put together as server/server.cc does, with the
// simulated network where gRPC is.
//
// The catalog is a real SQLite file. What a death leaves of it is a copy of the file and its log at that moment; the
// dead process goes on with the old one, without effect.
#ifndef UMBRA_TESTS_SIM_FLEET_DAEMON_H_
#define UMBRA_TESTS_SIM_FLEET_DAEMON_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "server/api/agent/disk_source.h"
#include "server/api/agent/store_calls.h"
#include "server/dispatch/dispatcher.h"
#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/housekeeper.h"
#include "server/maintenance/repository_set.h"
#include "server/policies/retention_keeper.h"
#include "server/policies/scheduler.h"
#include "storage/base/random.h"
#include "storage/catalog/catalog.h"
#include "tests/sim/fleet/network.h"
#include "tests/sim/fleet/plan.h"
#include "tests/sim/fleet/process.h"
#include "tests/support/memory_filesystem.h"

namespace umbra::sim::fleet {

inline constexpr char kRepository[] = "main";

// A folder of the real machine, removed with everything in it.
class RealFolder {
 public:
  RealFolder();
  ~RealFolder();
  RealFolder(const RealFolder&) = delete;
  RealFolder& operator=(const RealFolder&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// What outlives the process.
struct DaemonMachine {
  RunContext& run;
  std::vector<std::unique_ptr<Line>>& lines;
  const Flaw flaw;
  Dice dice;
  testing::MemoryFilesystem disk = {};  // the repository's
  RealFolder folder = {};
  int life_count = 0;
  absl::Duration wall_ahead = {};
  bool disk_full = false;
  absl::Duration slow_until = {};

  std::string CatalogPath(int life) const { return folder.path() + "/" + std::to_string(life) + "/catalog.db"; }
};

// Of a life: it ends at the n-th of its steps of a name.
struct DaemonDeath {
  std::string point;  // empty: any
  int64_t countdown = 1;
  bool power_cut = false;
};

class Daemon final : public Port {
 public:
  Daemon(DaemonMachine& machine, std::function<void()> on_state_change);
  ~Daemon() override;  // runs to its end; without effect when it is dead

  absl::Status Start();

  bool dead() const { return dead_; }
  bool serving() const { return serving_ && !dead_; }
  void Arm(std::optional<DaemonDeath> death) { death_ = std::move(death); }
  void Die();
  // Something that it does; may be what kills it.
  void Step(std::string_view name);

  // Port.
  bool Listening() const override { return serving(); }
  void Accept(std::shared_ptr<Pipe> pipe) override;

  catalog::Catalog& catalog() { return *catalog_; }
  jobs::JobEngine& engine() { return *engine_; }
  api::StoreCalls& store() { return *store_; }
  const dispatch::AssignmentTable& assignments() const { return assignments_; }
  const maintenance::RepositorySet& repositories() const { return *repositories_; }
  repo::Repository& repository() { return *repositories_->Default().repository; }
  policies::Scheduler& scheduler() { return *scheduler_; }
  policies::RetentionKeeper& retention() { return *retention_; }
  absl::Time Now() { return clock_.Now(); }
  int life() const { return life_; }
  // How long the disk takes for one more call.
  absl::Duration DiskDelay();

  // A restore's stream of a disk; only of this life.
  int BeginReading(const catalog::HostId& host, const store::v1::ReadDiskRequest& request);
  absl::StatusOr<bool> ReadNext(int reading, store::v1::ReadDiskResponse* message);
  void EndReading(int reading) { readings_.erase(reading); }

 private:
  class Disk;
  class Session;

  absl::Status OpenStorage();
  void Serve(const std::shared_ptr<Session>& session);
  void Tamper(agent::v1::AgentMessage& message);
  // The scheduler of Flaw::kDueBeforeSubmit.
  absl::Status RunDueWrongly();

  DaemonMachine& machine_;
  RunContext& run_;
  const int life_;
  const std::function<void()> on_state_change_;
  bool dead_ = false;
  bool serving_ = false;
  bool stopping_ = false;
  std::optional<DaemonDeath> death_;
  ProcessClock clock_;
  base::SeededRandom random_;
  base::PosixFilesystem real_files_;
  std::unique_ptr<Disk> disk_;

  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<maintenance::RepositorySet> repositories_;
  std::unique_ptr<jobs::EventHub> events_;
  std::unique_ptr<jobs::JobEngine> engine_;
  jobs::Subscription watch_;
  dispatch::AgentRegistry agents_;
  dispatch::AssignmentTable assignments_;
  std::unique_ptr<api::StoreCalls> store_;
  std::unique_ptr<dispatch::Dispatcher> dispatcher_;
  std::unique_ptr<maintenance::Housekeeper> housekeeper_;
  std::unique_ptr<policies::RetentionKeeper> retention_;
  std::unique_ptr<policies::Scheduler> scheduler_;
  std::unique_ptr<base::Thread> wrong_scheduler_;
  std::vector<std::unique_ptr<base::Thread>> sessions_;
  std::map<int, std::unique_ptr<api::DiskSource>> readings_;
  int reading_count_ = 0;
};

}  // namespace umbra::sim::fleet

#endif  // UMBRA_TESTS_SIM_FLEET_DAEMON_H_
