// Proves the rules B1 to B10 and R1 to R8, but for the saved state (saved_state_test.cc), through the door that a runner
// uses, on the simulated hypervisor with real files. Waits are real and short.
#include "agent/writers/vss_host.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <map>

#include "agent/vss/backup_components.h"
#include "agent/writers/component_options.h"
#include "storage/base/status.h"
#include "tests/unit/agent/writers/host_fixture.h"

namespace umbra::writers {
namespace {

using base::ReasonOf;
using hypervisor::SimulatedVmSpec;
using hypervisor::VmState;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class VssHostTest : public HostTest {
 protected:
  VssHostTest() { Restart(); }

  // As a new agent process.
  void Restart() {
    VssHostOptions options;
    options.freeze.freeze_timeout = absl::Milliseconds(50);
    options.freeze.thaw_timeout = absl::Milliseconds(20);
    options.freeze.first_wait = absl::Milliseconds(1);
    options.freeze.longest_wait = absl::Milliseconds(5);
    options.freeze.patience = absl::Milliseconds(500);
    Start(files_, options);
  }

  std::unique_ptr<VmBackup> Backup(std::vector<std::string> vms, bool allow_crash_consistent = false) {
    return BackupBy({.forbid_saved_state = true, .allow_crash_consistent = allow_crash_consistent}, std::move(vms));
  }

  // Runs, isn't frozen, has no job; no scratch file or intent is left on the host.
  void ExpectUntouched(const std::vector<std::string>& vms) {
    for (const std::string& vm : vms) {
      EXPECT_EQ(simulated_.GetVm(vm)->state, VmState::kRunning);
      EXPECT_FALSE(simulated_.IsFrozen(vm));
      EXPECT_TRUE(simulated_.CheckNoJob(vm).ok());
    }
    ExpectNothingLeft();
  }

  // A stored backup of one virtual machine whose disk begins with `text`.
  VmRestoreOptions Stored(const std::string& vm) {
    auto backup = Backup({vm});
    EXPECT_TRUE(backup->Prepare().ok());
    auto snapshots = backup->Snapshot();
    EXPECT_TRUE(snapshots.ok()) << snapshots.status();
    EXPECT_TRUE(backup->SetSucceeded(vm, true).ok());
    VmRestoreOptions options;
    options.documents = *backup->Documents();
    options.configuration = snapshots->front().configuration;
    options.vm_uuid = vm;
    options.disk_paths = {{"vda", snapshots->front().disks[0].path}};
    EXPECT_TRUE(backup->Complete().ok());
    return options;
  }
  void WriteFile(const std::string& path) {
    ASSERT_TRUE(files_.MakeDirectories(base::DirectoryOf(path)).ok());
    auto disk = simulated_.CreateDisk({path, "raw", kDiskBytes});
    ASSERT_TRUE(disk.ok()) << disk.status();
    ASSERT_TRUE((*disk)->WriteAt(0, base::AsBytes("restored")).ok());
    ASSERT_TRUE((*disk)->Finish().ok());
  }

};

// --- inventory ---

TEST_F(VssHostTest, M2_InventoryShowsMechanismAndReasonBeforeAnyBackup) {
  Vm("good");
  Vm("mute", {.guest_agent = false});
  Vm("off", {.running = false});
  Vm("raw", {.disks = {{"vda", kDiskBytes, {}}, {"sdb", 0, hypervisor::DiskExclusion::kPassThrough}}});
  const auto vms = host_->DescribeVms();
  ASSERT_TRUE(vms.ok());
  std::map<std::string, VmDescription> by_name;
  for (const VmDescription& vm : *vms) by_name[vm.vm.name] = vm;
  EXPECT_EQ(by_name["good"].choice.mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ(by_name["mute"].choice.reason(), "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_EQ(by_name["off"].choice.reason(), "GUEST_NOT_RUNNING");
  EXPECT_EQ(by_name["raw"].excluded_disks.at(0).reason, "DISK_PASS_THROUGH");
  ASSERT_THAT(host_->Writers(), SizeIs(1));
  EXPECT_EQ(host_->Writers()[0].identity.name, "Microsoft Hyper-V VSS Writer");
  EXPECT_EQ(host_->Writers()[0].state, vss::WriterState::kStable);
}

// --- backup ---

TEST_F(VssHostTest, B1_BackupHoldsTheMomentOfTheFreezeAndDescribesItself) {
  const std::string vm = Vm("one");
  Write(vm, "before");
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  Write(vm, "after!");  // the guest goes on
  ASSERT_THAT(*snapshots, SizeIs(1));
  const VmSnapshot& snapshot = snapshots->front();
  EXPECT_EQ(snapshot.vm.uuid, vm);
  EXPECT_EQ(snapshot.mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ(snapshot.mechanism_reason, "");
  EXPECT_GT(snapshot.freeze_duration, absl::ZeroDuration());
  EXPECT_LT(snapshot.freeze_duration, absl::Seconds(5));
  EXPECT_LE(absl::AbsDuration(snapshot.point_time - clock_.Now()), absl::Minutes(1));
  EXPECT_FALSE(snapshot.configuration.empty());
  EXPECT_THAT(snapshot.disks, SizeIs(1));
  EXPECT_EQ(ReadDisk(*backup, vm, 6), "before");
  EXPECT_TRUE(backup->Health(vm).ok());
  ASSERT_TRUE(backup->SetSucceeded(vm, true).ok());
  const auto documents = backup->Documents();
  ASSERT_TRUE(documents.ok());
  EXPECT_TRUE(backup->Complete().ok());
  ExpectUntouched({vm});

  auto components = vss::ParseBackupComponents(documents->backup_components);
  ASSERT_TRUE(components.ok());
  const auto* component = components->Find(ComponentIdOf(vm));
  ASSERT_NE(component, nullptr);
  EXPECT_EQ(component->succeeded, true);
  const auto facts = ParseBackupFacts(component->backup_metadata);
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->mechanism, "child_snapshot");
  EXPECT_EQ(facts->disk_paths.size(), 1u);
  ASSERT_THAT(documents->writer_metadata, SizeIs(1));
  EXPECT_THAT(documents->writer_metadata[0], HasSubstr("caption=\"Backup Using Child Partition Snapshot\\one\""));
}

TEST_F(VssHostTest, B3_B4_EveryGuestIsSnapshottedAndThawedWhenTheSetIsMade) {
  std::vector<std::string> vms;
  for (int i = 0; i < 3; ++i) vms.push_back(Vm("vm" + std::to_string(i)));
  auto backup = Backup(vms);
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  for (size_t i = 0; i < vms.size(); ++i) {
    EXPECT_EQ((*snapshots)[i].vm.uuid, vms[i]);
    EXPECT_FALSE(simulated_.IsFrozen(vms[i]));
    EXPECT_FALSE(simulated_.CheckNoJob(vms[i]).ok());
  }
  EXPECT_TRUE(backup->Abort().ok());
  ExpectUntouched(vms);
}

TEST_F(VssHostTest, FreezeDurationHasTheWaitForTheGuestInIt) {
  const std::string vm = Vm("one");
  simulated_.SetFaults(vm, {.freeze_delay = absl::Milliseconds(20)});
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  EXPECT_GE(snapshots->front().freeze_duration, absl::Milliseconds(20));
}

TEST_F(VssHostTest, B7_CopyIsRevertedToTheGuestsSnapshotNotToTheHostsCommit) {
  const std::string first = Vm("first"), second = Vm("second", {.guest_agent = false});
  Write(first, "child");
  Write(second, "crash");
  auto backup = Backup({first, second}, /*allow_crash_consistent=*/true);
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  // The one without a guest's snapshot is cut at the host's commit, later.
  EXPECT_EQ((*snapshots)[0].mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ((*snapshots)[1].mechanism, BackupMechanism::kCrashConsistent);
  EXPECT_EQ((*snapshots)[1].mechanism_reason, "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_EQ((*snapshots)[1].freeze_duration, absl::ZeroDuration());
  EXPECT_LT((*snapshots)[0].point_time, (*snapshots)[1].point_time);
  EXPECT_EQ(ReadDisk(*backup, first, 5), "child");
  EXPECT_EQ(ReadDisk(*backup, second, 5), "crash");
}

TEST_F(VssHostTest, B9_NoPartialBackupWhicheverVirtualMachineFails) {
  const std::vector<std::string> vms = {Vm("a"), Vm("b"), Vm("c")};
  const std::pair<hypervisor::SimulatedFaults, std::string> faults[] = {
      {{.freeze_delay = absl::Milliseconds(200)}, "GUEST_FREEZE_TIMEOUT"},
      {{.freeze_fails = true}, "GUEST_FREEZE_FAILED"},
      {{.foreign_job = true}, "VM_HAS_FOREIGN_JOB"},
      {{.begin_fails = true}, "HYPERVISOR_ERROR"},
  };
  for (const auto& [fault, reason] : faults) {
    for (const std::string& failing : vms) {
      SCOPED_TRACE(reason);
      simulated_.SetFaults(failing, fault);
      auto backup = Backup(vms);
      EXPECT_EQ(RefusalOf(*backup), reason);
      simulated_.SetFaults(failing, {});
      ExpectUntouched(vms);
      EXPECT_FALSE(backup->OpenDisk(vms[0], "vda").ok());
      EXPECT_EQ(ReasonOf(backup->Complete()), "VSS_BAD_STATE");
    }
  }
}

TEST_F(VssHostTest, B9_CrashConsistentOneThatFailsAtCommitUndoesTheOthersToo) {
  const std::vector<std::string> vms = {Vm("child"), Vm("mute", {.guest_agent = false})};
  simulated_.SetFaults(vms[1], {.begin_fails = true});
  auto backup = Backup(vms, /*allow_crash_consistent=*/true);
  EXPECT_EQ(RefusalOf(*backup), "HYPERVISOR_ERROR");
  simulated_.SetFaults(vms[1], {});
  ExpectUntouched(vms);
}

TEST_F(VssHostTest, B10_ExcludedDisksAreInTheSnapshotsListAndCannotBeOpened) {
  const std::string vm =
      Vm("one", {.disks = {{"vda", kDiskBytes, {}}, {"sdb", 0, hypervisor::DiskExclusion::kPassThrough}}});
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
  EXPECT_THAT(snapshots->front().disks, SizeIs(1));
  ASSERT_THAT(snapshots->front().excluded_disks, SizeIs(1));
  EXPECT_EQ(snapshots->front().excluded_disks[0].reason, "DISK_PASS_THROUGH");
  EXPECT_FALSE(backup->OpenDisk(vm, "sdb").ok());
}

TEST_F(VssHostTest, B10_VirtualMachineWithOnlyExcludedDisksIsRefused) {
  const std::string vm = Vm("one", {.disks = {{"sdb", 0, hypervisor::DiskExclusion::kPassThrough}}});
  EXPECT_EQ(RefusalOf(*Backup({vm}, true)), "NO_DISKS");
}

TEST_F(VssHostTest, RefusesBeforeAnythingIsTouchedAndSaysWhy) {
  const std::string vm = Vm("one");
  EXPECT_EQ(RefusalOf(*Backup({Vm("mute", {.guest_agent = false})})), "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_EQ(RefusalOf(*Backup({"00000000-0000-4000-8000-000000000000"})), "VM_NOT_FOUND");
  EXPECT_EQ(RefusalOf(*Backup({})), "INVALID_REQUEST");
  EXPECT_EQ(RefusalOf(*Backup({"no uuid"})), "INVALID_REQUEST");
  EXPECT_EQ(RefusalOf(*Backup({vm, vm})), "INVALID_REQUEST");
  EXPECT_EQ(RefusalOf(*host_->NewBackup({{vm}, {}, {}, "Not/Plain"})), "INVALID_REQUEST");
  EXPECT_EQ(RefusalOf(*Backup(std::vector<std::string>(65, vm))), "VSS_LIMIT_REACHED");
  simulated_.SetFaults(vm, {.agent_silent = true});
  EXPECT_EQ(RefusalOf(*Backup({vm})), "GUEST_AGENT_NOT_RUNNING");
  ExpectUntouched({vm});
}

TEST_F(VssHostTest, GuestAgentThatHangsInFreezeIsThawedAndTheVirtualMachineRuns) {
  const std::string vm = Vm("one");
  simulated_.SetFaults(vm, {.freeze_delay = absl::Milliseconds(150), .thaw_failures = 3});
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  const absl::Status failed = backup->Snapshot().status();
  EXPECT_EQ(ReasonOf(failed), "GUEST_FREEZE_TIMEOUT");
  EXPECT_THAT(base::MessageOf(failed), HasSubstr("one"));
  clock_.Sleep(absl::Milliseconds(200));
  ExpectUntouched({vm});
}

TEST_F(VssHostTest, RequestsFreezeTimeoutIsKept) {
  const std::string vm = Vm("one");
  simulated_.SetFaults(vm, {.freeze_delay = absl::Milliseconds(100)});
  auto backup = host_->NewBackup({{vm}, {}, absl::Seconds(5), "job-1-1"});
  ASSERT_TRUE(backup->Prepare().ok());
  const auto snapshots = backup->Snapshot();  // beyond the host's 50 ms
  ASSERT_TRUE(snapshots.ok()) << snapshots.status();
}

TEST_F(VssHostTest, TwoBackupsAtATimeButNotOfOneVirtualMachine) {
  const std::string one = Vm("one"), two = Vm("two");
  auto first = Backup({one}), second = Backup({two}), third = Backup({one});
  ASSERT_TRUE(first->Prepare().ok());
  EXPECT_EQ(ReasonOf(second->Prepare()), "VSS_SNAPSHOT_SET_IN_PROGRESS");
  ASSERT_TRUE(first->Snapshot().ok());
  ASSERT_TRUE(second->Prepare().ok());  // tried again
  ASSERT_TRUE(second->Snapshot().ok());
  EXPECT_EQ(RefusalOf(*third), "VM_BUSY");
  EXPECT_TRUE(first->Health(one).ok());
  first.reset();
  second.reset();
  ExpectUntouched({one, two});
  EXPECT_EQ(RefusalOf(*Backup({one})), "");
}

TEST_F(VssHostTest, GuestThatDiesMeanwhileIsToldByHealthAndNothingStays) {
  const std::string vm = Vm("one");
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  ASSERT_TRUE(backup->Snapshot().ok());
  simulated_.KillGuest(vm);
  EXPECT_EQ(ReasonOf(backup->Health(vm)), "GUEST_STOPPED");
  backup->Abort().IgnoreError();
  EXPECT_THAT(*files_.List(dir_.File("s")), IsEmpty());
  EXPECT_THAT(*files_.List(dir_.File("journal")), IsEmpty());
}

TEST_F(VssHostTest, HealLeavesRunningBackupsAlone) {
  const std::string vm = Vm("one");
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  ASSERT_TRUE(backup->Snapshot().ok());
  EXPECT_THAT(host_->Heal()->healed, IsEmpty());
  EXPECT_TRUE(backup->Health(vm).ok());
}

// The hypervisor's side of the dead agent is what CrashAgent leaves.
TEST_F(VssHostTest, RestartedAgentPutsBackWhatADeadOneLeft) {
  const std::string vm = Vm("one");
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  ASSERT_TRUE(backup->Snapshot().ok());
  // The journal as it was while the backup ran; the dying agent can't tidy it.
  const auto names = files_.List(dir_.File("journal"));
  ASSERT_THAT(*names, SizeIs(1));
  const std::string intent = *files_.ReadFile(dir_.File("journal/") + names->front());
  simulated_.CrashAgent();
  backup.reset();
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("journal/") + names->front(), intent).ok());
  ASSERT_TRUE(simulated_.Freeze(vm, absl::Seconds(1)).ok());
  ASSERT_FALSE(simulated_.CheckNoJob(vm).ok());
  Restart();
  const auto report = host_->Heal();
  ASSERT_TRUE(report.ok());
  EXPECT_THAT(report->healed, SizeIs(1));
  ExpectUntouched({vm});
}

// --- restore ---

TEST_F(VssHostTest, R2_R5_InPlaceThePowerGoesOffTheVirtualMachineIsDeletedAndRegisteredAgain) {
  const std::string vm = Vm("one");
  VmRestoreOptions options = Stored(vm);
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  EXPECT_EQ(ReasonOf(simulated_.GetVm(vm).status()), "VM_NOT_FOUND");
  ASSERT_TRUE(files_.Remove(options.disk_paths[0].second).ok());
  WriteFile(options.disk_paths[0].second);
  ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  const auto defined = restore->PostRestore();
  ASSERT_TRUE(defined.ok()) << defined.status();
  EXPECT_EQ(defined->uuid, vm);
  EXPECT_EQ(defined->name, "one");
  ASSERT_TRUE(simulated_.GetVm(vm).ok());
  EXPECT_EQ(simulated_.GetVm(vm)->state, VmState::kOff);
  ASSERT_TRUE(simulated_.Start(vm).ok());
  EXPECT_EQ(*simulated_.GuestRead(vm, "vda", 0, 8), "restored");
}

// A writer of another release might want its files restored in a way that isn't ours: nothing is touched then.
TEST_F(VssHostTest, RestoreInAWayThatIsNotOursIsRefused) {
  const std::string vm = Vm("one");
  const VmRestoreOptions good = Stored(vm);
  const auto refusal = [&](const std::string& restore_method) {
    VmRestoreOptions options = good;
    for (std::string& xml : options.documents.writer_metadata) {
      const std::string ours = "RESTORE_IF_CAN_BE_REPLACED";
      if (const size_t at = xml.find(ours); at != std::string::npos) xml.replace(at, ours.size(), restore_method);
    }
    return base::ReasonOf(host_->NewRestore(options)->PreRestore());
  };
  EXPECT_EQ(refusal("REPLACE_AT_REBOOT"), "VSS_NOT_SUPPORTED");
  EXPECT_TRUE(simulated_.GetVm(vm).ok());
  EXPECT_EQ(refusal("RESTORE_IF_CAN_BE_REPLACED"), "");
}

TEST_F(VssHostTest, R2_OnlyTheSelectedVirtualMachineIsDeleted) {
  const std::string vm = Vm("one"), other = Vm("other");
  auto restore = host_->NewRestore(Stored(vm));
  ASSERT_TRUE(restore->PreRestore().ok());
  EXPECT_EQ(simulated_.GetVm(other)->state, VmState::kRunning);
}

TEST_F(VssHostTest, R2_RestoreAsANewVirtualMachineDeletesNothing) {
  const std::string vm = Vm("one");
  VmRestoreOptions options = Stored(vm);
  options.new_name = "one again";
  options.disk_paths = {{"vda", dir_.File("vms/one again/vda.img")}};
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  EXPECT_EQ(simulated_.GetVm(vm)->state, VmState::kRunning);
  WriteFile(options.disk_paths[0].second);
  ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  const auto defined = restore->PostRestore();
  ASSERT_TRUE(defined.ok()) << defined.status();
  EXPECT_NE(defined->uuid, vm);
  EXPECT_EQ(simulated_.GetVm(defined->uuid)->name, "one again");
}

TEST_F(VssHostTest, R4_FilesThatWereNotAllRestoredLeaveTheVirtualMachineUnregistered) {
  for (const auto status :
       {vss::FileRestoreStatus::kNone, vss::FileRestoreStatus::kFailed, vss::FileRestoreStatus::kUndefined}) {
    const std::string vm = Vm(std::string(vss::NameOf(status)));
    auto restore = host_->NewRestore(Stored(vm));
    ASSERT_TRUE(restore->PreRestore().ok());
    ASSERT_TRUE(restore->SetFilesRestored(status).ok());
    const absl::Status failed = restore->PostRestore().status();
    EXPECT_EQ(ReasonOf(failed), "VSS_RESTORE_INCOMPLETE");
    EXPECT_EQ(vss::CodeOf(failed), vss::Code::kWriterErrorNonRetryable);
    EXPECT_THAT(base::MessageOf(failed), HasSubstr(std::string(vss::NameOf(status))));
    EXPECT_EQ(ReasonOf(simulated_.GetVm(vm).status()), "VM_NOT_FOUND");
    EXPECT_EQ(host_->Writers()[0].state, vss::WriterState::kFailedAtPostRestore);
  }
}

TEST_F(VssHostTest, R4_GivingUpARestoreRegistersNothing) {
  const std::string vm = Vm("one");
  {
    auto restore = host_->NewRestore(Stored(vm));
    ASSERT_TRUE(restore->PreRestore().ok());
  }
  EXPECT_EQ(ReasonOf(simulated_.GetVm(vm).status()), "VM_NOT_FOUND");
}

TEST_F(VssHostTest, R6_R7_RestoredElsewhereTheDisksAreFoundAndALinkIsInTheDefaultFolder) {
  const std::string vm = Vm("one");
  VmRestoreOptions options = Stored(vm);
  const std::string elsewhere = dir_.File("elsewhere");
  options.disk_paths = {{"vda", elsewhere + "/moved.img"}};
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  WriteFile(options.disk_paths[0].second);
  ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  const auto defined = restore->PostRestore();
  ASSERT_TRUE(defined.ok()) << defined.status();
  EXPECT_EQ(simulated_.GetVm(vm)->disks.at(0).path, elsewhere + "/moved.img");
  char target[4096] = {};
  ASSERT_GT(readlink((simulated_.DefaultFolder() + "/" + vm).c_str(), target, sizeof(target) - 1), 0);
  EXPECT_EQ(std::string(target), elsewhere);
}

TEST_F(VssHostTest, R6_RestoredInTheDefaultPlaceThereIsNoLink) {
  const std::string vm = Vm("one");
  VmRestoreOptions options = Stored(vm);
  options.disk_paths = {{"vda", simulated_.DefaultFolder() + "/back/vda.img"}};
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  WriteFile(options.disk_paths[0].second);
  ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  ASSERT_TRUE(restore->PostRestore().ok());
  EXPECT_FALSE(*files_.Exists(simulated_.DefaultFolder() + "/" + vm));
}

TEST_F(VssHostTest, R8_NetworkThatIsGoneIsAWarning) {
  const std::string vm = Vm("one", {.adapters = {{"52:54:00:00:00:01", "switch0"}}});
  VmRestoreOptions options = Stored(vm);
  simulated_.RemoveNetwork("switch0");
  auto restore = host_->NewRestore(options);
  ASSERT_TRUE(restore->PreRestore().ok());
  ASSERT_TRUE(restore->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  const auto defined = restore->PostRestore();
  ASSERT_TRUE(defined.ok()) << defined.status();
  ASSERT_EQ(defined->warnings.size(), 1u);
  EXPECT_EQ(defined->warnings[0].reason, "ADAPTER_DISCONNECTED");
  EXPECT_THAT(defined->warnings[0].message, HasSubstr("switch0"));
}

TEST_F(VssHostTest, RestoreRefusesBeforeAnythingIsTouched) {
  const std::string vm = Vm("one"), other = Vm("other");
  const VmRestoreOptions good = Stored(vm);
  const auto refusal = [&](VmRestoreOptions options) {
    auto restore = host_->NewRestore(std::move(options));
    return ReasonOf(restore->PreRestore());
  };
  VmRestoreOptions options = good;
  options.documents.backup_components = "<oops";
  EXPECT_EQ(refusal(options), "VSS_DOCUMENT_INVALID");
  options = good;
  options.vm_uuid = other;
  EXPECT_EQ(refusal(options), "VSS_OBJECT_NOT_FOUND");
  options = good;
  options.new_name = "other";
  EXPECT_EQ(refusal(options), "VM_EXISTS");
  options = good;
  options.configuration.clear();
  EXPECT_EQ(refusal(options), "INVALID_REQUEST");
  auto backup = Backup({vm});
  ASSERT_TRUE(backup->Prepare().ok());
  ASSERT_TRUE(backup->Snapshot().ok());
  EXPECT_EQ(refusal(good), "VM_BUSY");
  EXPECT_EQ(simulated_.GetVm(vm)->state, VmState::kRunning);
}

}  // namespace
}  // namespace umbra::writers
