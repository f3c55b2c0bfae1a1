// Proves the saved state (B2, B4, B5, B6, B9, HV-10, HV-13 to HV-15, HV-20, HV-21) and backups of virtual machines that are
// off, saved or paused, on the simulated hypervisor with real files; and that an agent that dies at any point of it leaves
// nothing that its successor doesn't put back. Waits are real and short.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "absl/synchronization/mutex.h"
#include "agent/journal/crash_points.h"
#include "agent/vss/backup_components.h"
#include "agent/writers/component_options.h"
#include "agent/writers/vss_host.h"
#include "storage/base/crash_point.h"
#include "storage/base/status.h"
#include "tests/support/fault_filesystem.h"
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

class SavedStateTest : public HostTest {
 protected:
  SavedStateTest() { Restart(); }
  ~SavedStateTest() override {
    host_.reset();  // before its files
    base::ObserveCrashPoints(nullptr);
  }

  // As a new agent process.
  void Restart() {
    host_.reset();
    agent_files_ = std::make_unique<umbra::testing::FaultFilesystem>(files_);
    VssHostOptions options;
    options.resume_patience = absl::Milliseconds(200);
    Start(*agent_files_, options);
  }

  // Without a guest agent, so that child snapshot isn't possible.
  std::string Vm(const std::string& name, SimulatedVmSpec spec = {.guest_agent = false}) { return HostTest::Vm(name, spec); }
  std::unique_ptr<VmBackup> Backup(std::vector<std::string> vms, MechanismPolicy policy = {}) {
    return BackupBy(policy, std::move(vms));
  }
  std::vector<VmSnapshot> Take(VmBackup& backup) {
    const absl::Status prepared = backup.Prepare();
    EXPECT_TRUE(prepared.ok()) << prepared;
    auto snapshots = backup.Snapshot();
    EXPECT_TRUE(snapshots.ok()) << snapshots.status();
    return snapshots.ok() ? *std::move(snapshots) : std::vector<VmSnapshot>();
  }
  std::string ReadState(VmBackup& backup, const std::string& vm) {
    auto reader = backup.OpenState(vm);
    if (!reader.ok()) return ReasonOf(reader.status());
    std::string text((*reader)->capacity_bytes(), '\0');
    EXPECT_TRUE((*reader)->ReadAt(0, std::as_writable_bytes(std::span(text))).ok());
    return text;
  }
  std::unique_ptr<umbra::testing::FaultFilesystem> agent_files_;
};

TEST_F(SavedStateTest, B2_B6_MemoryAndDisksOfOneInstantAndTheVirtualMachineRunsAgain) {
  const std::string vm = Vm("one");
  Write(vm, "before");
  ASSERT_TRUE(simulated_.GuestRemember(vm, "in-memory").ok());
  simulated_.SetFaults(vm, {.save_takes = absl::Milliseconds(30)});
  auto backup = Backup({vm});
  const auto snapshots = Take(*backup);
  ASSERT_THAT(snapshots, SizeIs(1));
  EXPECT_EQ(StateOf(vm), VmState::kRunning);
  EXPECT_EQ(simulated_.Boots(vm), 1) << "it was never shut down";
  Write(vm, "after!");
  ASSERT_TRUE(simulated_.GuestRemember(vm, "later").ok());
  EXPECT_EQ(snapshots[0].mechanism, BackupMechanism::kSavedState);
  EXPECT_EQ(snapshots[0].mechanism_reason, "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_THAT(snapshots[0].obstacles, SizeIs(1));
  EXPECT_GE(snapshots[0].downtime, absl::Milliseconds(30));
  EXPECT_LT(snapshots[0].downtime, absl::Seconds(10));
  EXPECT_EQ(snapshots[0].freeze_duration, absl::ZeroDuration());
  EXPECT_EQ(ReadDisk(*backup, vm, 6), "before");
  const std::string state = ReadState(*backup, vm);
  EXPECT_EQ(state.size(), snapshots[0].state_bytes);
  EXPECT_THAT(state, HasSubstr("in-memory"));

  ASSERT_TRUE(backup->SetSucceeded(vm, true).ok());
  const auto documents = backup->Documents();
  ASSERT_TRUE(documents.ok());
  auto components = vss::ParseBackupComponents(documents->backup_components);
  ASSERT_TRUE(components.ok());
  const auto facts = ParseBackupFacts(components->Find(ComponentIdOf(vm))->backup_metadata);
  ASSERT_TRUE(facts.ok());
  EXPECT_EQ(facts->mechanism, "saved_state");
  EXPECT_EQ(facts->obstacles, snapshots[0].obstacles);
  EXPECT_EQ(facts->downtime, absl::Floor(snapshots[0].downtime, absl::Microseconds(1)));
  EXPECT_EQ(facts->state_bytes, snapshots[0].state_bytes);
  EXPECT_TRUE(backup->Complete().ok());
  ExpectNothingLeft();
  EXPECT_EQ(StateOf(vm), VmState::kRunning);
}

// Every obstacle is reported, and what a request forbids isn't done.
TEST_F(SavedStateTest, M1_M2_WhatTheRequestForbidsIsRefusedBeforeAnythingIsTouched) {
  const std::string vm = Vm("one");
  EXPECT_EQ(RefusalOf(*Backup({vm}, {.forbid_saved_state = true})), "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_EQ(RefusalOf(*Backup({vm}, {.child_snapshot_only = true})), "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_EQ(RefusalOf(*Backup({vm}, {.child_snapshot_only = true, .allow_crash_consistent = true})),
            "GUEST_AGENT_NOT_CONFIGURED");
  ASSERT_TRUE(simulated_.Pause(vm).ok());
  EXPECT_EQ(RefusalOf(*Backup({vm}, {.child_snapshot_only = true})), "SAVED_STATE_FORBIDDEN");
  ASSERT_TRUE(simulated_.Resume(vm).ok());
  auto crash = Backup({vm}, {.forbid_saved_state = true, .allow_crash_consistent = true});
  EXPECT_EQ(Take(*crash).at(0).mechanism, BackupMechanism::kCrashConsistent);
  EXPECT_EQ(ReadState(*crash, vm), "STATE_NOT_FOUND");
  crash.reset();
  auto saved = Backup({vm}, {.allow_crash_consistent = true});
  EXPECT_EQ(Take(*saved).at(0).mechanism, BackupMechanism::kSavedState) << "the better one of what is allowed";
}

TEST_F(SavedStateTest, B4_B6_AllAreSavedTogetherAndEachGoesBackToItsOwnState) {
  const std::string running = Vm("running"), paused = Vm("paused"), child = Vm("child", {}), off = Vm("off"),
                    saved = Vm("saved");
  Write(running, "run");
  Write(paused, "pau");
  Write(off, "off");
  Write(saved, "sav");
  ASSERT_TRUE(simulated_.GuestRemember(saved, "kept").ok());
  ASSERT_TRUE(simulated_.Pause(paused).ok());
  ASSERT_TRUE(simulated_.PowerOff(off).ok());
  ASSERT_TRUE(simulated_.SaveByHand(saved).ok());
  const std::vector<std::string> all = {running, paused, child, off, saved};
  std::vector<VmState> at_commit;
  base::ObserveCrashPoints([&](std::string_view point) {
    if (point != journal::kCrashSnapshotTaken || !at_commit.empty()) return;
    if (simulated_.IsFrozen(child)) return;  // that one's own
    for (const std::string& vm : all) at_commit.push_back(StateOf(vm));
  });
  auto backup = Backup(all);
  const auto snapshots = Take(*backup);
  ASSERT_THAT(snapshots, SizeIs(5));
  EXPECT_THAT(at_commit, ElementsAre(VmState::kPaused, VmState::kPaused, VmState::kRunning, VmState::kOff, VmState::kSaved));
  EXPECT_EQ(snapshots[0].mechanism, BackupMechanism::kSavedState);
  EXPECT_GT(snapshots[0].downtime, absl::ZeroDuration());
  EXPECT_EQ(snapshots[1].mechanism, BackupMechanism::kSavedState);
  EXPECT_EQ(snapshots[1].downtime, absl::ZeroDuration()) << "it stood still anyway";
  EXPECT_EQ(snapshots[2].mechanism, BackupMechanism::kChildSnapshot);
  EXPECT_EQ(snapshots[3].mechanism, BackupMechanism::kOffline);
  EXPECT_EQ(snapshots[3].mechanism_reason, "GUEST_NOT_RUNNING");
  EXPECT_EQ(snapshots[3].state_bytes, 0u);
  EXPECT_EQ(snapshots[4].mechanism, BackupMechanism::kOffline);
  EXPECT_THAT(ReadState(*backup, saved), HasSubstr("kept")) << "the memory that a person saved comes with the disks";
  EXPECT_GT(snapshots[1].state_bytes, 0u);
  EXPECT_EQ(ReadDisk(*backup, running, 3), "run");
  EXPECT_EQ(ReadDisk(*backup, paused, 3), "pau");
  EXPECT_EQ(ReadDisk(*backup, off, 3), "off");
  EXPECT_EQ(ReadDisk(*backup, saved, 3), "sav");
  for (const std::string& vm : all) EXPECT_TRUE(backup->Health(vm).ok());
  backup.reset();
  EXPECT_EQ(StateOf(running), VmState::kRunning);
  EXPECT_EQ(StateOf(paused), VmState::kPaused);
  EXPECT_EQ(StateOf(child), VmState::kRunning);
  EXPECT_EQ(StateOf(off), VmState::kOff);
  EXPECT_EQ(StateOf(saved), VmState::kSaved);
  ExpectNothingLeft();
}

// Nobody is kept from starting a virtual machine that is being read; the backup of it is worth nothing then.
TEST_F(SavedStateTest, VirtualMachineThatIsStartedMeanwhileIsToldByHealth) {
  const std::string vm = Vm("one");
  ASSERT_TRUE(simulated_.PowerOff(vm).ok());
  auto backup = Backup({vm});
  ASSERT_THAT(Take(*backup), SizeIs(1));
  ASSERT_TRUE(simulated_.Start(vm).ok());
  EXPECT_EQ(ReasonOf(backup->Health(vm)), "GUEST_STARTED");
}

TEST_F(SavedStateTest, B9_WhicheverFailsAllGoBackToWhatTheyWere) {
  const std::vector<std::string> vms = {Vm("a"), Vm("b"), Vm("c")};
  ASSERT_TRUE(simulated_.Pause(vms[1]).ok());
  const std::pair<hypervisor::SimulatedFaults, std::string> faults[] = {
      {{.foreign_job = true}, "VM_HAS_FOREIGN_JOB"},
      {{.save_fails = true}, "HYPERVISOR_ERROR"},
      {{.begin_fails = true}, "HYPERVISOR_ERROR"},  // in the provider's commit, while all stand still
  };
  for (const auto& [fault, reason] : faults) {
    for (const std::string& failing : vms) {
      SCOPED_TRACE(reason);
      simulated_.SetFaults(failing, fault);
      auto backup = Backup(vms);
      EXPECT_EQ(RefusalOf(*backup), reason);
      EXPECT_EQ(StateOf(vms[0]), VmState::kRunning);
      EXPECT_EQ(StateOf(vms[1]), VmState::kPaused);
      EXPECT_EQ(StateOf(vms[2]), VmState::kRunning);
      simulated_.SetFaults(failing, {});
      ExpectNothingLeft();
    }
  }
}

TEST_F(SavedStateTest, B9_DeviceWhoseStateCanNotBeSavedIsRefusedBeforeAnybodyStops) {
  const std::string good = Vm("good");
  const std::string raw = Vm("raw", {.guest_agent = false, .saveable = false});
  std::vector<std::string> points;
  base::ObserveCrashPoints([&](std::string_view point) { points.emplace_back(point); });
  EXPECT_EQ(RefusalOf(*Backup({good, raw})), "SAVED_STATE_UNSUPPORTED");
  EXPECT_THAT(points, ::testing::Not(::testing::Contains(std::string(journal::kCrashSuspended))));
  ExpectNothingLeft();
}

TEST_F(SavedStateTest, B6_ResumeIsTriedUntilTheHypervisorDoesIt) {
  const std::string vm = Vm("one"), other = Vm("other");
  simulated_.SetFaults(vm, {.resume_failures = 1});
  auto backup = Backup({vm, other});
  EXPECT_THAT(Take(*backup), SizeIs(2));
  EXPECT_EQ(StateOf(vm), VmState::kRunning);
}

TEST_F(SavedStateTest, B6_VirtualMachineThatCanNotBeResumedFailsTheSetAndIsLeftToHealing) {
  const std::string vm = Vm("one"), other = Vm("other");
  simulated_.SetFaults(vm, {.resume_failures = 1000});
  auto backup = Backup({vm, other});
  EXPECT_EQ(RefusalOf(*backup), "HYPERVISOR_UNAVAILABLE");
  EXPECT_EQ(StateOf(other), VmState::kRunning) << "nobody waits for another's failure";
  EXPECT_EQ(StateOf(vm), VmState::kPaused);
  backup.reset();
  simulated_.SetFaults(vm, {});
  EXPECT_THAT(host_->Heal()->open, IsEmpty());
  EXPECT_EQ(StateOf(vm), VmState::kRunning);
  ExpectNothingLeft();
}

// As kill -9 at every point: from there on neither the hypervisor nor the disk does what the dying agent asks.
TEST_F(SavedStateTest, RestartedAgentPutsEverythingBackWhereverTheOldOneDied) {
  const std::string running = Vm("running"), paused = Vm("paused"), off = Vm("off");
  ASSERT_TRUE(simulated_.Pause(paused).ok());
  ASSERT_TRUE(simulated_.PowerOff(off).ok());
  const std::string_view points[] = {
      journal::kCrashIntentRecorded, journal::kCrashSaveRecorded, journal::kCrashSuspended,      journal::kCrashSaved,
      journal::kCrashSnapshotTaken,  journal::kCrashReturned,     journal::kCrashSetMade,        journal::kCrashBeforeComplete,
      journal::kCrashViewClosed,     journal::kCrashStateRemoved,
  };
  for (const std::string_view point : points) {
    // The second time is that of the second virtual machine.
    for (int times = 1; times <= 2; ++times) {
      SCOPED_TRACE(::testing::Message() << point << " passed " << times << " times");
      absl::Mutex mu;  // machines are saved at the same time
      int countdown = times;
      bool died = false;
      base::ObserveCrashPoints([&](std::string_view passed) {
        absl::MutexLock lock(&mu);
        if (died || passed != point || --countdown > 0) return;
        died = true;
        agent_files_->FailAt(1, umbra::testing::Fault::kIoError, /*for_good=*/true);
        simulated_.CrashAgent();
        simulated_.RefuseEverything(true);
      });
      {
        auto backup = Backup({running, paused, off});
        if (backup->Prepare().ok() && backup->Snapshot().ok()) {
          for (const std::string& vm : {running, paused, off}) backup->SetSucceeded(vm, true).IgnoreError();
          backup->Complete().IgnoreError();
        }
      }
      base::ObserveCrashPoints(nullptr);
      const bool only_once = point == journal::kCrashReturned || point == journal::kCrashSetMade ||
                             point == journal::kCrashBeforeComplete;
      EXPECT_EQ(died, times == 1 || !only_once) << "the point is on the way";
      simulated_.RefuseEverything(false);
      Restart();
      const auto report = host_->Heal();
      ASSERT_TRUE(report.ok()) << report.status();
      EXPECT_THAT(report->open, IsEmpty());
      EXPECT_THAT(report->damaged, IsEmpty());
      EXPECT_EQ(StateOf(running), VmState::kRunning);
      EXPECT_EQ(StateOf(paused), VmState::kPaused);
      EXPECT_EQ(StateOf(off), VmState::kOff);
      for (const std::string& vm : {running, paused, off}) EXPECT_TRUE(simulated_.CheckNoJob(vm).ok());
      ExpectNothingLeft();
    }
  }
}

// After the backup has let it go on, somebody who pauses the virtual machine means it.
TEST_F(SavedStateTest, HealingLeavesAloneWhomAPersonPausedLater) {
  const std::string vm = Vm("one");
  auto backup = Backup({vm});
  ASSERT_THAT(Take(*backup), SizeIs(1));
  ASSERT_TRUE(simulated_.Pause(vm).ok());
  agent_files_->FailAt(1, umbra::testing::Fault::kIoError, /*for_good=*/true);
  simulated_.CrashAgent();
  simulated_.RefuseEverything(true);
  backup.reset();
  simulated_.RefuseEverything(false);
  Restart();
  EXPECT_THAT(host_->Heal()->open, IsEmpty());
  EXPECT_EQ(StateOf(vm), VmState::kPaused);
  ExpectNothingLeft();
}

}  // namespace
}  // namespace umbra::writers
