// Proves that an agent that dies in a restore in place leaves either the virtual machine as it was, with its old disks, or,
// once files had begun to take their names, a finished restore. On the simulated hypervisor with real files; the dying agent
// reaches neither the hypervisor nor the disk any more.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/journal/crash_points.h"
#include "agent/writers/vss_host.h"
#include "storage/base/crash_point.h"
#include "storage/base/status.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/temp_dir.h"

namespace umbra::writers {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

constexpr uint64_t kDiskBytes = 1 << 20;

class RestoreHealingTest : public ::testing::Test {
 protected:
  RestoreHealingTest() : hypervisor_(dir_.File("vms"), files_, clock_, random_) {
    Restart();
    vm_ = *hypervisor_.CreateVm({.name = "one",
                                 .disks = {{"vda", kDiskBytes, {}}, {"vdb", kDiskBytes, {}}, {"sdc", 0, kPassThrough}},
                                 .adapters = {{"52:54:00:00:00:01", "switch0"}}});
    for (const char* disk : {"vda", "vdb"}) {
      EXPECT_TRUE(hypervisor_.GuestWrite(vm_, disk, 0, base::AsBytes("old")).ok());
    }
    Store();
  }
  ~RestoreHealingTest() override { base::ObserveCrashPoints(nullptr); }

  void Restart() {
    restore_.reset();
    host_.reset();
    hypervisor_.RefuseEverything(false);
    agent_files_ = std::make_unique<umbra::testing::FaultFilesystem>(files_);
    auto host = VssHost::Create(hypervisor_, *agent_files_, clock_, random_,
                                {.scratch_folder = dir_.File("s"), .journal_folder = dir_.File("journal")});
    ASSERT_TRUE(host.ok()) << host.status();
    host_ = *std::move(host);
  }
  void Die() {
    agent_files_->FailAt(1, umbra::testing::Fault::kIoError, /*for_good=*/true);
    hypervisor_.RefuseEverything(true);
  }
  void DieAt(std::string_view point) {
    base::ObserveCrashPoints([this, point](std::string_view passed) {
      if (passed == point) Die();
    });
  }

  void Store() {
    auto backup = host_->NewBackup({.vm_uuids = {vm_}, .owner_tag = "job-1-1"});
    ASSERT_TRUE(backup->Prepare().ok());
    const auto snapshots = backup->Snapshot();
    ASSERT_TRUE(snapshots.ok()) << snapshots.status();
    ASSERT_TRUE(backup->SetSucceeded(vm_, true).ok());
    options_.documents = *backup->Documents();
    options_.configuration = snapshots->front().configuration;
    options_.vm_uuid = vm_;
    for (const auto& disk : snapshots->front().disks) options_.disk_paths.emplace_back(disk.name, disk.path);
    ASSERT_TRUE(backup->Complete().ok());
  }

  // As a restore does: new files beside the old ones.
  std::vector<journal::RestoredDisk> WriteFiles() {
    std::vector<journal::RestoredDisk> disks;
    for (const auto& [name, path] : options_.disk_paths) {
      disks.push_back({name, path + ".umbra-restore", path});
      auto disk = hypervisor_.CreateDisk({disks.back().written_path, "raw", kDiskBytes});
      EXPECT_TRUE(disk.ok()) << disk.status();
      EXPECT_TRUE((*disk)->WriteAt(0, base::AsBytes("new")).ok());
      EXPECT_TRUE((*disk)->Finish().ok());
    }
    return disks;
  }

  journal::HealReport Heal() {
    base::ObserveCrashPoints(nullptr);
    Restart();
    auto report = host_->Heal();
    EXPECT_TRUE(report.ok()) << report.status();
    EXPECT_THAT(report->open, IsEmpty());
    EXPECT_THAT(report->damaged, IsEmpty());
    EXPECT_THAT(*files_.List(dir_.File("journal")), IsEmpty());
    return *report;
  }

  void ExpectDisksHold(const std::string& text) {
    ASSERT_TRUE(hypervisor_.Start(vm_).ok());
    for (const char* disk : {"vda", "vdb"}) {
      EXPECT_EQ(hypervisor_.GuestRead(vm_, disk, 0, 3).value_or("unreadable"), text) << disk;
    }
  }

  static constexpr auto kPassThrough = hypervisor::DiskExclusion::kPassThrough;

  umbra::testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  hypervisor::SimulatedHypervisor hypervisor_;
  std::unique_ptr<umbra::testing::FaultFilesystem> agent_files_;
  std::unique_ptr<VssHost> host_;
  std::unique_ptr<VmRestore> restore_;
  VmRestoreOptions options_;
  std::string vm_;
};

TEST_F(RestoreHealingTest, VmThatWasNotDeletedYetIsLeftAlone) {
  DieAt(journal::kCrashBeforeDelete);
  restore_ = host_->NewRestore(options_);
  EXPECT_FALSE(restore_->PreRestore().ok());
  EXPECT_THAT(Heal().actions, IsEmpty());
  EXPECT_EQ(hypervisor_.GetVm(vm_)->state, hypervisor::VmState::kRunning);
}

TEST_F(RestoreHealingTest, VmThatWasDeletedIsRegisteredAgainExactlyAsItWas) {
  ASSERT_TRUE(hypervisor_.KeepCheckpoint(vm_, "inside", hypervisor::CheckpointKind::kInternal).ok());
  ASSERT_TRUE(hypervisor_.KeepCheckpoint(vm_, "beside", hypervisor::CheckpointKind::kExternal).ok());
  const std::string before = *hypervisor_.Configuration(vm_);
  const std::vector<hypervisor::OwnCheckpoint> checkpoints = hypervisor_.GetVm(vm_)->checkpoints;
  hypervisor_.RemoveNetwork("switch0");  // no reason to change anything
  restore_ = host_->NewRestore(options_);
  ASSERT_TRUE(restore_->PreRestore().ok());
  WriteFiles();  // some, or all: they don't have their names yet
  Die();
  EXPECT_THAT(Heal().actions, ElementsAre(HasSubstr("registered one"), HasSubstr("started one")));
  EXPECT_EQ(*hypervisor_.Configuration(vm_), before);
  EXPECT_EQ(hypervisor_.GetVm(vm_)->checkpoints, checkpoints);
  EXPECT_EQ(hypervisor_.GetVm(vm_)->state, hypervisor::VmState::kRunning);
  ExpectDisksHold("old");
}

// In every state, and wherever between the delete and the names the agent died.
TEST_F(RestoreHealingTest, VmThatDidNotRunIsNotStarted) {
  ASSERT_TRUE(hypervisor_.PowerOff(vm_).ok());
  restore_ = host_->NewRestore(options_);
  ASSERT_TRUE(restore_->PreRestore().ok());
  Die();
  EXPECT_THAT(Heal().actions, ElementsAre(HasSubstr("registered one")));
  EXPECT_EQ(hypervisor_.GetVm(vm_)->state, hypervisor::VmState::kOff);
}

TEST_F(RestoreHealingTest, VmThatCanNotBeStartedAgainIsNamedWithTheReason) {
  restore_ = host_->NewRestore(options_);
  ASSERT_TRUE(restore_->PreRestore().ok());
  Die();
  const std::string& path = options_.disk_paths.front().second;
  ASSERT_TRUE(files_.Rename(path, path + ".away").ok());
  EXPECT_THAT(Heal().actions, ElementsAre(HasSubstr("registered one"), HasSubstr("DISK_MISSING")));
  EXPECT_EQ(hypervisor_.GetVm(vm_)->state, hypervisor::VmState::kOff);
}

TEST_F(RestoreHealingTest, RestoreWhoseFilesTookTheirNamesIsFinished) {
  for (const size_t renamed : {0u, 1u, 2u}) {
    SCOPED_TRACE(renamed);
    restore_ = host_->NewRestore(options_);
    ASSERT_TRUE(restore_->PreRestore().ok());
    const auto disks = WriteFiles();
    ASSERT_TRUE(restore_->FilesTakeNames(disks).ok());
    for (size_t i = 0; i < renamed; ++i) ASSERT_TRUE(files_.Rename(disks[i].written_path, disks[i].path).ok());
    Die();
    EXPECT_THAT(Heal().actions, ElementsAre(HasSubstr("finished the restore of one"), HasSubstr("sdc")));
    for (const auto& disk : disks) EXPECT_FALSE(*files_.Exists(disk.written_path));
    ExpectDisksHold("new");
    ASSERT_TRUE(hypervisor_.GuestWrite(vm_, "vda", 0, base::AsBytes("old")).ok());
  }
}

TEST_F(RestoreHealingTest, RestoreThatWasRegisteredIsDone) {
  restore_ = host_->NewRestore(options_);
  ASSERT_TRUE(restore_->PreRestore().ok());
  const auto disks = WriteFiles();
  ASSERT_TRUE(restore_->FilesTakeNames(disks).ok());
  for (const auto& disk : disks) ASSERT_TRUE(files_.Rename(disk.written_path, disk.path).ok());
  ASSERT_TRUE(restore_->SetFilesRestored(vss::FileRestoreStatus::kAll).ok());
  DieAt(journal::kCrashDefined);
  restore_->PostRestore().status().IgnoreError();
  EXPECT_THAT(Heal().actions, IsEmpty());
  ExpectDisksHold("new");
}

// A live agent tells how its restore ended, and R4 holds: nothing is registered behind the job's back.
TEST_F(RestoreHealingTest, RestoreThatFailedInALiveAgentIsNotTouched) {
  restore_ = host_->NewRestore(options_);
  ASSERT_TRUE(restore_->PreRestore().ok());
  EXPECT_THAT(host_->Heal()->healed, IsEmpty()) << "it is being worked on";
  ASSERT_TRUE(restore_->SetFilesRestored(vss::FileRestoreStatus::kFailed).ok());
  EXPECT_FALSE(restore_->PostRestore().ok());
  EXPECT_THAT(*files_.List(dir_.File("journal")), IsEmpty());
  EXPECT_THAT(host_->Heal()->healed, IsEmpty());
  EXPECT_EQ(base::ReasonOf(hypervisor_.GetVm(vm_).status()), "VM_NOT_FOUND");
}

TEST_F(RestoreHealingTest, ANewRestoreReplacesWhatAnOlderOneLeft) {
  restore_ = host_->NewRestore(options_);
  ASSERT_TRUE(restore_->PreRestore().ok());
  Die();
  base::ObserveCrashPoints(nullptr);
  Restart();  // without healing
  restore_ = host_->NewRestore(options_);
  ASSERT_TRUE(restore_->PreRestore().ok());
  EXPECT_THAT(*files_.List(dir_.File("journal")), SizeIs(1));
}

}  // namespace
}  // namespace umbra::writers
