// Proves the rules M1 to M2e and B10 as decisions from what a hypervisor and a guest agent say, and what a backup then
// does.
#include "agent/writers/mechanism.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::writers {
namespace {

using hypervisor::DiskExclusion;
using hypervisor::GuestAgentState;
using hypervisor::VmState;
using ::testing::HasSubstr;
using ::testing::SizeIs;

class MechanismTest : public ::testing::Test {
 protected:
  MechanismTest() {
    vm_.uuid = "4e5b3c1a-90d2-4c5e-8f17-0a6b7c8d9e0f";
    vm_.name = "mail01";
    vm_.state = VmState::kRunning;
    vm_.disks = {{"vda", "/fast/mail01/a.qcow2", "qcow2"}, {"vdb", "/fast/mail01/b.qcow2", "qcow2"}};
    agent_.state = GuestAgentState::kRunning;
    agent_.filesystems = {{"/", "ext4", {"vda"}, true}, {"/srv", "xfs", {"vdb"}, true}};
  }

  void Exclude(size_t disk, DiskExclusion why) {
    vm_.disks[disk].exclusion = why;
    vm_.disks[disk].exclusion_detail = "because";
  }
  MechanismChoice Choose() {
    // The first folder of a path is its volume.
    return ChooseMechanism(vm_, agent_, [](const std::string& path) { return path.substr(0, path.find('/', 1)); });
  }
  void ExpectObstacle(const std::string& reason) {
    const MechanismChoice choice = Choose();
    EXPECT_EQ(choice.mechanism, BackupMechanism::kSavedState);
    ASSERT_THAT(choice.obstacles, SizeIs(1));
    EXPECT_EQ(choice.reason(), reason);
    EXPECT_FALSE(choice.message().empty());
  }

  hypervisor::VmInfo vm_;
  hypervisor::GuestAgentInfo agent_;
};

TEST_F(MechanismTest, M1_ThereAreTwoMechanismsAndSavedStateIsTheDefault) {
  EXPECT_EQ(MechanismChoice().mechanism, BackupMechanism::kSavedState);
  EXPECT_EQ(NameOf(BackupMechanism::kSavedState), "saved_state");
  EXPECT_EQ(NameOf(BackupMechanism::kChildSnapshot), "child_snapshot");
}

TEST_F(MechanismTest, M2_ChildSnapshotWhenAllConditionsHold) {
  const MechanismChoice choice = Choose();
  EXPECT_EQ(choice.mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ(choice.reason(), "");
}

TEST_F(MechanismTest, M2_ReportsEveryConditionThatFails) {
  vm_.snapshot_folder = "/slow/snapshots";
  agent_.filesystems[1].can_freeze = false;
  agent_.filesystems[0].disk_names.push_back("vdz");
  const MechanismChoice choice = Choose();
  EXPECT_THAT(choice.obstacles, SizeIs(3));
  for (const Obstacle& obstacle : choice.obstacles) EXPECT_THAT(choice.message(), HasSubstr(obstacle.message));
}

TEST_F(MechanismTest, M2a_GuestAgentInstalledAndRunning) {
  agent_ = {};
  agent_.state = GuestAgentState::kNotConfigured;
  ExpectObstacle("GUEST_AGENT_NOT_CONFIGURED");
  agent_.state = GuestAgentState::kNotResponding;
  ExpectObstacle("GUEST_AGENT_NOT_RUNNING");
  agent_.state = GuestAgentState::kUnknown;
  ExpectObstacle("GUEST_AGENT_NOT_RUNNING");
}

TEST_F(MechanismTest, M2b_ChildRuns) {
  agent_ = {};
  agent_.state = GuestAgentState::kGuestOff;
  for (const VmState state : {VmState::kOff, VmState::kPaused, VmState::kSaved, VmState::kCrashed, VmState::kUnknown}) {
    vm_.state = state;
    ExpectObstacle("GUEST_NOT_RUNNING");
  }
}

TEST_F(MechanismTest, M2c_SnapshotFolderOnTheVolumeOfEveryDisk) {
  vm_.snapshot_folder = "/fast/snapshots";
  EXPECT_EQ(Choose().mechanism, BackupMechanism::kChildSnapshot);
  vm_.disks[1].path = "/slow/b.qcow2";
  ExpectObstacle("SNAPSHOT_FOLDER_ON_OTHER_VOLUME");
  Exclude(1, DiskExclusion::kPassThrough);  // not backed up: its place doesn't matter
  agent_.filesystems.pop_back();
  EXPECT_EQ(Choose().mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ(ChooseMechanism(vm_, agent_, [](const std::string&) { return ""; }).reason(),
            "SNAPSHOT_FOLDER_ON_OTHER_VOLUME");  // not known: not proven
}

TEST_F(MechanismTest, M2d_NoVolumeReachesOutOfTheBackup) {
  agent_.filesystems[0].disk_names = {"vda", "vdb"};
  EXPECT_EQ(Choose().mechanism, BackupMechanism::kChildSnapshot);  // both are in
  Exclude(1, DiskExclusion::kNetwork);
  agent_.filesystems.pop_back();
  ExpectObstacle("GUEST_VOLUME_SPANS_EXCLUDED_DISK");
  agent_.filesystems = {{"/", "ext4", {"vda"}, true}, {"/srv", "xfs", {"vdb"}, true}};
  EXPECT_EQ(Choose().mechanism, BackupMechanism::kChildSnapshot);  // wholly outside: excluded, not torn
}

TEST_F(MechanismTest, M2e_TheFirmwaresBootPartitionIsNoObstacle) {
  for (const std::string mount_point : {"/boot/efi", "/efi", "/boot/firmware"}) {
    agent_.filesystems[1] = {mount_point, "vfat", {"vda"}, false};
    EXPECT_EQ(Choose().mechanism, BackupMechanism::kChildSnapshot) << mount_point;
  }
}

TEST_F(MechanismTest, M2e_EveryFileSystemInTheBackupCanFreeze) {
  agent_.filesystems[1] = {"/srv/usb", "vfat", {"vda"}, false};
  ExpectObstacle("GUEST_FILESYSTEM_CANNOT_FREEZE");
  EXPECT_THAT(Choose().message(), HasSubstr("/srv/usb is vfat"));
  agent_.filesystems[1] = {"/boot/efi", "fuse", {"vda"}, false};
  ExpectObstacle("GUEST_FILESYSTEM_CANNOT_FREEZE");
  agent_.filesystems[1] = {"/media", "iso9660", {"sda"}, false};
  vm_.disks.push_back({"sda", "/iso/a.iso", "raw", 0, 0, DiskExclusion::kRemovable, "CD"});
  EXPECT_EQ(Choose().mechanism, BackupMechanism::kChildSnapshot);  // a CD isn't backed up
}

TEST_F(MechanismTest, B10_ExcludedDisksAreListedWithAReason) {
  const std::pair<DiskExclusion, std::string> all[] = {{DiskExclusion::kPassThrough, "DISK_PASS_THROUGH"},
                                                       {DiskExclusion::kNetwork, "DISK_NETWORK"},
                                                       {DiskExclusion::kRemovable, "DISK_REMOVABLE"},
                                                       {DiskExclusion::kShared, "DISK_SHARED"},
                                                       {DiskExclusion::kFormatUnsupported, "DISK_FORMAT_UNSUPPORTED"}};
  for (const auto& [why, reason] : all) {
    Exclude(0, why);
    ASSERT_THAT(ExcludedDisks(vm_), SizeIs(1));
    EXPECT_EQ(ExcludedDisks(vm_)[0].reason, reason);
    EXPECT_EQ(ExcludedDisks(vm_)[0].message, "because");
    EXPECT_THAT(IncludedDisks(vm_), SizeIs(1));
  }
}

TEST_F(MechanismTest, B10_VirtualMachineWithoutADiskToBackUpIsRefused) {
  Exclude(0, DiskExclusion::kPassThrough);
  Exclude(1, DiskExclusion::kNetwork);
  EXPECT_EQ(base::ReasonOf(PlanBackup(vm_, Choose(), {}).status()), "NO_DISKS");
}

TEST_F(MechanismTest, M1_PlanFollowsTheChoiceAndTheSavedStateIsTheDefault) {
  EXPECT_EQ(PlanBackup(vm_, Choose(), {})->mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ(PlanBackup(vm_, Choose(), {.forbid_saved_state = true})->mechanism, BackupMechanism::kChildSnapshot);

  agent_ = {};
  agent_.state = GuestAgentState::kNotConfigured;
  vm_.snapshot_folder = "/elsewhere";
  const auto saved = PlanBackup(vm_, Choose(), {.allow_crash_consistent = true});
  ASSERT_TRUE(saved.ok());
  EXPECT_EQ(saved->mechanism, BackupMechanism::kSavedState);
  EXPECT_EQ(saved->reason, "GUEST_AGENT_NOT_CONFIGURED");
  ASSERT_EQ(saved->obstacles.size(), 2u) << "all of them, not only the first";
  EXPECT_EQ(saved->obstacles[1].reason, "SNAPSHOT_FOLDER_ON_OTHER_VOLUME");
  vm_.state = VmState::kPaused;
  EXPECT_EQ(PlanBackup(vm_, Choose(), {})->mechanism, BackupMechanism::kSavedState);
}

TEST_F(MechanismTest, PlanDoesNothingThatTheRequestForbidsAndSaysWhatToDo) {
  agent_ = {};
  agent_.state = GuestAgentState::kNotConfigured;
  const auto refused = PlanBackup(vm_, Choose(), {.forbid_saved_state = true});
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::ReasonOf(refused.status()), "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_THAT(base::MessageOf(refused.status()), HasSubstr("install a guest agent"));
  const auto crash = PlanBackup(vm_, Choose(), {.forbid_saved_state = true, .allow_crash_consistent = true});
  ASSERT_TRUE(crash.ok());
  EXPECT_EQ(crash->mechanism, BackupMechanism::kCrashConsistent);
  const MechanismPolicy child_only{.child_snapshot_only = true, .allow_crash_consistent = true};
  EXPECT_EQ(base::ReasonOf(PlanBackup(vm_, Choose(), child_only).status()), "GUEST_AGENT_NOT_CONFIGURED");
}

TEST_F(MechanismTest, PlanReadsWhatIsOffAsItIsWhateverTheRequestForbids) {
  for (const VmState state : {VmState::kOff, VmState::kSaved}) {
    vm_.state = state;
    const auto plan = PlanBackup(vm_, Choose(), {.child_snapshot_only = true, .forbid_saved_state = true});
    ASSERT_TRUE(plan.ok());
    EXPECT_EQ(plan->mechanism, BackupMechanism::kOffline);
    EXPECT_EQ(plan->reason, "GUEST_NOT_RUNNING");
  }
  for (const VmState state : {VmState::kCrashed, VmState::kUnknown}) {
    vm_.state = state;
    EXPECT_EQ(base::ReasonOf(PlanBackup(vm_, Choose(), {}).status()), "GUEST_NOT_RUNNING");
  }
}

TEST_F(MechanismTest, ObstaclesOnlyTheSavedStateCouldOvercomeSaySo) {
  agent_.filesystems[0].can_freeze = false;
  const auto refused = PlanBackup(vm_, Choose(), {.forbid_saved_state = true});
  EXPECT_EQ(base::ReasonOf(refused.status()), "SAVED_STATE_FORBIDDEN");
  EXPECT_THAT(base::MessageOf(refused.status()), HasSubstr("can't be frozen"));
}

}  // namespace
}  // namespace umbra::writers
