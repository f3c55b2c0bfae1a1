// The failover cluster of a run: two nodes, of which the simulated host is the first. Its monitor looks again and
// again, mostly in the middle of what the agent does, and starts on the other node what it doesn't find running on this
// one.
//
// No resource is ever failed over: whatever the agent does to a machine, and wherever it dies, the cluster was told
// first (C1 to C3). When nothing goes wrong any more, every resource is online and watched, as before.
#ifndef UMBRA_TESTS_SIM_CLUSTER_H_
#define UMBRA_TESTS_SIM_CLUSTER_H_

#include <memory>
#include <string>
#include <vector>

#include "agent/cluster/simulated/simulated_cluster.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "tests/sim/guests.h"
#include "tests/sim/life.h"
#include "tests/sim/plan.h"
#include "tests/sim/run_context.h"

namespace umbra::sim {

inline constexpr char kDeedsFolder[] = "/deeds";

class Cluster {
 public:
  // Makes the resources of the plan. Everything outlives it.
  Cluster(RunContext& run, hypervisor::SimulatedHypervisor& here, Guests& guests, base::Filesystem& files,
          base::Random& random, const Plan& plan);

  void Start();
  void Stop();
  // The agent is about to call somebody: perhaps the cluster looks just now.
  void NoteCall();
  // Nobody works on the machines: they are resources as before.
  void CheckAsBefore();

  cluster::ClusterService& service() { return cluster_; }

 private:
  struct Resource {
    int vm = 0;
    std::string id;
  };

  void Look();

  RunContext& run_;
  hypervisor::SimulatedHypervisor there_;
  cluster::SimulatedCluster cluster_;
  Guests& guests_;
  Dice dice_;
  std::vector<Resource> resources_;
  bool failed_over_ = false;
  bool stop_ = false;
  std::unique_ptr<base::Thread> monitor_;
};

// The process's way to the cluster: takes time, may find nobody there, and is where the process may die.
class LifeCluster final : public cluster::ClusterService {
 public:
  LifeCluster(RunContext& run, Life& life, base::Clock& clock, cluster::ClusterService& real, const sim::Plan& plan,
              MachineTrouble& trouble)
      : run_(run),
        life_(life),
        clock_(clock),
        real_(real),
        plan_(plan),
        trouble_(trouble),
        dice_(run.dice.Split("cluster")) {}

  absl::StatusOr<std::string> Describe() override;
  absl::StatusOr<std::vector<cluster::ClusterResource>> ListResources() override;
  absl::StatusOr<cluster::Deed> Plan(cluster::DeedKind kind, const std::string& resource) override;
  absl::Status Begin(const cluster::Deed& deed) override;
  absl::Status End(const cluster::Deed& deed) override;

 private:
  template <typename F>
  auto Call(std::string_view name, F&& make_call) -> decltype(make_call()) {
    if (absl::Status reached = Reach(); !reached.ok()) return reached;
    return life_.Through(name, std::forward<F>(make_call));
  }
  absl::Status Reach();

  RunContext& run_;
  Life& life_;
  base::Clock& clock_;
  cluster::ClusterService& real_;
  const sim::Plan& plan_;
  MachineTrouble& trouble_;
  Dice dice_;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_CLUSTER_H_
