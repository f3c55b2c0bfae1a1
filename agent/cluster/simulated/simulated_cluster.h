// A failover cluster without nodes' machines: its resources are virtual machines of hypervisors, and its monitor really
// fails them over. For tests and simulation; passes the same contract suite as the real drivers.
//
// Each node has a hypervisor. Monitor() looks at every resource as a cluster's recurring monitor does: one that is
// supposed to be online and whose virtual machine isn't running there has failed. It is stopped for good where it was
// and started on the next node (defined there with the same disks when it isn't), and counted. So a backup that saves a
// virtual machine behind the cluster's back, or a restore that deletes one, finds it running elsewhere.
// What an administrator does has calls of its own. The object stands for the cluster, so it outlives the agent.
//
// Thread-safe. Calls of hypervisors are made with the lock held, so those must not call back.
#ifndef UMBRA_AGENT_CLUSTER_SIMULATED_SIMULATED_CLUSTER_H_
#define UMBRA_AGENT_CLUSTER_SIMULATED_SIMULATED_CLUSTER_H_

#include <map>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "agent/cluster/cluster_service.h"
#include "agent/hypervisor/hypervisor.h"
#include "storage/base/clock.h"

namespace umbra::cluster {

struct SimulatedNode {
  std::string name;
  hypervisor::Hypervisor& hypervisor;
};

class SimulatedCluster final : public ClusterService {
 public:
  // At least one node. Everything outlives the cluster.
  SimulatedCluster(std::vector<SimulatedNode> nodes, base::Clock& clock);
  ~SimulatedCluster() override;

  // --- what an administrator or a test does ---

  // Makes a resource "vm-NAME" of a virtual machine that `node` has; gives its id. Online when the virtual machine
  // runs.
  absl::StatusOr<std::string> AddVm(const std::string& vm_uuid, const std::string& node);
  // Takes the resource offline, or lets the cluster start it.
  absl::Status SetTarget(const std::string& resource, bool online);
  // Tells the cluster to leave the resource alone, or to watch it again.
  void SetMaintenance(const std::string& resource, bool maintenance);

  // One round of the monitor. Call it, or let it run by itself every `interval` of the clock.
  void Monitor();
  void StartMonitor(absl::Duration interval);

  // How often the monitor took the resource for failed.
  int Failovers(const std::string& resource) const;
  bool InMaintenance(const std::string& resource) const;

  void SetAvailable(bool available);  // false: nobody answers (the nodes go on)
  void SetStopFails(bool fails);      // resources don't stop when they are told
  void SetStartFails(bool fails);

  // --- ClusterService ---

  absl::StatusOr<std::string> Describe() override;
  absl::StatusOr<std::vector<ClusterResource>> ListResources() override;
  absl::StatusOr<Deed> Plan(DeedKind kind, const std::string& resource) override;
  absl::Status Begin(const Deed& deed) override;
  absl::Status End(const Deed& deed) override;

 private:
  struct Resource {
    std::string vm_uuid, vm_name;
    size_t node = 0;  // where it is, or was last
    bool target_online = true;
    bool maintenance = false;
    int failovers = 0;
    // Of its last healthy moment: what another node needs to define it.
    std::string configuration;
    std::vector<std::pair<std::string, std::string>> disk_paths;
  };

  hypervisor::Hypervisor& HypervisorOf(const Resource& resource) const { return nodes_[resource.node].hypervisor; }
  absl::StatusOr<Resource*> FindLocked(const std::string& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool RunsLocked(const Resource& resource) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void RememberLocked(Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status StartLocked(const std::string& id, Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status StopLocked(const std::string& id, Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status SetTargetLocked(const std::string& id, bool online) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void FailOverLocked(const std::string& id, Resource& resource) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  const std::vector<SimulatedNode> nodes_;
  base::Clock& clock_;
  mutable absl::Mutex mu_;
  std::map<std::string, Resource> resources_ ABSL_GUARDED_BY(mu_);
  bool available_ ABSL_GUARDED_BY(mu_) = true;
  bool stop_fails_ ABSL_GUARDED_BY(mu_) = false;
  bool start_fails_ ABSL_GUARDED_BY(mu_) = false;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::jthread monitor_;
};

}  // namespace umbra::cluster

#endif  // UMBRA_AGENT_CLUSTER_SIMULATED_SIMULATED_CLUSTER_H_
