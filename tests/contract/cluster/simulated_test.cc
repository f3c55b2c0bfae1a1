// Runs the contract suite on the simulated cluster, whose nodes are simulated hypervisors with real files.
#include "agent/cluster/simulated/simulated_cluster.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/contract/cluster/cluster_under_test.h"
#include "tests/support/temp_dir.h"

namespace umbra::cluster {
namespace {

class SimulatedUnderTest final : public ClusterUnderTest {
 public:
  SimulatedUnderTest()
      : vm_uuid_(first_.CreateVm({.name = "mail01", .disks = {{"vda", base::kMiB}}}).value()),
        resource_(cluster_.AddVm(vm_uuid_, "node1").value()) {}

  ClusterService& service() override { return cluster_; }
  const std::string& vm_uuid() const override { return vm_uuid_; }
  const std::string& vm_name() const override { return vm_name_; }
  const std::string& resource() const override { return resource_; }

  void MakeHealthy() override {
    cluster_.SetMaintenance(resource_, false);
    UMBRA_CHECK(cluster_.SetTarget(resource_, true).ok());
    cluster_.Monitor();
    failures_before_ = cluster_.Failovers(resource_);
  }
  std::string RunsOn() override {
    if (Runs(first_)) return "node1";
    return Runs(second_) ? "node2" : "";
  }
  void StopVm() override {
    first_.KillGuest(vm_uuid_);
    second_.KillGuest(vm_uuid_);
  }
  void StartVm(const std::string& node) override {
    UMBRA_CHECK((node == "node1" ? first_ : second_).Start(vm_uuid_).ok());
  }
  void LetMonitorLook() override { cluster_.Monitor(); }
  int Failures() override { return cluster_.Failovers(resource_) - failures_before_; }
  void SetMaintenance(bool maintenance) override { cluster_.SetMaintenance(resource_, maintenance); }
  void SetTargetOffline() override { UMBRA_CHECK(cluster_.SetTarget(resource_, false).ok()); }
  void SetAnswers(bool answers) override { cluster_.SetAvailable(answers); }
  void SetStopFails(bool fails) override { cluster_.SetStopFails(fails); }

 private:
  bool Runs(hypervisor::Hypervisor& node) const {
    const auto vm = node.GetVm(vm_uuid_);
    return vm.ok() && vm->state == hypervisor::VmState::kRunning;
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  hypervisor::SimulatedHypervisor first_{dir_.File("node1"), files_, clock_, random_};
  hypervisor::SimulatedHypervisor second_{dir_.File("node2"), files_, clock_, random_};
  SimulatedCluster cluster_{{{"node1", first_}, {"node2", second_}}, clock_};
  const std::string vm_name_ = "mail01";
  const std::string vm_uuid_;
  const std::string resource_;
  int failures_before_ = 0;
};

}  // namespace

std::unique_ptr<ClusterUnderTest> MakeClusterUnderTest(std::string&) {
  return std::make_unique<SimulatedUnderTest>();
}

}  // namespace umbra::cluster
