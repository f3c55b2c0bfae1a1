// Proves the simulated hypervisor's own switches: what other rooms' tests rely on to make a guest misbehave. Everything a
// real driver promises too is proven by tests/contract/hypervisor.
#include "agent/hypervisor/simulated/simulated_hypervisor.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "tests/support/temp_dir.h"

namespace umbra::hypervisor {
namespace {

class SimulatedHypervisorTest : public ::testing::Test {
 protected:
  SimulatedHypervisorTest() : hypervisor_(folder_.File("vms"), files_, clock_, random_) {
    uuid_ = hypervisor_.CreateVm({.name = "one", .disks = {{"vda", base::kMiB}, {"sda", 0, DiskExclusion::kPassThrough}}}).value();
  }

  PointInTimeOptions Options() { return {{"vda"}, folder_.File("s"), "tag"}; }

  umbra::testing::TempDir folder_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  SimulatedHypervisor hypervisor_;
  std::string uuid_;
};

TEST_F(SimulatedHypervisorTest, FrozenGuestDoesNotWrite) {
  ASSERT_TRUE(hypervisor_.Freeze(uuid_, absl::Seconds(1)).ok());
  EXPECT_TRUE(hypervisor_.IsFrozen(uuid_));
  EXPECT_EQ(base::ReasonOf(hypervisor_.GuestWrite(uuid_, "vda", 0, base::AsBytes("x"))), "GUEST_FROZEN");
  ASSERT_TRUE(hypervisor_.Thaw(uuid_, absl::Seconds(1)).ok());
  EXPECT_TRUE(hypervisor_.GuestWrite(uuid_, "vda", 0, base::AsBytes("x")).ok());
  EXPECT_EQ(hypervisor_.GuestRead(uuid_, "vda", 0, 2).value(), std::string("x\0", 2));
}

TEST_F(SimulatedHypervisorTest, ThawFailsAsOftenAsAsked) {
  ASSERT_TRUE(hypervisor_.Freeze(uuid_, absl::Seconds(1)).ok());
  hypervisor_.SetFaults(uuid_, {.thaw_failures = 2});
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(hypervisor_.Thaw(uuid_, absl::Seconds(1)).status().code(), absl::StatusCode::kDeadlineExceeded);
    EXPECT_TRUE(hypervisor_.IsFrozen(uuid_));
  }
  EXPECT_EQ(hypervisor_.Thaw(uuid_, absl::Seconds(1)).value(), 1);
  EXPECT_FALSE(hypervisor_.IsFrozen(uuid_));
}

TEST_F(SimulatedHypervisorTest, GuestDiesAfterSoManyBytesWereRead) {
  hypervisor_.SetFaults(uuid_, {.dies_after_read_bytes = 512 * base::kKiB});
  auto view = hypervisor_.BeginPointInTime(uuid_, Options());
  auto reader = (*view)->OpenDisk("vda");
  uint64_t seen = 0;
  const absl::Status status = (*reader)->ReadExtents({{0, base::kMiB, false}}, 128 * base::kKiB, [&](uint64_t, base::Bytes data) {
    seen += data.size();
    return absl::OkStatus();
  });
  EXPECT_EQ(base::ReasonOf(status), "GUEST_STOPPED");
  EXPECT_EQ(seen, 512 * base::kKiB);
  EXPECT_EQ(hypervisor_.GetVm(uuid_)->state, VmState::kOff);
}

TEST_F(SimulatedHypervisorTest, BeginAndJobFaults) {
  hypervisor_.SetFaults(uuid_, {.begin_fails = true});
  EXPECT_EQ(base::ReasonOf(hypervisor_.BeginPointInTime(uuid_, Options()).status()), "HYPERVISOR_ERROR");
  hypervisor_.SetFaults(uuid_, {.foreign_job = true});
  EXPECT_EQ(base::ReasonOf(hypervisor_.CheckNoJob(uuid_)), "VM_HAS_FOREIGN_JOB");
  hypervisor_.SetFaults(uuid_, {});
  EXPECT_TRUE(hypervisor_.BeginPointInTime(uuid_, Options()).ok());
}

TEST_F(SimulatedHypervisorTest, ExcludedDisksAndMissingAgents) {
  EXPECT_EQ(hypervisor_.GetVm(uuid_)->disks[1].exclusion, DiskExclusion::kPassThrough);
  PointInTimeOptions options = Options();
  options.disks = {"sda"};
  EXPECT_EQ(base::ReasonOf(hypervisor_.PreparePointInTime(uuid_, options).status()), "INVALID_REQUEST");
  const std::string bare = hypervisor_.CreateVm({.name = "bare", .guest_agent = false}).value();
  EXPECT_EQ(hypervisor_.QueryGuestAgent(bare, absl::Seconds(1))->state, GuestAgentState::kNotConfigured);
  EXPECT_EQ(base::ReasonOf(hypervisor_.Freeze(bare, absl::Seconds(1)).status()), "GUEST_AGENT_NOT_CONFIGURED");
}

}  // namespace
}  // namespace umbra::hypervisor
