// Proves that what the cluster is asked for is written down first and ended on every path: by the hold, by its
// destructor, and by healing after the agent died at any point; never for a virtual machine that isn't there, and only
// what was ours.
#include "agent/cluster/cluster_hold.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/cluster/simulated/simulated_cluster.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::cluster {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr char kTag[] = "job-1-1";

class ClusterHoldTest : public ::testing::Test {
 protected:
  void SetUp() override { ASSERT_TRUE(journal_.Open().ok()); }

  absl::StatusOr<std::unique_ptr<ClusterHold>> Begin(DeedKind kind) {
    const auto resource = cluster_.FindVm(vm_, "");
    if (!resource.ok()) return resource.status();
    return ClusterHold::Begin(tools_, kind, **resource, vm_, kTag);
  }
  bool Runs(hypervisor::Hypervisor& node) {
    const auto vm = node.GetVm(vm_);
    return vm.ok() && vm->state == hypervisor::VmState::kRunning;
  }
  // What a restarted agent does.
  ClusterHealReport HealAnew(const absl::flat_hash_set<std::string>& not_yet = {}) {
    DeedJournal journal(files_, dir_.File("journal"));
    auto left = journal.ListLeft();
    EXPECT_TRUE(left.ok()) << base::Describe(left.status());
    return HealCluster({cluster_, journal, here_}, *std::move(left), not_yet);
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  umbra::testing::SteppingClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor here_{dir_.File("here"), files_, clock_, random_};
  hypervisor::SimulatedHypervisor there_{dir_.File("there"), files_, clock_, random_};
  SimulatedCluster cluster_{{{"here", here_}, {"there", there_}}, clock_};
  const std::string vm_ = here_.CreateVm({.name = "mail01", .disks = {{"vda", base::kMiB}}}).value();
  const std::string resource_ = cluster_.AddVm(vm_, "here").value();
  DeedJournal journal_{files_, dir_.File("journal")};
  const ClusterTools tools_{cluster_, journal_, here_};
};

TEST_F(ClusterHoldTest, EndsAPlannedSave) {
  auto hold = Begin(DeedKind::kPlannedSave);
  ASSERT_TRUE(hold.ok()) << base::Describe(hold.status());
  EXPECT_THAT(journal_.List()->entries, SizeIs(1));
  EXPECT_TRUE(cluster_.InMaintenance(resource_));
  ASSERT_TRUE((*hold)->End().ok());
  EXPECT_FALSE(cluster_.InMaintenance(resource_));
  EXPECT_THAT(journal_.List()->entries, IsEmpty());
}

TEST_F(ClusterHoldTest, ItsDestructorEndsIt) {
  ASSERT_TRUE(Begin(DeedKind::kOffline).ok());  // and is gone
  EXPECT_TRUE(Runs(here_));
  EXPECT_THAT(journal_.List()->entries, IsEmpty());
}

TEST_F(ClusterHoldTest, AFailedBeginIsTakenBack) {
  cluster_.SetStopFails(true);
  EXPECT_EQ(base::ReasonOf(Begin(DeedKind::kOffline).status()), "CLUSTER_TIMEOUT");
  EXPECT_TRUE(Runs(here_));
  EXPECT_THAT(journal_.List()->entries, IsEmpty());
  cluster_.Monitor();
  EXPECT_EQ(cluster_.Failovers(resource_), 0);
}

// Whatever call of the disk fails: the cluster wasn't asked, or the entry is there or ended.
TEST_F(ClusterHoldTest, NothingIsAskedThatIsntWrittenDown) {
  for (int call = 1;; ++call) {
    umbra::testing::FaultFilesystem faulty(files_);
    DeedJournal journal(faulty, dir_.File("journal" + std::to_string(call)));
    ASSERT_TRUE(journal.Open().ok());
    faulty.FailAt(call, umbra::testing::Fault::kNoSpace, true);
    const auto resource = cluster_.FindVm(vm_, "");
    const auto hold = ClusterHold::Begin({cluster_, journal, here_}, DeedKind::kPlannedSave, **resource, vm_, kTag);
    EXPECT_EQ(cluster_.InMaintenance(resource_), hold.ok());
    if (!faulty.struck()) break;
  }
}

// The dead end nothing: what an agent held stays as it is, reachable so that it isn't taken for a leak.
void Die(std::unique_ptr<ClusterHold> hold) {
  static auto& left_behind = *new std::vector<ClusterHold*>();
  left_behind.push_back(hold.release());
}

TEST_F(ClusterHoldTest, HealingEndsWhatADeadAgentLeft) {
  for (const DeedKind kind : {DeedKind::kPlannedSave, DeedKind::kOffline}) {
    auto hold = Begin(kind);
    ASSERT_TRUE(hold.ok());
    Die(*std::move(hold));
    EXPECT_THAT(HealAnew({vm_}).open, SizeIs(1));  // its virtual machine isn't as it was yet
    EXPECT_THAT(HealAnew().healed, SizeIs(1));
    EXPECT_FALSE(cluster_.InMaintenance(resource_));
    EXPECT_TRUE(Runs(here_));
    EXPECT_THAT(HealAnew().healed, IsEmpty());
  }
}

TEST_F(ClusterHoldTest, HealingTakesBackWhatWasOnlyWrittenDown) {
  const Deed deed = cluster_.Plan(DeedKind::kOffline, resource_).value();
  ASSERT_TRUE(journal_.Record({deed, vm_, kTag}).ok());  // the agent died here
  EXPECT_THAT(HealAnew().healed, SizeIs(1));
  EXPECT_TRUE(Runs(here_));
}

TEST_F(ClusterHoldTest, HealingLeavesLiveWorkAlone) {
  auto hold = Begin(DeedKind::kPlannedSave);
  ASSERT_TRUE(hold.ok());
  const auto report = HealCluster(tools_, *journal_.ListLeft(), {});
  EXPECT_THAT(report.healed, IsEmpty());
  EXPECT_THAT(report.open, IsEmpty());
  EXPECT_TRUE(cluster_.InMaintenance(resource_));
}

TEST_F(ClusterHoldTest, HealingTriesAgainWhileTheClusterIsAway) {
  auto hold = Begin(DeedKind::kPlannedSave);
  ASSERT_TRUE(hold.ok());
  cluster_.SetAvailable(false);
  EXPECT_EQ(base::ReasonOf((*hold)->End()), "CLUSTER_UNAVAILABLE");
  const auto report = HealCluster(tools_, *journal_.ListLeft(), {});  // of the same process: no longer live
  ASSERT_THAT(report.open, SizeIs(1));
  EXPECT_EQ(base::ReasonOf(report.open[0].why), "CLUSTER_UNAVAILABLE");
  cluster_.SetAvailable(true);
  EXPECT_THAT(HealAnew().healed, SizeIs(1));
  EXPECT_FALSE(cluster_.InMaintenance(resource_));
}

// What was left before would be taken for an administrator's setting, and stay for good.
TEST_F(ClusterHoldTest, WhatEarlierWorkLeftIsEndedFirst) {
  auto hold = Begin(DeedKind::kPlannedSave);
  ASSERT_TRUE(hold.ok());
  cluster_.SetAvailable(false);
  EXPECT_FALSE((*hold)->End().ok());
  cluster_.SetAvailable(true);
  EXPECT_TRUE(cluster_.InMaintenance(resource_));
  auto next = ClusterHold::Begin(tools_, DeedKind::kPlannedSave, **cluster_.FindVm(vm_, ""), vm_, "job-2-1");
  ASSERT_TRUE(next.ok()) << base::Describe(next.status());
  EXPECT_THAT(journal_.List()->entries, SizeIs(1));
  ASSERT_TRUE((*next)->End().ok());
  EXPECT_FALSE(cluster_.InMaintenance(resource_));
}

// A cluster that starts what was deleted, or restored by half, does harm.
TEST_F(ClusterHoldTest, ADeletedVmIsBroughtBackOnlyWhenItIsThereAgain) {
  const std::string configuration = here_.Configuration(vm_).value();
  const std::string path = here_.GetVm(vm_)->disks.front().path;
  auto hold = Begin(DeedKind::kOffline);
  ASSERT_TRUE(hold.ok());
  ASSERT_TRUE((*hold)->VmWillBeDeleted().ok());
  ASSERT_TRUE(here_.DeleteVm(vm_).ok());
  EXPECT_EQ(base::ReasonOf((*hold)->End()), "CLUSTER_RESOURCE_OFFLINE");
  ASSERT_THAT(HealAnew().open, SizeIs(1));
  cluster_.Monitor();
  EXPECT_FALSE(Runs(here_) || Runs(there_));
  EXPECT_EQ(cluster_.Failovers(resource_), 0);

  ASSERT_TRUE(here_.DefineVm({.configuration = configuration, .disk_paths = {{"vda", path}}}).ok());
  EXPECT_THAT(HealAnew().healed, SizeIs(1));
  EXPECT_TRUE(Runs(here_));
}

TEST_F(ClusterHoldTest, TheJournalKeepsEveryPartAndReportsDamage) {
  const JournalEntry save{{DeedKind::kPlannedSave, "vm-mail01", "=true"}, vm_, kTag};
  const JournalEntry offline{{DeedKind::kOffline, "vm-mail01", "unset"}, vm_, kTag, true};
  ASSERT_TRUE(journal_.Record(save).ok());
  ASSERT_TRUE(journal_.Record(offline).ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("journal/x.deed"), "umbra cluster deed 1\nkind=magic\n").ok());
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("journal/y.deed.tmp"), "half").ok());
  DeedJournal restarted(files_, dir_.File("journal"));
  const auto list = restarted.List();
  ASSERT_TRUE(list.ok());
  EXPECT_THAT(list->entries, ElementsAre(offline, save));
  EXPECT_THAT(list->damaged, ElementsAre(dir_.File("journal/x.deed")));
  EXPECT_TRUE(journal_.IsLive(save));
  EXPECT_FALSE(restarted.IsLive(save));
  for (const JournalEntry& bad : {JournalEntry{{}, vm_, "../x"}, JournalEntry{{.former = "a\nb"}, vm_, kTag}}) {
    EXPECT_EQ(base::ReasonOf(journal_.Record(bad)), "INVALID_REQUEST");
  }
}

TEST_F(ClusterHoldTest, TheMonitorRunsByItselfOnTheClock) {
  cluster_.StartMonitor(absl::Seconds(10));
  here_.KillGuest(vm_);
  base::SystemClock real;
  for (int i = 0; i < 20'000 && cluster_.Failovers(resource_) == 0; ++i) real.Sleep(absl::Milliseconds(1));
  EXPECT_EQ(cluster_.Failovers(resource_), 1);
  EXPECT_TRUE(Runs(there_));
}

}  // namespace
}  // namespace umbra::cluster
