// Proves that a guest never stays frozen: every way a freeze or thaw can go wrong, on the simulated hypervisor.
#include "agent/providers/guest_freeze.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/providers/vm_point_in_time.h"
#include "storage/base/status.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::providers {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class GuestFreezeTest : public ::testing::Test {
 protected:
  GuestFreezeTest() : hypervisor_(dir_.File("vms"), files_, clock_, random_), journal_(files_, dir_.File("journal")) {
    EXPECT_TRUE(journal_.Open().ok());
    vm_ = *hypervisor_.CreateVm({.name = "one", .disks = {{"vda", 1 << 20, {}}}});
    off_ = *hypervisor_.CreateVm({.name = "off", .disks = {{"vda", 1 << 20, {}}}, .running = false});
    mute_ = *hypervisor_.CreateVm({.name = "mute", .disks = {{"vda", 1 << 20, {}}}, .guest_agent = false});
  }

  GuestFreeze Guard(const std::string& vm) { return {hypervisor_, clock_, vm, limits_}; }
  VmPointInTimeRequest Request(bool freeze) { return {vm_, {{"vda"}, dir_.File("s"), "job-1-1"}, freeze}; }
  PointInTimeTools Tools() { return {hypervisor_, journal_, clock_}; }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  umbra::testing::SteppingClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor hypervisor_;
  journal::IntentJournal journal_;
  FreezeLimits limits_;
  std::string vm_, off_, mute_;
};

TEST_F(GuestFreezeTest, FreezesThawsAndMeasuresInBetween) {
  auto freeze = Guard(vm_);
  ASSERT_TRUE(freeze.Freeze().ok());
  EXPECT_TRUE(hypervisor_.IsFrozen(vm_));
  EXPECT_TRUE(freeze.thaw_owed());
  clock_.Advance(absl::Milliseconds(134));
  ASSERT_TRUE(freeze.Thaw().ok());
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
  EXPECT_FALSE(freeze.thaw_owed());
  EXPECT_EQ(freeze.duration(), absl::Milliseconds(134));
}

TEST_F(GuestFreezeTest, DestructorThaws) {
  {
    auto freeze = Guard(vm_);
    ASSERT_TRUE(freeze.Freeze().ok());
  }
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
}

TEST_F(GuestFreezeTest, FreezeThatLandsLateIsThawedBeforeTheErrorIsTold) {
  hypervisor_.SetFaults(vm_, {.freeze_delay = absl::Seconds(40)});
  auto freeze = Guard(vm_);
  const absl::Status frozen = freeze.Freeze();
  EXPECT_EQ(base::ReasonOf(frozen), "GUEST_FREEZE_TIMEOUT");
  EXPECT_FALSE(freeze.thaw_owed());
  clock_.Advance(absl::Minutes(5));
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));  // it has landed, and was undone
}

TEST_F(GuestFreezeTest, ThawIsTriedUntilItIsAnswered) {
  hypervisor_.SetFaults(vm_, {.thaw_failures = 7});
  auto freeze = Guard(vm_);
  ASSERT_TRUE(freeze.Freeze().ok());
  EXPECT_TRUE(freeze.Thaw().ok());
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
  EXPECT_GT(freeze.duration(), absl::Seconds(1));  // the waits are part of what the guest stood still
}

TEST_F(GuestFreezeTest, GivesUpAfterItsPatienceAndOwesTheThaw) {
  hypervisor_.SetFaults(vm_, {.thaw_failures = 1'000'000});
  {
    auto freeze = Guard(vm_);
    ASSERT_TRUE(freeze.Freeze().ok());
    const absl::Status thawed = freeze.Thaw();
    EXPECT_EQ(base::ReasonOf(thawed), "GUEST_FREEZE_TIMEOUT");
    EXPECT_THAT(base::MessageOf(thawed), HasSubstr("may still be frozen"));
    EXPECT_TRUE(freeze.thaw_owed());
    EXPECT_LE(freeze.duration(), limits_.patience + limits_.longest_wait);
    hypervisor_.SetFaults(vm_, {});
  }
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));  // the destructor's last try
}

TEST_F(GuestFreezeTest, RefusalsAreToldAndOweNothing) {
  const auto reason = [&](const std::string& vm) {
    auto freeze = Guard(vm);
    const absl::Status frozen = freeze.Freeze();
    EXPECT_FALSE(freeze.thaw_owed());
    return base::ReasonOf(frozen);
  };
  EXPECT_EQ(reason(off_), "GUEST_NOT_RUNNING");
  EXPECT_EQ(reason(mute_), "GUEST_AGENT_NOT_CONFIGURED");
  hypervisor_.SetFaults(vm_, {.freeze_fails = true});
  EXPECT_EQ(reason(vm_), "GUEST_FREEZE_FAILED");
  hypervisor_.SetFaults(vm_, {.agent_silent = true});
  EXPECT_EQ(reason(vm_), "GUEST_AGENT_NOT_RUNNING");
}

TEST_F(GuestFreezeTest, GuestThatThawedByItselfIsNotConsistent) {
  auto freeze = Guard(vm_);
  ASSERT_TRUE(freeze.Freeze().ok());
  ASSERT_TRUE(hypervisor_.Thaw(vm_, absl::Seconds(1)).ok());  // as Windows does after ten seconds
  EXPECT_EQ(base::ReasonOf(freeze.Thaw()), "GUEST_FREEZE_FAILED");
}

TEST_F(GuestFreezeTest, WhoeverGivesUpThawsWhatIsOwedAndNothingElse) {
  auto freeze = Guard(vm_);
  EXPECT_TRUE(freeze.ThawIfOwed().ok());
  ASSERT_TRUE(freeze.Freeze().ok());
  hypervisor_.SetFaults(vm_, {.thaw_failures = 3});
  clock_.Advance(absl::Milliseconds(10));
  EXPECT_TRUE(freeze.ThawIfOwed().ok());
  EXPECT_FALSE(freeze.thaw_owed());
  EXPECT_FALSE(hypervisor_.IsFrozen(vm_));
  EXPECT_GT(freeze.duration(), absl::Milliseconds(10));
}

TEST_F(GuestFreezeTest, WhoeverGivesUpHearsThatTheGuestMayStillBeFrozen) {
  auto freeze = Guard(vm_);
  ASSERT_TRUE(freeze.Freeze().ok());
  hypervisor_.SetFaults(vm_, {.thaw_failures = 1'000'000});
  EXPECT_EQ(base::ReasonOf(freeze.ThawIfOwed()), "GUEST_FREEZE_TIMEOUT");
  EXPECT_TRUE(freeze.thaw_owed());
  hypervisor_.SetFaults(vm_, {});
}

// --- the point in time ---

TEST_F(GuestFreezeTest, IntentCoversThePointInTimeFromBeforeTheFreezeToTheEnd) {
  auto point = VmPointInTime::Prepare(Tools(), Request(true));
  ASSERT_TRUE(point.ok()) << point.status();
  EXPECT_THAT(journal_.List()->intents, SizeIs(1));
  EXPECT_EQ(journal_.List()->intents[0].kind, journal::IntentKind::kFrozenPointInTime);
  ASSERT_TRUE((*point)->Take().ok());
  EXPECT_NE((*point)->view(), nullptr);
  EXPECT_THAT(journal_.List()->intents, SizeIs(1));
  ASSERT_TRUE((*point)->Close().ok());
  EXPECT_THAT(journal_.List()->intents, IsEmpty());
  EXPECT_TRUE(hypervisor_.CheckNoJob(vm_).ok());
}

TEST_F(GuestFreezeTest, ForeignJobIsRefusedBeforeTheFreeze) {
  hypervisor_.SetFaults(vm_, {.foreign_job = true});
  EXPECT_EQ(base::ReasonOf(VmPointInTime::Prepare(Tools(), Request(true)).status()), "VM_HAS_FOREIGN_JOB");
  EXPECT_THAT(journal_.List()->intents, IsEmpty());
}

TEST_F(GuestFreezeTest, RefusedCutLeavesNothing) {
  auto point = VmPointInTime::Prepare(Tools(), Request(true));
  ASSERT_TRUE(point.ok());
  hypervisor_.SetFaults(vm_, {.begin_fails = true});
  EXPECT_EQ(base::ReasonOf((*point)->Take()), "HYPERVISOR_ERROR");
  point->reset();
  EXPECT_THAT(journal_.List()->intents, IsEmpty());
}

TEST_F(GuestFreezeTest, IntentOutlivesThePointInTimeForAThawThatIsOwed) {
  auto point = VmPointInTime::Prepare(Tools(), Request(true));
  ASSERT_TRUE(point.ok());
  (*point)->KeepIntent();
  point->reset();
  ASSERT_THAT(journal_.List()->intents, SizeIs(1));
  EXPECT_FALSE(journal_.IsLive(journal_.List()->intents[0]));
}

TEST_F(GuestFreezeTest, WithoutFreezeTheIntentAsksForNoThaw) {
  auto point = VmPointInTime::Prepare(Tools(), Request(false));
  ASSERT_TRUE(point.ok());
  EXPECT_EQ(journal_.List()->intents[0].kind, journal::IntentKind::kPointInTime);
  ASSERT_TRUE((*point)->Take().ok());
  EXPECT_NE((*point)->view(), nullptr);
}

}  // namespace
}  // namespace umbra::providers
