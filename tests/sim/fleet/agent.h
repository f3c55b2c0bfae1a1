// An agent's host, and its process in one life: the agent's rooms put together as agent/main.cc does, with the
// simulated network where gRPC is.
#ifndef UMBRA_TESTS_SIM_FLEET_AGENT_H_
#define UMBRA_TESTS_SIM_FLEET_AGENT_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/link/control_link.h"
#include "agent/link/outbox.h"
#include "agent/runner/healer.h"
#include "agent/runner/inventory.h"
#include "agent/runner/job_runner.h"
#include "agent/runner/restore_ledger.h"
#include "agent/writers/vss_host.h"
#include "storage/base/random.h"
#include "tests/sim/fleet/daemon.h"
#include "tests/sim/fleet/network.h"
#include "tests/sim/fleet/plan.h"
#include "tests/sim/fleet/process.h"
#include "tests/sim/guests.h"
#include "tests/sim/life.h"
#include "tests/support/memory_filesystem.h"

namespace umbra::sim::fleet {

// Who is the daemon at present; null while none lives.
using DaemonNow = std::function<Daemon*()>;

// What the disks of a machine held at the cut that an attempt committed.
struct CommittedCut {
  int32_t attempt = 0;
  Guests::Disks disks;
};
using CommittedCuts = std::map<std::pair<std::string, std::string>, std::vector<CommittedCut>>;  // by job and uuid

// What outlives the process.
struct AgentHost {
  AgentHost(RunContext& context, const Plan& machine_plan, int host_number, Line& host_line, Port& daemon_port,
            DaemonNow daemon_now, CommittedCuts& cuts, Flaw broken);

  RunContext& run;
  const Plan& plan;
  const int number;
  Line& line;
  Port& port;
  const DaemonNow daemon;
  CommittedCuts& committed;
  const Flaw flaw;
  testing::MemoryFilesystem files = {};
  base::SeededRandom random;
  hypervisor::SimulatedHypervisor hypervisor;
  Guests guests;
  MachineTrouble trouble = {};
  absl::Duration wall_ahead = {};
  int64_t boots = 1;
  int64_t processes = 0;
};

class FleetAgent {
 public:
  explicit FleetAgent(AgentHost& host);
  ~FleetAgent();  // a live one is stopped as SIGTERM does; a dead one runs to its end without effect

  absl::Status Start();
  bool dead() const { return life_.dead(); }
  void Arm(std::optional<Death> death) { life_.Arm(std::move(death)); }
  void Die();

 private:
  class Handler;
  class Store;

  AgentHost& host_;
  RunContext& run_;
  Life life_;
  ProcessClock clock_;
  LifeFiles files_;
  LifeHypervisor hypervisor_;
  base::SeededRandom random_;
  std::unique_ptr<writers::VssHost> vss_;
  runner::RestoreLedgers ledgers_;
  std::unique_ptr<runner::Healer> healer_;
  link::Outbox outbox_;
  std::unique_ptr<runner::InventoryReporter> inventory_;
  std::unique_ptr<runner::JobRunner> runner_;
  std::unique_ptr<Handler> handler_;
  std::unique_ptr<link::ControlLink> link_;
};

}  // namespace umbra::sim::fleet

#endif  // UMBRA_TESTS_SIM_FLEET_AGENT_H_
