// Proves what a restore job says and does about a virtual machine of a failover cluster (C3), from the assignment to
// the result.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "agent/cluster/simulated/simulated_cluster.h"
#include "tests/unit/agent/runner/fixture.h"

namespace umbra::runner {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class ClusterRestoreTest : public RunnerTest {
 protected:
  void SetUp() override {
    cluster_ = &simulated_;
    RunnerTest::SetUp();
    uuid_ = AddVm("mail01", Content(1));
    resource_ = simulated_.AddVm(uuid_, "here").value();
    ASSERT_FALSE(Run(BackupOf({uuid_})).has_error());
    ASSERT_TRUE(hypervisor_.GuestWrite(uuid_, "vda", 0, base::AsBytes(std::string("overwritten"))).ok());
  }

  // What asks the cluster ends before it does.
  void TearDown() override {
    runner_.reset();
    inventory_.reset();
    host_.reset();
  }

  std::vector<std::string> ClusterWarnings() const {
    std::vector<std::string> reasons = Warnings();
    std::erase_if(reasons, [](const std::string& reason) { return !reason.starts_with("CLUSTER_"); });
    return reasons;
  }
  bool Runs() {
    return hypervisor_.GetVm(uuid_).ok() && hypervisor_.GetVm(uuid_)->state == hypervisor::VmState::kRunning;
  }

  cluster::SimulatedCluster simulated_{{{"here", hypervisor_}}, clock_};
  std::string uuid_, resource_;
};

TEST_F(ClusterRestoreTest, TheInventoryShowsTheResource) {
  AddVm("alone", Content(2));
  const agent::v1::Inventory inventory = TakeInventory(*host_);
  ASSERT_EQ(inventory.virtual_machines_size(), 2);
  for (const v1::VirtualMachine& vm : inventory.virtual_machines()) {
    EXPECT_EQ(vm.has_cluster_resource(), vm.uuid() == uuid_);
    if (vm.uuid() != uuid_) continue;
    EXPECT_EQ(vm.cluster_resource().resource(), resource_);
    EXPECT_EQ(vm.cluster_resource().state(), "online");
    EXPECT_EQ(vm.cluster_resource().node(), "here");
  }
  simulated_.SetAvailable(false);
  EXPECT_EQ(TakeInventory(*host_).virtual_machines_size(), 2);
}

TEST_F(ClusterRestoreTest, IsRefusedBeforeAnythingIsTouched) {
  const auto result = Run(RestoreOf(v1::RestoreSpec::MODE_IN_PLACE));
  EXPECT_EQ(result.error().reason(), "CLUSTER_RESOURCE_ONLINE");
  EXPECT_THAT(result.error().message(), HasSubstr("mail01 was not touched"));
  EXPECT_TRUE(Runs());
  EXPECT_EQ(hypervisor_.GuestRead(uuid_, "vda", 0, 11).value(), "overwritten");
}

TEST_F(ClusterRestoreTest, OnRequestTakesTheResourceOfflineAndTheClusterStartsIt) {
  auto assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->set_take_cluster_offline(true);
  const auto result = Run(assignment);
  EXPECT_FALSE(result.has_error()) << result.error().message();
  EXPECT_THAT(ClusterWarnings(), IsEmpty());
  EXPECT_TRUE(Runs());
  EXPECT_EQ(GuestDisk(uuid_), OnDisk(Content(1)));
  simulated_.Monitor();
  EXPECT_EQ(simulated_.Failovers(resource_), 0);
  EXPECT_TRUE(files_.List(folder_.File("deeds"))->empty());
}

TEST_F(ClusterRestoreTest, AResourceThatWasOfflineIsNotStartedBehindTheClustersBack) {
  ASSERT_TRUE(simulated_.SetTarget(resource_, false).ok());
  auto assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->set_power_on(true);
  const auto result = Run(assignment);
  EXPECT_FALSE(result.has_error()) << result.error().message();
  EXPECT_THAT(ClusterWarnings(), ElementsAre("CLUSTER_RESOURCE_OFFLINE"));
  EXPECT_FALSE(Runs());
}

TEST_F(ClusterRestoreTest, OneThatDoesntComeBackIsAWarning) {
  auto assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->set_take_cluster_offline(true);
  simulated_.SetStartFails(true);
  const auto result = Run(assignment);
  EXPECT_FALSE(result.has_error()) << result.error().message();
  EXPECT_THAT(ClusterWarnings(), ElementsAre("CLUSTER_TIMEOUT"));
  simulated_.SetStartFails(false);
  ASSERT_TRUE(host_->Heal().ok());
  EXPECT_TRUE(files_.List(folder_.File("deeds"))->empty());
  simulated_.Monitor();  // a cluster doesn't stop trying
  EXPECT_EQ(GuestDisk(uuid_), OnDisk(Content(1)));
}

TEST_F(ClusterRestoreTest, AFailedRestoreSaysThatTheResourceStaysOffline) {
  auto assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->set_take_cluster_offline(true);
  const auto ids = store_.disk(uuid_, "vda").ids;
  store_.Damage(*std::find_if(ids.begin(), ids.end(), [](const auto& id) { return !id.IsZero(); }));
  const auto result = Run(assignment);
  ASSERT_TRUE(result.has_error());
  EXPECT_THAT(result.error().message(), HasSubstr("the cluster's resource vm-mail01 stays offline until then"));
  simulated_.Monitor();
  EXPECT_FALSE(Runs());
}

}  // namespace
}  // namespace umbra::runner
