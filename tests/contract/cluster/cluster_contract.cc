// Proves that every cluster driver keeps the promises of agent/cluster/cluster_service.h, and that the cluster behind
// it is one: the same tests are linked into one program for the simulated cluster and one for a real Pacemaker.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "tests/contract/cluster/cluster_under_test.h"

namespace umbra::cluster {
namespace {

using ::testing::IsEmpty;
using ::testing::Not;

#define ASSERT_OK(expression)                             \
  do {                                                    \
    const absl::Status status_ = (expression);            \
    ASSERT_TRUE(status_.ok()) << base::Describe(status_); \
  } while (false)

class ClusterContract : public ::testing::Test {
 protected:
  static void SetUpTestSuite() { cluster_ = MakeClusterUnderTest(why_not_).release(); }
  static void TearDownTestSuite() {
    delete cluster_;
    cluster_ = nullptr;
  }

  void SetUp() override {
    if (cluster_ == nullptr) GTEST_SKIP() << why_not_;
    cluster_->SetAnswers(true);
    cluster_->SetStopFails(false);
    cluster_->MakeHealthy();
    home_ = cluster_->RunsOn();
    ASSERT_THAT(home_, Not(IsEmpty()));
  }

  ClusterService& service() { return cluster_->service(); }
  const std::string& resource() { return cluster_->resource(); }
  Deed Plan(DeedKind kind) {
    const auto deed = service().Plan(kind, resource());
    EXPECT_TRUE(deed.ok()) << base::Describe(deed.status());
    return deed.value_or(Deed{});
  }
  ResourceState State() {
    const auto found = service().FindVm(cluster_->vm_uuid(), cluster_->vm_name());
    EXPECT_TRUE(found.ok() && found->has_value()) << base::Describe(found.status());
    return (*found)->state;
  }

  static ClusterUnderTest* cluster_;
  static std::string why_not_;
  std::string home_;
};
ClusterUnderTest* ClusterContract::cluster_ = nullptr;
std::string ClusterContract::why_not_;

TEST_F(ClusterContract, KnowsTheVmAndWhereItIs) {
  const auto resources = service().ListResources();
  ASSERT_OK(resources.status());
  ASSERT_EQ(resources->size(), 1u);
  const ClusterResource& found = resources->front();
  EXPECT_EQ(found.id, resource());
  EXPECT_EQ(found.vm_name, cluster_->vm_name());
  EXPECT_EQ(found.vm_uuid, cluster_->vm_uuid());
  EXPECT_EQ(found.state, ResourceState::kOnline);
  EXPECT_EQ(found.node, home_);
  EXPECT_TRUE(found.managed);
  EXPECT_TRUE(service().Describe().ok());

  const auto nobody = service().FindVm("00000000-0000-4000-8000-000000000000", "nobody");
  ASSERT_OK(nobody.status());
  EXPECT_FALSE(nobody->has_value());
}

// C1: this is what the service is there for.
TEST_F(ClusterContract, AVmStoppedBehindItsBackIsFailedOver) {
  cluster_->StopVm();
  cluster_->LetMonitorLook();
  EXPECT_THAT(cluster_->RunsOn(), Not(IsEmpty()));
  EXPECT_NE(cluster_->RunsOn(), home_);
  EXPECT_EQ(cluster_->Failures(), 1);
}

// C2.
TEST_F(ClusterContract, APlannedSaveIsNoFailure) {
  const Deed deed = Plan(DeedKind::kPlannedSave);
  ASSERT_OK(service().Begin(deed));
  EXPECT_EQ(cluster_->RunsOn(), home_);
  cluster_->StopVm();
  cluster_->LetMonitorLook();
  EXPECT_THAT(cluster_->RunsOn(), IsEmpty());
  cluster_->StartVm(home_);
  ASSERT_OK(service().End(deed));
  cluster_->LetMonitorLook();
  EXPECT_EQ(cluster_->RunsOn(), home_);
  EXPECT_EQ(cluster_->Failures(), 0);
}

TEST_F(ClusterContract, AfterAPlannedSaveItIsWatchedAgain) {
  const Deed deed = Plan(DeedKind::kPlannedSave);
  ASSERT_OK(service().Begin(deed));
  ASSERT_OK(service().End(deed));
  cluster_->StopVm();
  cluster_->LetMonitorLook();
  EXPECT_THAT(cluster_->RunsOn(), Not(IsEmpty()));
  EXPECT_EQ(cluster_->Failures(), 1);
}

TEST_F(ClusterContract, APlannedSaveMayBeRepeated) {
  const Deed deed = Plan(DeedKind::kPlannedSave);
  ASSERT_OK(service().End(deed));  // never begun: the agent died in between
  ASSERT_OK(service().Begin(deed));
  ASSERT_OK(service().Begin(deed));
  ASSERT_OK(service().End(deed));
  ASSERT_OK(service().End(deed));
  const auto found = service().FindVm(cluster_->vm_uuid(), "");
  ASSERT_OK(found.status());
  EXPECT_TRUE((*found)->managed);
}

TEST_F(ClusterContract, AnAdministratorsMaintenanceStays) {
  cluster_->SetMaintenance(true);
  const Deed deed = Plan(DeedKind::kPlannedSave);
  ASSERT_OK(service().Begin(deed));
  ASSERT_OK(service().End(deed));
  const auto found = service().FindVm(cluster_->vm_uuid(), "");
  ASSERT_OK(found.status());
  EXPECT_FALSE((*found)->managed);
  // And what is left alone can't be taken offline.
  EXPECT_EQ(base::ReasonOf(service().Plan(DeedKind::kOffline, resource()).status()), "CLUSTER_RESOURCE_UNMANAGED");
  cluster_->SetMaintenance(false);
}

// C3.
TEST_F(ClusterContract, OfflineStopsTheVmUntilTheEnd) {
  const Deed deed = Plan(DeedKind::kOffline);
  ASSERT_OK(service().Begin(deed));
  EXPECT_THAT(cluster_->RunsOn(), IsEmpty());
  EXPECT_EQ(State(), ResourceState::kOffline);
  cluster_->LetMonitorLook();
  EXPECT_THAT(cluster_->RunsOn(), IsEmpty());
  ASSERT_OK(service().End(deed));
  EXPECT_THAT(cluster_->RunsOn(), Not(IsEmpty()));
  EXPECT_EQ(State(), ResourceState::kOnline);
  EXPECT_EQ(cluster_->Failures(), 0);
}

TEST_F(ClusterContract, OfflineMayBeRepeated) {
  const Deed deed = Plan(DeedKind::kOffline);
  ASSERT_OK(service().End(deed));
  EXPECT_EQ(cluster_->RunsOn(), home_);
  ASSERT_OK(service().Begin(deed));
  ASSERT_OK(service().Begin(deed));
  ASSERT_OK(service().End(deed));
  ASSERT_OK(service().End(deed));
  EXPECT_THAT(cluster_->RunsOn(), Not(IsEmpty()));
}

TEST_F(ClusterContract, WhatAnAdministratorTookOfflineStaysOffline) {
  cluster_->SetTargetOffline();
  EXPECT_EQ(State(), ResourceState::kOffline);
  const Deed deed = Plan(DeedKind::kOffline);
  ASSERT_OK(service().Begin(deed));
  ASSERT_OK(service().End(deed));
  EXPECT_THAT(cluster_->RunsOn(), IsEmpty());
  EXPECT_EQ(State(), ResourceState::kOffline);
}

TEST_F(ClusterContract, AStopThatFailsIsToldAndTakenBack) {
  const Deed deed = Plan(DeedKind::kOffline);
  cluster_->SetStopFails(true);
  EXPECT_FALSE(service().Begin(deed).ok());
  EXPECT_EQ(cluster_->RunsOn(), home_);
  cluster_->SetStopFails(false);
  service().End(deed).IgnoreError();  // what a cluster makes of a failed stop differs
  EXPECT_EQ(cluster_->RunsOn(), home_);
}

TEST_F(ClusterContract, SaysThatNobodyAnswers) {
  const Deed save = Plan(DeedKind::kPlannedSave);
  cluster_->SetAnswers(false);
  for (const absl::Status& status :
       {service().Describe().status(), service().ListResources().status(),
        service().FindVm(cluster_->vm_uuid(), "").status(), service().Plan(DeedKind::kOffline, resource()).status(),
        service().Begin(save), service().End(save)}) {
    EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
    EXPECT_EQ(base::ReasonOf(status), "CLUSTER_UNAVAILABLE");
  }
}

TEST_F(ClusterContract, AResourceThatIsGoneNeedsNoEnd) {
  EXPECT_EQ(base::ReasonOf(service().Plan(DeedKind::kOffline, "gone").status()), "CLUSTER_RESOURCE_NOT_FOUND");
  for (const DeedKind kind : {DeedKind::kPlannedSave, DeedKind::kOffline}) {
    Deed deed = Plan(kind);
    deed.resource = "gone";
    EXPECT_EQ(base::ReasonOf(service().Begin(deed)), "CLUSTER_RESOURCE_NOT_FOUND");
    EXPECT_TRUE(service().End(deed).ok());
  }
}

}  // namespace
}  // namespace umbra::cluster
