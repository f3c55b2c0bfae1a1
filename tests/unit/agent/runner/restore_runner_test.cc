// Proves that a restore brings back exactly the stored disk, as a new machine or in place, and that a failed one leaves
// no partial files, registers nothing, keeps the old disk files, and says so.
#include "agent/runner/restore_runner.h"

#include <gmock/gmock.h>

#include "agent/runner/convert.h"
#include "tests/unit/agent/runner/fixture.h"

namespace umbra::runner {
namespace {

using agent::v1::AssignmentResult;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsSupersetOf;
using ::testing::UnorderedElementsAre;

class RestoreRunnerTest : public RunnerTest {
 protected:
  void SetUp() override {
    RunnerTest::SetUp();
    content_ = Content(31);
    uuid_ = AddVm("db01", content_);
    disk_path_ = hypervisor_.GetVm(uuid_)->disks[0].path;
    ASSERT_EQ(Run(BackupOf({uuid_})).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
    // Life goes on after the backup.
    ASSERT_TRUE(hypervisor_.GuestWrite(uuid_, "vda", 0, base::AsBytes(std::string(kChunk, 'X'))).ok());
  }

  void DamageAChunk() {
    const auto ids = store_.disk(uuid_, "vda").ids;
    for (size_t i = ids.size() / 2; i < ids.size(); ++i) {
      if (!ids[i].IsZero()) return store_.Damage(ids[i]);
    }
  }

  std::string content_;
  std::string uuid_;
  std::string disk_path_;
};

TEST_F(RestoreRunnerTest, AsANewMachineBesideTheOriginal) {
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_NEW);
  assignment.mutable_restore()->set_display_name("db01-copy");
  assignment.mutable_restore()->set_power_on(true);
  const AssignmentResult result = Run(assignment);
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  const std::string& copy = result.restored_virtual_machine();
  EXPECT_NE(copy, uuid_);
  const auto vm = hypervisor_.GetVm(copy);
  ASSERT_TRUE(vm.ok());
  EXPECT_EQ(vm->name, "db01-copy");
  EXPECT_EQ(vm->state, hypervisor::VmState::kRunning);
  EXPECT_EQ(vm->disks[0].path, hypervisor_.DefaultFolder() + "/db01-copy/vda.raw");
  EXPECT_TRUE(GuestDisk(copy) == OnDisk(content_));
  EXPECT_EQ(hypervisor_.GetVm(uuid_)->state, hypervisor::VmState::kRunning) << "the original is untouched";
  EXPECT_EQ(result.progress().done_bytes(), static_cast<int64_t>(kDiskBytes));
  ExpectClean(copy);
}

TEST_F(RestoreRunnerTest, InPlaceGivesTheMachineBackWithItsUuid) {
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->set_power_on(true);
  const AssignmentResult result = Run(assignment);
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_EQ(result.restored_virtual_machine(), uuid_);
  EXPECT_EQ(hypervisor_.GetVm(uuid_)->disks[0].path, disk_path_);
  EXPECT_TRUE(GuestDisk(uuid_) == OnDisk(content_));
  EXPECT_FALSE(*files_.Exists(disk_path_ + kRestoreSuffix));
  ExpectClean(uuid_);
}

// The old disk's content is the new one's, but for what has changed.
TEST_F(RestoreRunnerTest, InPlaceWhereFilesShareTheirContentOnlyWhatDiffersIsTaken) {
  files_.ShareContents();
  // Data where zeros belong, at the end, and a chunk that only the old disk has whole.
  ASSERT_TRUE(hypervisor_.GuestWrite(uuid_, "vda", kDiskBytes - kChunk, base::AsBytes(std::string(kChunk, 'Z'))).ok());
  DamageAChunk();
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->set_power_on(true);
  const AssignmentResult result = Run(assignment);
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_EQ(files_.clones(), 1);
  EXPECT_TRUE(GuestDisk(uuid_) == OnDisk(content_));
  EXPECT_FALSE(*files_.Exists(disk_path_ + kRestoreSuffix));
  ExpectClean(uuid_);
}

TEST_F(RestoreRunnerTest, AFailureInPlaceLeavesTheOldDiskAlsoWhereItsContentIsShared) {
  files_.ShareContents();
  DamageAChunk();
  const std::string other(kDiskBytes, 'X');  // nothing of it is the recovery point's
  ASSERT_TRUE(hypervisor_.GuestWrite(uuid_, "vda", 0, base::AsBytes(other)).ok());
  const AssignmentResult result = Run(RestoreOf(v1::RestoreSpec::MODE_IN_PLACE));
  EXPECT_EQ(result.error().reason(), "CHUNK_DAMAGED");
  EXPECT_EQ(files_.clones(), 1);
  EXPECT_TRUE(*files_.ReadFile(disk_path_) == other);
  EXPECT_FALSE(*files_.Exists(disk_path_ + kRestoreSuffix));
}

TEST_F(RestoreRunnerTest, ANewMachineTakesNothingFromAnyDisk) {
  files_.ShareContents();
  ASSERT_EQ(Run(RestoreOf(v1::RestoreSpec::MODE_NEW)).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  agent::v1::Assignment elsewhere = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  elsewhere.mutable_restore()->set_target_folder(folder_.File("elsewhere"));
  ASSERT_EQ(Run(elsewhere).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(files_.clones(), 0);
}

// Somebody has made another machine of the same disk since the backup: its data would go.
TEST_F(RestoreRunnerTest, DiskThatAnotherMachineUsesIsNotReplaced) {
  const std::string before = *files_.ReadFile(disk_path_);
  const auto other = hypervisor_.DefineVm(
      {.configuration = *hypervisor_.Configuration(uuid_), .new_name = "db02", .disk_paths = {{"vda", disk_path_}}});
  ASSERT_TRUE(other.ok()) << other.status();
  ASSERT_TRUE(hypervisor_.DeleteVm(uuid_).ok());
  const AssignmentResult result = Run(RestoreOf(v1::RestoreSpec::MODE_IN_PLACE));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
  EXPECT_EQ(result.error().reason(), "DISK_IN_USE");
  EXPECT_THAT(result.error().message(), HasSubstr(disk_path_));
  EXPECT_TRUE(*files_.ReadFile(disk_path_) == before);
  EXPECT_EQ(hypervisor_.ListVms()->size(), 1u);
  // Elsewhere nothing is in its way.
  agent::v1::Assignment elsewhere = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  elsewhere.mutable_restore()->set_target_folder(folder_.File("elsewhere"));
  EXPECT_EQ(Run(elsewhere).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
}

TEST_F(RestoreRunnerTest, NewMachineInAFolderOfItsOwn) {
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_NEW);
  assignment.mutable_restore()->set_target_folder(folder_.File("elsewhere"));
  const AssignmentResult result = Run(assignment);
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_EQ(hypervisor_.GetVm(result.restored_virtual_machine())->disks[0].path, folder_.File("elsewhere/db01-restored/vda.raw"));
  // After a power cut all of it is still there: names in the new folder, and of the folders that were made.
  EXPECT_THAT(files_.synced(),
              IsSupersetOf({folder_.path(), folder_.File("elsewhere"), folder_.File("elsewhere/db01-restored")}));
}

// Each with its own reason: the disk that isn't in the point, the network that is gone, the link that is in nobody's way.
TEST_F(RestoreRunnerTest, WarningsCarryTheirReasons) {
  ASSERT_EQ(Run(RestoreOf(v1::RestoreSpec::MODE_NEW)).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_THAT(Warnings(), ElementsAre("DISK_LEFT_OUT"));

  hypervisor_.RemoveNetwork("switch0");
  ASSERT_TRUE(files_.MakeDirectories(hypervisor_.DefaultFolder() + "/" + uuid_).ok());  // where the link would be
  ASSERT_TRUE(hypervisor_.KeepCheckpoint(uuid_, "inside", hypervisor::CheckpointKind::kInternal).ok());
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->set_target_folder(folder_.File("elsewhere"));
  ASSERT_EQ(Run(assignment).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_THAT(Warnings(),
              UnorderedElementsAre("DISK_LEFT_OUT", "ADAPTER_DISCONNECTED", "LINK_NOT_MADE", "CHECKPOINTS_NOT_KEPT"));
}

TEST_F(RestoreRunnerTest, DamagedChunkLeavesNothingOfANewMachine) {
  DamageAChunk();
  const AssignmentResult result = Run(RestoreOf(v1::RestoreSpec::MODE_NEW));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
  EXPECT_EQ(result.error().reason(), "CHUNK_DAMAGED");
  EXPECT_THAT(result.error().message(), HasSubstr("disk vda at offset"));
  EXPECT_THAT(result.error().message(), HasSubstr("nothing of db01-restored was registered or left behind"));
  EXPECT_FALSE(*files_.Exists(hypervisor_.DefaultFolder() + "/db01-restored"));
  EXPECT_EQ(hypervisor_.ListVms()->size(), 1u);
  ExpectClean(uuid_);
}

TEST_F(RestoreRunnerTest, DamagedChunkInPlaceKeepsTheOldDiskFiles) {
  const std::string before = *files_.ReadFile(disk_path_);
  DamageAChunk();
  const AssignmentResult result = Run(RestoreOf(v1::RestoreSpec::MODE_IN_PLACE));
  EXPECT_EQ(result.error().reason(), "CHUNK_DAMAGED");
  EXPECT_THAT(result.error().message(), HasSubstr("db01 is no longer registered"));
  EXPECT_THAT(result.error().message(), HasSubstr("its old disk files are untouched: " + disk_path_));
  EXPECT_TRUE(*files_.ReadFile(disk_path_) == before);
  EXPECT_FALSE(*files_.Exists(disk_path_ + kRestoreSuffix));
  EXPECT_TRUE(hypervisor_.ListVms()->empty()) << "not registered with half a disk (R4)";
}

TEST_F(RestoreRunnerTest, CancelledWhileDisksAreWritten) {
  const agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_NEW);
  store_.SetReadFault([&](int number) {
    if (number == 5) runner_->OnCancel(assignment.id());
    return absl::OkStatus();
  });
  const AssignmentResult result = Run(assignment);
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_CANCELLED);
  EXPECT_FALSE(*files_.Exists(hypervisor_.DefaultFolder() + "/db01-restored"));
  EXPECT_EQ(hypervisor_.ListVms()->size(), 1u);
  ExpectClean(uuid_);
}

TEST_F(RestoreRunnerTest, CutLinkIsResumed) {
  int cuts = 0;
  store_.SetReadFault([&cuts](int number) {
    return number % 6 == 5 && cuts++ < 3 ? absl::UnavailableError("connection reset") : absl::OkStatus();
  });
  const AssignmentResult result = Run(RestoreOf(v1::RestoreSpec::MODE_NEW));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  ASSERT_TRUE(hypervisor_.Start(result.restored_virtual_machine()).ok());
  EXPECT_TRUE(GuestDisk(result.restored_virtual_machine()) == OnDisk(content_));
}

TEST_F(RestoreRunnerTest, LinkThatStaysDownLeavesNothing) {
  store_.SetReadFault([](int number) { return number > 4 ? absl::UnavailableError("no route") : absl::OkStatus(); });
  const AssignmentResult result = Run(RestoreOf(v1::RestoreSpec::MODE_NEW));
  EXPECT_EQ(result.error().reason(), "AGENT_LOST");
  EXPECT_FALSE(result.error_stays());
  EXPECT_FALSE(*files_.Exists(hypervisor_.DefaultFolder() + "/db01-restored"));
}

TEST_F(RestoreRunnerTest, NameThatIsTakenIsRefusedBeforeAnythingIsTouched) {
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_NEW);
  assignment.mutable_restore()->set_display_name("db01");
  assignment.mutable_restore()->set_target_folder(folder_.File("elsewhere"));
  const AssignmentResult result = Run(assignment);
  EXPECT_EQ(result.error().reason(), "VM_EXISTS") << result.error().message();
  EXPECT_FALSE(*files_.Exists(folder_.File("elsewhere/db01")));
  EXPECT_EQ(store_.calls("ReadDisk"), 0);
}

TEST_F(RestoreRunnerTest, FolderInTheWayIsRefused) {
  const std::string folder = hypervisor_.DefaultFolder() + "/db01-restored";
  ASSERT_TRUE(files_.MakeDirectories(folder).ok());
  EXPECT_EQ(Run(RestoreOf(v1::RestoreSpec::MODE_NEW)).error().reason(), "TARGET_EXISTS");
  EXPECT_TRUE(*files_.Exists(folder)) << "somebody else's";
}

TEST_F(RestoreRunnerTest, TooLittleSpaceIsRefusedBeforeAnythingIsTouched) {
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->mutable_recovery_point()->mutable_disks(0)->set_data_bytes(int64_t{1} << 55);
  const AssignmentResult result = Run(assignment);
  EXPECT_EQ(result.error().reason(), "TARGET_FULL") << result.error().message();
  EXPECT_EQ(hypervisor_.GetVm(uuid_)->state, hypervisor::VmState::kRunning);
}

TEST_F(RestoreRunnerTest, WrongDocumentsAreRefusedBeforeAnythingIsTouched) {
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->clear_documents();
  const AssignmentResult result = Run(assignment);
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
  EXPECT_THAT(result.error().message(), HasSubstr("db01 was not touched"));
  EXPECT_EQ(hypervisor_.GetVm(uuid_)->state, hypervisor::VmState::kRunning);
}

class ResumeTest : public RunnerTest {
 protected:
  void SetUp() override {
    RunnerTest::SetUp();
    uuid_ = AddVm("old01", Content(31), /*guest_agent=*/false);
    ASSERT_TRUE(hypervisor_.GuestRemember(uuid_, "the-instant").ok());
    ASSERT_EQ(Run(BackupOf({uuid_})).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
    ASSERT_TRUE(hypervisor_.GuestRemember(uuid_, "later").ok());
    ASSERT_TRUE(hypervisor_.GuestWrite(uuid_, "vda", 0, base::AsBytes(std::string(kChunk, 'X'))).ok());
  }

  agent::v1::Assignment Resume() {
    agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
    assignment.mutable_restore()->set_resume_state(true);
    return assignment;
  }
  std::vector<std::string> FilesBesideTheDisk() {
    return *files_.List(base::DirectoryOf(hypervisor_.GetVm(uuid_)->disks[0].path));
  }

  std::string uuid_;
};

TEST_F(ResumeTest, GoesOnAtTheInstantOfTheBackup) {
  const std::vector<std::string> files = FilesBesideTheDisk();
  const AssignmentResult result = Run(Resume());
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_EQ(result.restored_virtual_machine(), uuid_);
  EXPECT_EQ(hypervisor_.GuestMemory(uuid_).value(), "the-instant");
  EXPECT_EQ(hypervisor_.Boots(uuid_), 0) << "of the virtual machine that was registered again";
  EXPECT_TRUE(GuestDisk(uuid_) == OnDisk(Content(31)));
  EXPECT_EQ(FilesBesideTheDisk(), files) << "the memory's file is gone";
  EXPECT_THAT(Warnings(), ::testing::Contains("GUEST_CLOCK_NOT_SET")) << "it has no agent";
  ExpectClean(uuid_);
}

TEST_F(ResumeTest, BootsFromTheDisksWhenNotAskedToResume) {
  agent::v1::Assignment assignment = RestoreOf(v1::RestoreSpec::MODE_IN_PLACE);
  assignment.mutable_restore()->set_power_on(true);
  ASSERT_EQ(Run(assignment).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(hypervisor_.GuestMemory(uuid_).value(), "");
  EXPECT_EQ(hypervisor_.Boots(uuid_), 1);
  EXPECT_TRUE(GuestDisk(uuid_) == OnDisk(Content(31)));
}

TEST_F(ResumeTest, IsRefusedForANewNameAndWithoutMemoryBeforeAnythingIsTouched) {
  agent::v1::Assignment renamed = RestoreOf(v1::RestoreSpec::MODE_NEW);
  renamed.mutable_restore()->set_resume_state(true);
  const AssignmentResult result = Run(renamed);
  EXPECT_EQ(result.error().reason(), "INVALID_REQUEST");
  EXPECT_THAT(result.error().message(), HasSubstr("only in place"));
  agent::v1::Assignment nothing = Resume();
  nothing.mutable_restore()->mutable_recovery_point()->clear_memory();
  EXPECT_EQ(Run(nothing).error().reason(), "STATE_NOT_FOUND");
  EXPECT_EQ(hypervisor_.GuestMemory(uuid_).value(), "later");
}

TEST_F(ResumeTest, DamagedMemoryKeepsTheOldDiskFilesAndNamesItself) {
  const std::vector<std::string> files = FilesBesideTheDisk();
  const std::string disk = hypervisor_.GetVm(uuid_)->disks[0].path;
  store_.Damage(store_.disk(uuid_, kMemoryStateName).ids.front());
  const AssignmentResult result = Run(Resume());
  EXPECT_EQ(result.error().reason(), "CHUNK_DAMAGED");
  EXPECT_THAT(result.error().message(), HasSubstr("memory.state"));
  EXPECT_THAT(result.error().message(), HasSubstr("its old disk files are untouched"));
  EXPECT_EQ(*files_.List(base::DirectoryOf(disk)), files);
}

TEST(PlanRestore, RefusesWhatCantBeAFileName) {
  agent::v1::RestoreAssignment work;
  work.set_mode(v1::RestoreSpec::MODE_NEW);
  v1::RecoveryPoint& point = *work.mutable_recovery_point();
  point.set_virtual_machine("hosts/h/virtualMachines/u");
  point.set_virtual_machine_display_name("vm");
  EXPECT_FALSE(PlanRestore(work, "/vms").ok()) << "no disks";
  v1::RecoveryPointDisk& disk = *point.add_disks();
  disk.set_name("vda");
  disk.set_format("qcow2");
  disk.set_path("/dev/vg/vm");
  ASSERT_TRUE(PlanRestore(work, "/vms").ok());
  EXPECT_EQ(PlanRestore(work, "/vms")->disks[0].path, "/vms/vm-restored/vda.qcow2");
  for (const char* name : {"..", "a/b", "line\nfeed"}) {
    work.set_display_name(name);
    EXPECT_EQ(base::ReasonOf(PlanRestore(work, "/vms").status()), "INVALID_REQUEST") << name;
  }
  work.set_display_name("fine");
  work.set_target_folder("relative");
  EXPECT_FALSE(PlanRestore(work, "/vms").ok());
  work.clear_target_folder();
  disk.set_name("../../etc/x");
  EXPECT_FALSE(PlanRestore(work, "/vms").ok());
  disk.set_name("vda");
  work.set_mode(v1::RestoreSpec::MODE_IN_PLACE);
  EXPECT_FALSE(PlanRestore(work, "/vms").ok()) << "a device is not overwritten";
  work.set_target_folder("/new");
  EXPECT_EQ(PlanRestore(work, "/vms")->disks[0].path, "/new/vm/vda.qcow2");
  work.set_mode(v1::RestoreSpec::MODE_UNSPECIFIED);
  EXPECT_FALSE(PlanRestore(work, "/vms").ok());
}

class RestoreLedgerTest : public RunnerTest {};

TEST_F(RestoreLedgerTest, HealRemovesWhatADeadAgentWasWritingButNoDiskInUse) {
  const std::string uuid = AddVm("db01", "x");
  const std::string used = hypervisor_.GetVm(uuid)->disks[0].path;
  const std::string made = folder_.File("made");
  ASSERT_TRUE(files_.MakeDirectories(made).ok());
  ASSERT_TRUE(files_.WriteFileAtomic(made + "/vda.raw", "half").ok());
  RestoreLedger ledger(ledgers_.machines(), "job-1");
  ASSERT_TRUE(ledger.Record({made + "/vda.raw", made + "/never-made.raw", used}, made).ok());

  RestoreLedgers next(files_, folder_.path());  // of the agent that starts next
  ASSERT_TRUE(next.Open().ok());
  const auto removed = RestoreLedger::Heal(next.machines(), hypervisor_);
  ASSERT_TRUE(removed.ok());
  EXPECT_FALSE(*files_.Exists(made));
  EXPECT_TRUE(*files_.Exists(used));
  EXPECT_TRUE(files_.List(folder_.File("restores"))->empty());
  EXPECT_TRUE(RestoreLedger::Heal(next.machines(), hypervisor_)->empty()) << "safe to repeat";
}

TEST_F(RestoreLedgerTest, HealLeavesAloneWhatThisProcessWorksAt) {
  const std::string half = folder_.File("half.raw");
  ASSERT_TRUE(files_.WriteFileAtomic(half, "half").ok());
  RestoreLedger ledger(ledgers_.machines(), "job-1-1");
  ASSERT_TRUE(ledger.Record({half}, "").ok());
  EXPECT_TRUE(RestoreLedger::Heal(ledgers_.machines(), hypervisor_)->empty());
  EXPECT_TRUE(*files_.Exists(half));
}

TEST_F(RestoreLedgerTest, HealLeavesAloneWhatIsNoEntryOfOurs) {
  const std::string restores = folder_.File("restores");
  const std::string disk = folder_.File("vda.raw");
  ASSERT_TRUE(files_.MakeDirectories(restores + "/folder.restore").ok());
  ASSERT_TRUE(files_.WriteFileAtomic(disk, "somebody's").ok());
  const std::vector<std::pair<std::string, std::string>> strangers = {
      {"empty.restore", ""},
      {"notes.restore", "not ours\n"},
      {"mixed.restore", "file " + disk + "\nnot ours\n"},
      {"torn.restore", "file " + disk},
      {"relative.restore", "file vda.raw\n"},
      {"two-folders.restore", "folder /a\nfolder /b\nfile " + disk + "\n"},
      {"no-files.restore", "folder " + restores + "\n"}};
  ASSERT_TRUE(files_.WriteFileAtomic(restores + "/read-me", "file " + disk + "\n").ok());
  for (const auto& [name, text] : strangers) ASSERT_TRUE(files_.WriteFileAtomic(restores + "/" + name, text).ok());
  ASSERT_TRUE(files_.WriteFileAtomic(restores + "/job-2-1.restore.tmp", "file " + disk).ok());
  const std::string half = folder_.File("half.raw");
  ASSERT_TRUE(files_.WriteFileAtomic(half, "half").ok());
  RestoreLedger ledger(ledgers_.machines(), "job-1-1");
  ASSERT_TRUE(ledger.Record({half}, "").ok());

  RestoreLedgers next(files_, folder_.path());
  ASSERT_TRUE(next.Open().ok());
  const auto removed = RestoreLedger::Heal(next.machines(), hypervisor_);
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(*removed, std::vector<std::string>{half}) << "nobody is in the way of healing";
  EXPECT_TRUE(*files_.Exists(disk));
  for (const auto& [name, text] : strangers) EXPECT_EQ(*files_.ReadFile(restores + "/" + name), text);
  EXPECT_TRUE(*files_.Exists(restores + "/read-me"));
  EXPECT_FALSE(*files_.Exists(restores + "/job-2-1.restore.tmp")) << "its restore had not begun";
}

}  // namespace
}  // namespace umbra::runner
