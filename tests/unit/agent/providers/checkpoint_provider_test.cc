// Proves when the provider cuts, what a copy without content does, and that aborting and deleting leave nothing.
#include "agent/providers/checkpoint_provider.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "storage/base/status.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::providers {
namespace {

using ::testing::IsEmpty;

constexpr vss::Guid kSet = vss::Guid::Literal("00000000-0000-4000-8000-00000000000a");
constexpr vss::Guid kOtherSet = vss::Guid::Literal("00000000-0000-4000-8000-00000000000b");
constexpr vss::Guid kSnapshot = vss::Guid::Literal("00000000-0000-4000-8000-00000000000c");

class CheckpointProviderTest : public ::testing::Test {
 protected:
  CheckpointProviderTest()
      : hypervisor_(dir_.File("vms"), files_, clock_, random_),
        journal_(files_, dir_.File("journal")),
        provider_({hypervisor_, journal_, clock_}) {
    EXPECT_TRUE(journal_.Open().ok());
    vm_ = *hypervisor_.CreateVm({.name = "one", .disks = {{"vda", 1 << 20, {}}}});
  }

  VmPointInTimeRequest Request(bool freeze) { return {vm_, {{"vda"}, dir_.File("s"), "job-1-1"}, freeze}; }
  void Begin() {
    ASSERT_TRUE(provider_.BeginPrepareSnapshot({kSet, kSnapshot, CheckpointProvider::VolumeOf(vm_), 0}).ok());
  }
  absl::Status Finish() {
    RETURN_IF_ERROR(provider_.EndPrepareSnapshots(kSet));
    RETURN_IF_ERROR(provider_.PreCommitSnapshots(kSet));
    RETURN_IF_ERROR(provider_.CommitSnapshots(kSet));
    RETURN_IF_ERROR(provider_.PostCommitSnapshots(kSet, 1));
    return provider_.PreFinalCommitSnapshots(kSet);
  }
  void ExpectNothingLeft() {
    EXPECT_TRUE(hypervisor_.CheckNoJob(vm_).ok());
    EXPECT_THAT(journal_.List()->intents, IsEmpty());
    EXPECT_EQ(base::ReasonOf(provider_.Health(kSet, vm_)), "VSS_OBJECT_NOT_FOUND");
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  umbra::testing::SteppingClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor hypervisor_;
  journal::IntentJournal journal_;
  CheckpointProvider provider_;
  std::string vm_;
};

TEST_F(CheckpointProviderTest, SupportsVolumesOfVirtualMachines) {
  EXPECT_TRUE(*provider_.IsVolumeSupported("/vm/4e5b3c1a-90d2-4c5e-8f17-0a6b7c8d9e0f/", 0));
  for (const char* other : {"/", "/vm/", "/vm/x/", "C:\\", "/vm/4e5b3c1a-90d2-4c5e-8f17-0a6b7c8d9e0f"}) {
    EXPECT_FALSE(*provider_.IsVolumeSupported(other, 0)) << other;
  }
}

TEST_F(CheckpointProviderTest, CutsAtCommitWhatTheWriterAskedFor) {
  Begin();
  ASSERT_TRUE(provider_.TakeAtCommit(kSet, Request(false)).ok());
  ASSERT_TRUE(provider_.EndPrepareSnapshots(kSet).ok());
  ASSERT_TRUE(provider_.PreCommitSnapshots(kSet).ok());
  EXPECT_FALSE(provider_.Health(kSet, vm_).ok());  // not yet
  ASSERT_TRUE(provider_.CommitSnapshots(kSet).ok());
  EXPECT_TRUE(provider_.Health(kSet, vm_).ok());
  ASSERT_TRUE(provider_.PreFinalCommitSnapshots(kSet).ok());
  ASSERT_TRUE(provider_.PostFinalCommitSnapshots(kSet).ok());
  const auto properties = provider_.GetSnapshotProperties(kSnapshot);
  ASSERT_TRUE(properties.ok());
  EXPECT_EQ(properties->set_id, kSet);
  EXPECT_NE(properties->attributes & vss::kAttrAutoRecover, 0u);
  auto reader = provider_.OpenDisk(kSet, vm_, "vda");
  ASSERT_TRUE(reader.ok());
  EXPECT_EQ((*reader)->capacity_bytes(), 1u << 20);
  reader->reset();
  ASSERT_TRUE(provider_.DeleteSnapshots(kSet).ok());
  EXPECT_TRUE(provider_.DeleteSnapshots(kSet).ok());
  ExpectNothingLeft();
}

TEST_F(CheckpointProviderTest, CopyWithoutContentFailsTheSet) {
  Begin();
  ASSERT_TRUE(Finish().ok());
  EXPECT_EQ(vss::CodeOf(provider_.PostFinalCommitSnapshots(kSet)), vss::Code::kObjectNotFound);
}

TEST_F(CheckpointProviderTest, AbortLeavesNothingAtAnyPoint) {
  for (int calls = 0; calls < 3; ++calls) {
    Begin();
    ASSERT_TRUE(provider_.TakeAtCommit(kSet, Request(false)).ok());
    if (calls > 0) {
      ASSERT_TRUE(provider_.EndPrepareSnapshots(kSet).ok());
    }
    if (calls > 1) {
      ASSERT_TRUE(provider_.CommitSnapshots(kSet).ok());
    }
    ASSERT_TRUE(provider_.AbortSnapshots(kSet).ok());
    ExpectNothingLeft();
  }
}

TEST_F(CheckpointProviderTest, SetThatDiedWhilePreparingIsForgottenWithTheNext) {
  Begin();
  ASSERT_TRUE(provider_.BeginPrepareSnapshot({kOtherSet, kOtherSet, CheckpointProvider::VolumeOf(vm_), 0}).ok());
  EXPECT_FALSE(provider_.EndPrepareSnapshots(kSet).ok());
  EXPECT_TRUE(provider_.EndPrepareSnapshots(kOtherSet).ok());
}

TEST_F(CheckpointProviderTest, FinishedSetsOutliveTheNext) {
  Begin();
  ASSERT_TRUE(provider_.TakeAtCommit(kSet, Request(false)).ok());
  ASSERT_TRUE(Finish().ok());
  ASSERT_TRUE(provider_.BeginPrepareSnapshot({kOtherSet, kOtherSet, CheckpointProvider::VolumeOf(vm_), 0}).ok());
  EXPECT_TRUE(provider_.Health(kSet, vm_).ok());
}

// Whatever becomes of the backup, one checkpoint of ours stays: the one that the newest recovery point knows.
TEST_F(CheckpointProviderTest, OneCheckpointStays) {
  enum class Fate { kCommitted, kFailedBefore, kFailedAtCommit };
  for (const Fate fate : {Fate::kCommitted, Fate::kFailedBefore, Fate::kFailedAtCommit}) {
    ASSERT_TRUE(hypervisor_.RemoveCheckpoints(vm_, "").ok());
    ASSERT_TRUE(hypervisor_.MakeCheckpoint(vm_, "umbra-old").ok());
    VmPointInTimeRequest request = Request(false);
    request.options.track_changes = true;
    request.options.base.name = "umbra-old";
    Begin();
    ASSERT_TRUE(provider_.TakeAtCommit(kSet, request).ok());
    ASSERT_TRUE(Finish().ok());
    EXPECT_EQ(provider_.CheckpointOf(kSet, vm_)->name, "umbra-job-1-1");
    EXPECT_FALSE(journal_.List()->intents.at(0).committing);
    EXPECT_EQ(journal_.List()->intents.at(0).base_checkpoint, "umbra-old");
    if (fate != Fate::kFailedBefore) {
      ASSERT_TRUE(provider_.CommitFollows(kSet).ok());
      EXPECT_TRUE(journal_.List()->intents.at(0).committing);
    }
    if (fate == Fate::kCommitted) provider_.Committed(kSet);
    ASSERT_TRUE(provider_.DeleteSnapshots(kSet).ok());
    ExpectNothingLeft();
    EXPECT_EQ(hypervisor_.Checkpoints(vm_),
              std::vector<std::string>{fate == Fate::kCommitted ? "umbra-job-1-1" : "umbra-old"});
  }
}

}  // namespace
}  // namespace umbra::providers
