// Proves what only the writer's own events show: the context without auto-recovery (B8), the volume that is missing,
// and that Freeze and Thaw ask nobody anything (B5).
#include "agent/writers/hyperv_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/vss/coordinator.h"
#include "agent/vss/requester.h"
#include "storage/base/status.h"
#include "tests/support/temp_dir.h"
#include "tests/unit/agent/writers/recording_hypervisor.h"

namespace umbra::writers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class HypervWriterTest : public ::testing::Test {
 protected:
  HypervWriterTest()
      : simulated_(dir_.File("vms"), files_, clock_, random_),
        journal_(files_, dir_.File("journal")),
        provider_({hypervisor_, journal_, clock_}),
        writer_({hypervisor_, journal_, clock_}, provider_, files_, random_,
                {vss::Guid::Literal("00000000-0000-4000-8000-000000000001"), dir_.File("s"), {}, absl::Seconds(1)}),
        coordinator_(clock_, random_) {
    EXPECT_TRUE(journal_.Open().ok());
    coordinator_.AddWriter(writer_);
    coordinator_.AddProvider(provider_);
    vm_ = *simulated_.CreateVm({.name = "one", .disks = {{"vda", 1 << 20, {}}}});
    mute_ = *simulated_.CreateVm({.name = "mute", .disks = {{"vda", 1 << 20, {}}}, .guest_agent = false});
  }

  std::string Options() {
    BackupOptions options;
    options.mechanism = {.forbid_saved_state = true, .allow_crash_consistent = true};
    options.owner_tag = "job-1-1";
    return Print(options);
  }

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor simulated_;
  RecordingHypervisor hypervisor_{simulated_};
  journal::IntentJournal journal_;
  providers::CheckpointProvider provider_;
  HypervWriter writer_;
  vss::Coordinator coordinator_;
  std::string vm_, mute_;
};

TEST_F(HypervWriterTest, HasTheIdentityOfTheOriginal) {
  EXPECT_EQ(writer_.identity().name, "Microsoft Hyper-V VSS Writer");
  EXPECT_EQ(writer_.identity().writer_id.ToString(), "66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  const auto metadata = writer_.OnIdentify({});
  ASSERT_TRUE(metadata.ok());
  const auto guid = vss::Guid::Parse(vm_);
  const vss::Component* component = metadata->Find("", guid->ToUpperString());
  ASSERT_NE(component, nullptr);
  EXPECT_EQ(component->caption, "Backup Using Child Partition Snapshot\\one");
  EXPECT_EQ(metadata->Find("", vss::Guid::Parse(mute_)->ToUpperString())->caption, "Backup Using Saved State\\mute");
  EXPECT_EQ(VmUuidOf(component->name), vm_);
}

// Everything slow comes first, then guest after guest is frozen, cut and thawed, with nothing in between; the one
// without a guest agent is cut by the provider, after the writers' Freeze. The host's Freeze, Thaw and PostSnapshot ask
// nobody.
TEST_F(HypervWriterTest, B3_B5_OnlyTheCutHappensWhileAGuestIsFrozen) {
  const std::string two = *simulated_.CreateVm({.name = "two", .disks = {{"vda", 1 << 20, {}}}});
  vss::BackupRequester backup(coordinator_.NewSession(), {});
  ASSERT_TRUE(backup.Gather().ok());
  ASSERT_TRUE(
      backup
          .Select({{ComponentIdOf(vm_), Options()}, {ComponentIdOf(mute_), Options()}, {ComponentIdOf(two), Options()}})
          .ok());
  ASSERT_TRUE(backup.Prepare().ok());
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());  // nothing is touched before PrepareSnapshot
  ASSERT_TRUE(backup.Snapshot().ok());
  EXPECT_THAT(hypervisor_.Take(),
              ElementsAre("Configuration one", "CheckNoJob one", "Prepare one", "Configuration mute",
                          "Configuration two", "CheckNoJob two", "Prepare two", "Freeze one", "Begin one", "Thaw one",
                          "Freeze two", "Begin two", "Thaw two", "CheckNoJob mute", "Prepare mute", "Begin mute"));
}

TEST_F(HypervWriterTest, B5_FreezeAndThawAskNobody) {
  vss::EventContext context;
  EXPECT_TRUE(writer_.OnFreeze(context).ok());
  EXPECT_TRUE(writer_.OnThaw(context).ok());
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());
}

TEST_F(HypervWriterTest, B8_ContextWithoutAutoRecoveryIsRefusedBeforeAnythingIsTouched) {
  const auto prepare = [&](const std::string& vm) {
    vss::BackupRequester backup(coordinator_.NewSession(), {vss::kAttrNoAutoRecovery, {}});
    EXPECT_TRUE(backup.Gather().ok());
    EXPECT_TRUE(backup.Select({{ComponentIdOf(vm), Options()}}).ok());
    return base::ReasonOf(backup.Prepare());
  };
  EXPECT_EQ(prepare(vm_), "VSS_NO_AUTORECOVERY");
  EXPECT_THAT(hypervisor_.Take(), IsEmpty());  // nobody was asked to do anything
  EXPECT_THAT(journal_.List()->intents, IsEmpty());
  EXPECT_TRUE(hypervisor_.CheckNoJob(vm_).ok());
  EXPECT_EQ(prepare(mute_), "");  // no child snapshot: nothing to revert
}

TEST_F(HypervWriterTest, SetThatLacksTheVirtualMachinesVolumeIsInconsistent) {
  auto session = coordinator_.NewSession();
  ASSERT_TRUE(session->InitializeForBackup().ok());
  ASSERT_TRUE(session->SetBackupState({}).ok());
  ASSERT_TRUE(session->GatherWriterMetadata().ok());
  ASSERT_TRUE(session->AddComponent(ComponentIdOf(vm_)).ok());
  ASSERT_TRUE(session->SetBackupOptions(ComponentIdOf(vm_), Options()).ok());
  ASSERT_TRUE(session->StartSnapshotSet().ok());
  ASSERT_TRUE(session->PrepareForBackup().ok());
  EXPECT_TRUE(session->DoSnapshotSet().ok());  // an empty set: only the writer's status tells
  const vss::WriterStatus status = session->GatherWriterStatus()->front();
  EXPECT_EQ(status.state, vss::WriterState::kFailedAtPrepareSnapshot);
  EXPECT_EQ(vss::CodeOf(status.failure), vss::Code::kWriterErrorInconsistentSnapshot);
}

TEST_F(HypervWriterTest, ResultsBelongToTheirSession) {
  EXPECT_EQ(base::ReasonOf(writer_.Captured(vss::Guid()).status()), "VSS_OBJECT_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(writer_.TakeRestored(vss::Guid()).status()), "VSS_OBJECT_NOT_FOUND");
}

}  // namespace
}  // namespace umbra::writers
