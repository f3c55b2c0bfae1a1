// What the contract suite needs around a cluster: a virtual machine that is a resource of it, hands that do to it what
// the cluster doesn't know of, and an administrator.
#ifndef UMBRA_TESTS_CONTRACT_CLUSTER_CLUSTER_UNDER_TEST_H_
#define UMBRA_TESTS_CONTRACT_CLUSTER_CLUSTER_UNDER_TEST_H_

#include <memory>
#include <string>

#include "agent/cluster/cluster_service.h"

namespace umbra::cluster {

// A cluster of two nodes with one resource. One object serves all tests of a program, since a start takes seconds.
class ClusterUnderTest {
 public:
  virtual ~ClusterUnderTest() = default;

  virtual ClusterService& service() = 0;
  virtual const std::string& vm_uuid() const = 0;
  virtual const std::string& vm_name() const = 0;
  virtual const std::string& resource() const = 0;

  // The virtual machine runs on a node, is watched there, has no setting of anybody, and its failures are forgotten.
  virtual void MakeHealthy() = 0;

  // Where the virtual machine really runs; empty when it doesn't.
  virtual std::string RunsOn() = 0;
  // Behind the cluster's back.
  virtual void StopVm() = 0;
  virtual void StartVm(const std::string& node) = 0;
  // Returns when the monitor has looked at the resource, if it does so at all, and the cluster has done what it thinks
  // fit.
  virtual void LetMonitorLook() = 0;
  // Failures of the resource that the cluster has noticed since MakeHealthy.
  virtual int Failures() = 0;

  // The administrator's settings.
  virtual void SetMaintenance(bool maintenance) = 0;
  virtual void SetTargetOffline() = 0;

  virtual void SetAnswers(bool answers) = 0;  // false: nobody can be asked
  virtual void SetStopFails(bool fails) = 0;  // the virtual machine doesn't stop
};

// Each program of the suite has its own. Null with a text in `why_not` when it can't be had here: tests are skipped.
std::unique_ptr<ClusterUnderTest> MakeClusterUnderTest(std::string& why_not);

}  // namespace umbra::cluster

#endif  // UMBRA_TESTS_CONTRACT_CLUSTER_CLUSTER_UNDER_TEST_H_
