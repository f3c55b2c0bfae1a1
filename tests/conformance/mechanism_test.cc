// Proves how the mechanism is chosen: M1 to M2e, HV-01 to HV-07. What is on another file system than the disks is in
// /proc, which is nowhere part of a disk's.
#include <functional>

#include "tests/conformance/world.h"

namespace umbra::conformance {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;
using writers::BackupMechanism;

constexpr char kElsewhere[] = "/proc/self";

TEST_F(Conformance, HV_01_TwoMechanismsAndSavedStateIsTheDefault) {
  EXPECT_EQ(writers::MechanismChoice().mechanism, BackupMechanism::kSavedState);
  EXPECT_EQ(NameOf(BackupMechanism::kSavedState), "saved_state");
  EXPECT_EQ(NameOf(BackupMechanism::kChildSnapshot), "child_snapshot");
  // Nothing is known of the guest: the default.
  const std::string vm = Vm("mail01");
  simulated_.SetFaults(vm, {.agent_silent = true});
  EXPECT_EQ(Described(vm).choice.mechanism, BackupMechanism::kSavedState);
}

TEST_F(Conformance, HV_02_ChildSnapshotNeedsAllFiveConditions) {
  const std::string vm = Vm("mail01");
  const std::vector<std::pair<std::string, std::function<void()>>> breaks = {
      {"GUEST_AGENT_NOT_RUNNING", [&] { simulated_.SetFaults(vm, {.agent_silent = true}); }},
      {"GUEST_NOT_RUNNING", [&] { ASSERT_TRUE(simulated_.Pause(vm).ok()); }},
      {"SNAPSHOT_FOLDER_ON_OTHER_VOLUME", [&] { SnapshotsGoTo(kElsewhere); }},
      {"GUEST_VOLUME_SPANS_EXCLUDED_DISK", [&] { ChangeGuest([](auto& fs) { fs.disk_names.push_back("vdz"); }); }},
      {"GUEST_FILESYSTEM_CANNOT_FREEZE", [&] { ChangeGuest([](auto& fs) { fs.can_freeze = false; }); }},
  };
  for (const auto& [reason, breaks_it] : breaks) {
    ExpectChild(vm);
    breaks_it();
    ExpectSaved(vm, reason);
    simulated_.SetFaults(vm, {});
    ASSERT_TRUE(simulated_.Resume(vm).ok());
    hypervisor_.OnDescribe(nullptr);
    hypervisor_.OnAgent(nullptr);
  }
  ExpectChild(vm);
}

TEST_F(Conformance, HV_03_TheGuestsAgentIsInstalledAndRuns) {
  const std::string vm = Vm("with"), without = Vm("without", {.guest_agent = false});
  ExpectChild(vm);
  ExpectSaved(without, "GUEST_AGENT_NOT_CONFIGURED");
  simulated_.SetFaults(vm, {.agent_silent = true});
  ExpectSaved(vm, "GUEST_AGENT_NOT_RUNNING");
}

TEST_F(Conformance, HV_04_TheVirtualMachineRuns) {
  const std::string vm = Vm("mail01");
  ExpectChild(vm);
  ASSERT_TRUE(simulated_.Pause(vm).ok());
  ExpectSaved(vm, "GUEST_NOT_RUNNING");
  ASSERT_TRUE(simulated_.PowerOff(vm).ok());
  ExpectSaved(vm, "GUEST_NOT_RUNNING");
  ASSERT_TRUE(simulated_.Start(vm).ok());
  ExpectChild(vm);
}

TEST_F(Conformance, HV_05_SnapshotFolderOnTheVolumeOfTheDisks) {
  const std::string vm = Vm("mail01", {.disks = {{"vda", kDiskBytes}, {"vdb", kDiskBytes}}});
  SnapshotsGoTo(dir_.File("snapshots"));
  ExpectChild(vm);
  SnapshotsGoTo(kElsewhere);
  ExpectSaved(vm, "SNAPSHOT_FOLDER_ON_OTHER_VOLUME");
  EXPECT_THAT(Described(vm).choice.message(), HasSubstr(kElsewhere));
  // Of every disk, also the last.
  hypervisor_.OnDescribe([&](hypervisor::VmInfo& info) {
    info.snapshot_folder = dir_.File("snapshots");
    info.disks.back().path = std::string(kElsewhere) + "/vdb.raw";
  });
  ExpectSaved(vm, "SNAPSHOT_FOLDER_ON_OTHER_VOLUME");
  EXPECT_THAT(Described(vm).choice.message(), HasSubstr("vdb"));
}

TEST_F(Conformance, HV_06_NoVolumeOfTheGuestReachesOutOfTheBackup) {
  const std::string vm =
      Vm("mail01",
         {.disks = {{"vda", kDiskBytes}, {"vdb", kDiskBytes}, {"sdb", 0, hypervisor::DiskExclusion::kPassThrough}}});
  ChangeGuest([](auto& fs) { fs.disk_names = {"vda", "vdb"}; });
  ExpectChild(vm);  // both are in the set
  ChangeGuest([](auto& fs) { fs.disk_names = {"vda", "sdb"}; });
  ExpectSaved(vm, "GUEST_VOLUME_SPANS_EXCLUDED_DISK");
  EXPECT_THAT(Described(vm).choice.message(), HasSubstr("sdb"));
}

TEST_F(Conformance, HV_07_EveryFileSystemOfTheGuestCanBeFrozen) {
  const std::string vm = Vm("mail01", {.disks = {{"vda", kDiskBytes}, {"vdb", kDiskBytes}}});
  ExpectChild(vm);
  hypervisor_.OnAgent([](hypervisor::GuestAgentInfo& agent) {
    agent.filesystems.back() = {"/data", "vfat", {"vdb"}, /*can_freeze=*/false};
  });
  ExpectSaved(vm, "GUEST_FILESYSTEM_CANNOT_FREEZE");
  EXPECT_THAT(Described(vm).choice.message(), HasSubstr("/data"));
}

// All reasons, not only the first, and before any backup.
TEST_F(Conformance, HV_08_EveryConditionThatFailsIsShownBeforeAnyBackup) {
  const std::string vm = Vm("mail01");
  SnapshotsGoTo(kElsewhere);
  ChangeGuest([](auto& fs) {
    fs.can_freeze = false;
    fs.disk_names.push_back("vdz");
  });
  const writers::MechanismChoice choice = Described(vm).choice;
  std::vector<std::string> reasons;
  for (const writers::Obstacle& obstacle : choice.obstacles) {
    reasons.push_back(obstacle.reason);
    EXPECT_THAT(choice.message(), HasSubstr(obstacle.message));
  }
  EXPECT_THAT(reasons, ElementsAre("SNAPSHOT_FOLDER_ON_OTHER_VOLUME", "GUEST_VOLUME_SPANS_EXCLUDED_DISK",
                                   "GUEST_FILESYSTEM_CANNOT_FREEZE"));
  EXPECT_THAT(hypervisor_.Take(), ::testing::IsEmpty());
}

}  // namespace
}  // namespace umbra::conformance
