// Proves what only the writer's own events show: the context without auto-recovery (B8), the volume that is missing,
// and that Freeze and Thaw ask nobody anything (B5).
#include "agent/writers/hyperv_writer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/vss/requester.h"
#include "storage/base/status.h"
#include "tests/unit/agent/writers/host_fixture.h"

namespace umbra::writers {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

using HypervWriterTest = WriterTest;

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
          .Select({{ComponentIdOf(vm_), Told()}, {ComponentIdOf(mute_), Told()}, {ComponentIdOf(two), Told()}})
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
    EXPECT_TRUE(backup.Select({{ComponentIdOf(vm), Told()}}).ok());
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
  ASSERT_TRUE(session->SetBackupOptions(ComponentIdOf(vm_), Told()).ok());
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
