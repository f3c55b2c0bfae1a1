// A failover cluster around the virtual machine of a test.
#ifndef UMBRA_TESTS_CONFORMANCE_TWO_NODES_H_
#define UMBRA_TESTS_CONFORMANCE_TWO_NODES_H_

#include <string>

#include "agent/cluster/simulated/simulated_cluster.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"

namespace umbra::conformance {

// Two nodes; the virtual machine is a resource, which runs on the first.
class TwoNodes {
 public:
  TwoNodes(hypervisor::SimulatedHypervisor& here, const std::string& vm, const std::string& folder,
           base::Filesystem& files, base::Clock& clock, base::Random& random)
      : there(folder, files, clock, random), cluster({{"here", here}, {"there", there}}, clock), vm_(vm) {
    resource = cluster.AddVm(vm, "here").value();
  }
  // The cluster looks once; whether it has failed the virtual machine over, now or before.
  bool FailedOver() {
    cluster.Monitor();
    return cluster.Failovers(resource) > 0 || there.GetVm(vm_).ok();
  }

  hypervisor::SimulatedHypervisor there;
  cluster::SimulatedCluster cluster;
  std::string resource;

 private:
  const std::string vm_;
};

}  // namespace umbra::conformance

#endif  // UMBRA_TESTS_CONFORMANCE_TWO_NODES_H_
