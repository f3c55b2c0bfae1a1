// Proves that a backup assignment ends with the guest's data committed, or with everything put back and the reason told,
// whatever fails and whenever it is cancelled.
#include "agent/runner/backup_runner.h"

#include <gmock/gmock.h>

#include "agent/runner/convert.h"
#include "tests/unit/agent/runner/fixture.h"

namespace umbra::runner {
namespace {

using agent::v1::AssignmentResult;
using ::testing::Contains;
using ::testing::HasSubstr;

class BackupRunnerTest : public RunnerTest {
 protected:
  void ExpectFailed(const AssignmentResult& result, const std::string& reason) {
    EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_FAILED);
    EXPECT_EQ(result.error().reason(), reason) << result.error().message();
    EXPECT_TRUE(store_.committed().empty());
  }
};

TEST_F(BackupRunnerTest, CommitsWhatTheGuestHad) {
  const std::string content = Content(1);
  const std::string uuid = AddVm("db01", content);
  const AssignmentResult result = Run(BackupOf({uuid}));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
  EXPECT_EQ(result.progress().done_bytes(), static_cast<int64_t>(kDiskBytes));
  EXPECT_GT(result.progress().new_bytes(), 0);

  ASSERT_EQ(store_.committed().size(), 1u);
  const store::v1::Manifest manifest = store_.committed()[0];
  EXPECT_EQ(manifest.vm_uuid(), uuid);
  EXPECT_EQ(manifest.vm_display_name(), "db01");
  EXPECT_EQ(manifest.mechanism(), v1::BACKUP_MECHANISM_CHILD_SNAPSHOT);
  ASSERT_EQ(manifest.disks_size(), 1);
  EXPECT_EQ(manifest.disks(0).name(), "vda");
  EXPECT_EQ(manifest.disks(0).capacity_bytes(), static_cast<int64_t>(kDiskBytes));
  ASSERT_EQ(manifest.excluded_disks_size(), 1);
  EXPECT_EQ(manifest.excluded_disks(0).reason(), "DISK_PASS_THROUGH");
  EXPECT_THAT(Warnings(), Contains("DISK_PASS_THROUGH")) << "also in the job's log (B10)";
  std::vector<std::string> kinds;
  for (const auto& document : manifest.documents()) kinds.push_back(document.kind());
  EXPECT_THAT(kinds, ::testing::ElementsAre("vm.configuration", "vss.writer-metadata", "vss.backup-components",
                                           "vss.child.writer-metadata", "vss.child.backup-components"));
  EXPECT_GT(manifest.read_bytes(), 0);
  ExpectClean(uuid);
}

TEST_F(BackupRunnerTest, ShowsTheMomentOfTheSnapshotWhileTheGuestWrites) {
  const std::string content = Content(2);
  const std::string uuid = AddVm("db01", content);
  const std::string noise(kChunk, '!');
  store_.SetFault([&](const std::string& call, int number) {
    if (call == "Negotiate") {  // the guest is running: it overwrites what has not been read yet
      for (uint64_t at = 0; at < kDiskBytes; at += 3 * kChunk) {
        EXPECT_TRUE(hypervisor_.GuestWrite(uuid, "vda", at, base::AsBytes(noise)).ok()) << number;
      }
    }
    return absl::OkStatus();
  });
  ASSERT_EQ(Run(BackupOf({uuid})).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  const AssignmentResult restored = Run(RestoreOf(v1::RestoreSpec::MODE_NEW));
  ASSERT_EQ(restored.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << restored.error().ShortDebugString();
  ASSERT_TRUE(hypervisor_.Start(restored.restored_virtual_machine()).ok());
  EXPECT_TRUE(GuestDisk(restored.restored_virtual_machine()) == OnDisk(content));
}

TEST_F(BackupRunnerTest, TellsPhasesInOrderAndFiguresThatNeverGoDown) {
  const std::string uuid = AddVm("db01", Content(3));
  store_.SetFault([this](const std::string& call, int) {
    if (call == "Upload" || call == "PutDiskMap") clock_.Sleep(absl::Milliseconds(60));
    return absl::OkStatus();
  });
  Run(BackupOf({uuid}));
  ASSERT_FALSE(said_.empty());
  EXPECT_TRUE(said_.front().has_accepted());
  int phase = 0;
  int64_t done = 0;
  int transferring = 0;
  for (const auto& message : said_) {
    if (!message.has_progress()) continue;
    EXPECT_GE(message.progress().phase(), phase);
    EXPECT_GE(message.progress().progress().done_bytes(), done);
    EXPECT_LE(message.progress().progress().done_bytes(), static_cast<int64_t>(kDiskBytes));
    phase = message.progress().phase();
    done = message.progress().progress().done_bytes();
    if (phase == v1::Job::PHASE_TRANSFERRING) ++transferring;
  }
  EXPECT_EQ(phase, v1::Job::PHASE_COMPLETING);
  EXPECT_GE(transferring, 1);
}

TEST_F(BackupRunnerTest, TellsWhenEachWriterWasFrozen) {
  const std::string uuid = AddVm("db01", Content(3));
  const AssignmentResult result = Run(BackupOf({uuid}));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  const auto since_first = [&](const google::protobuf::Timestamp& time) {
    const auto& first = result.writers(0).freeze_time();
    return absl::Seconds(time.seconds() - first.seconds()) + absl::Nanoseconds(time.nanos() - first.nanos());
  };
  std::vector<std::string> where;
  absl::Duration before;
  for (const v1::JobWriter& writer : result.writers()) {
    where.push_back(writer.virtual_machine());
    EXPECT_GE(since_first(writer.freeze_time()), before) << "in the order in which they were frozen";
    before = since_first(writer.freeze_time());
    ASSERT_TRUE(writer.has_frozen_time() && writer.has_thaw_time() && writer.has_thawed_time())
        << writer.display_name();
    EXPECT_LE(since_first(writer.frozen_time()), since_first(writer.thaw_time()));
    EXPECT_LE(since_first(writer.thaw_time()), since_first(writer.thawed_time()));
    EXPECT_FALSE(writer.has_error());
    EXPECT_FALSE(writer.display_name().empty());
  }
  EXPECT_THAT(where, ::testing::UnorderedElementsAre("", uuid)) << "the host's own, and the guest's file systems";
}

TEST_F(BackupRunnerTest, SetIsCommittedInOneCall) {
  const std::string a = AddVm("db01", Content(4));
  const std::string b = AddVm("db02", Content(5));
  ASSERT_EQ(Run(BackupOf({a, b})).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(store_.calls("Commit"), 1);
  EXPECT_EQ(store_.committed().size(), 2u);
  ExpectClean(a);
  ExpectClean(b);
}

TEST_F(BackupRunnerTest, OneOfTheSetFailsAllFail) {
  const std::string a = AddVm("db01", Content(4));
  const std::string b = AddVm("db02", Content(5));
  hypervisor_.SetFaults(b, {.freeze_fails = true});
  ExpectFailed(Run(BackupOf({a, b})), "GUEST_FREEZE_FAILED");
  ExpectClean(a);
  ExpectClean(b);
}

TEST_F(BackupRunnerTest, UnknownVm) {
  ExpectFailed(Run(BackupOf({"00000000-0000-4000-8000-000000000000"})), "VM_NOT_FOUND");
  EXPECT_EQ(store_.session_count(), 0u);
}

// The memory is one more stream of the recovery point; what stands against child snapshot is stored with it.
TEST_F(BackupRunnerTest, SavedStateIsCommittedWithTheDisks) {
  const std::string uuid = AddVm("old", Content(6), /*guest_agent=*/false);
  ASSERT_TRUE(hypervisor_.GuestRemember(uuid, "in-memory").ok());
  const AssignmentResult result = Run(BackupOf({uuid}));
  ASSERT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().message();
  EXPECT_GT(FromProto(result.downtime()), absl::ZeroDuration());
  EXPECT_FALSE(result.freeze_duration().seconds() > 0 || result.freeze_duration().nanos() > 0);
  const store::v1::Manifest manifest = store_.committed()[0];
  EXPECT_EQ(manifest.mechanism(), v1::BACKUP_MECHANISM_SAVED_STATE);
  EXPECT_EQ(FromProto(manifest.downtime()), FromProto(result.downtime()));
  ASSERT_EQ(manifest.obstacles_size(), 1);
  EXPECT_EQ(manifest.obstacles(0).reason(), "GUEST_AGENT_NOT_CONFIGURED");
  ASSERT_EQ(manifest.disks_size(), 2);
  EXPECT_EQ(manifest.disks(1).kind(), store::v1::ManifestDisk::KIND_MEMORY_STATE);
  EXPECT_EQ(manifest.disks(1).name(), kMemoryStateName);
  EXPECT_EQ(static_cast<int64_t>(store_.disk(uuid, kMemoryStateName).capacity_bytes), manifest.disks(1).capacity_bytes());
  EXPECT_THAT(Warnings(), Contains("GUEST_AGENT_NOT_CONFIGURED"));
  EXPECT_EQ(hypervisor_.GetVm(uuid)->state, hypervisor::VmState::kRunning);
  ExpectClean(uuid);
}

TEST_F(BackupRunnerTest, CheckpointsOfTheMachineAreAWarningThatNamesThem) {
  const std::string uuid = AddVm("db01", Content(5));
  ASSERT_TRUE(hypervisor_.KeepCheckpoint(uuid, "before-update", hypervisor::CheckpointKind::kInternal).ok());
  ASSERT_EQ(Run(BackupOf({uuid})).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_THAT(Warnings(), Contains("CHECKPOINTS_NOT_IN_BACKUP"));
}

TEST_F(BackupRunnerTest, VmThatIsOffIsBackedUpAndStaysOffWithoutAWarning) {
  const std::string uuid = AddVm("off", Content(19));
  ASSERT_TRUE(hypervisor_.PowerOff(uuid).ok());
  ASSERT_EQ(Run(BackupOf({uuid})).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(store_.committed()[0].mechanism(), v1::BACKUP_MECHANISM_OFFLINE);
  EXPECT_EQ(store_.committed()[0].disks_size(), 1);
  EXPECT_THAT(Warnings(), ::testing::Not(Contains("GUEST_NOT_RUNNING")));
  EXPECT_EQ(hypervisor_.GetVm(uuid)->state, hypervisor::VmState::kOff);
  ExpectClean(uuid);
  agent::v1::Assignment restore = RestoreOf(v1::RestoreSpec::MODE_NEW);
  restore.mutable_restore()->set_power_on(true);
  EXPECT_TRUE(GuestDisk(Run(restore).restored_virtual_machine()) == OnDisk(Content(19)));
}

TEST_F(BackupRunnerTest, VmThatIsStartedWhileItIsReadFails) {
  const std::string uuid = AddVm("off", Content(20));
  ASSERT_TRUE(hypervisor_.PowerOff(uuid).ok());
  store_.SetFault([&](const std::string& call, int number) {
    if (call == "PutDiskMap" && number == 0) {
      EXPECT_TRUE(hypervisor_.Start(uuid).ok());
    }
    return absl::OkStatus();
  });
  ExpectFailed(Run(BackupOf({uuid})), "GUEST_STARTED");
}

TEST_F(BackupRunnerTest, WithoutGuestAgentOnlyWhenCrashConsistentIsAllowed) {
  const std::string uuid = AddVm("old", Content(6), /*guest_agent=*/false);
  agent::v1::Assignment forbidden = BackupOf({uuid});
  forbidden.mutable_backup()->set_forbid_saved_state(true);
  ExpectFailed(Run(forbidden), "GUEST_AGENT_NOT_CONFIGURED");
  agent::v1::Assignment child_only = BackupOf({uuid});
  child_only.mutable_backup()->set_child_snapshot_only(true);
  ExpectFailed(Run(child_only), "GUEST_AGENT_NOT_CONFIGURED");
  agent::v1::Assignment allowed = BackupOf({uuid});
  allowed.mutable_backup()->set_forbid_saved_state(true);
  allowed.mutable_backup()->set_allow_crash_consistent(true);
  ASSERT_EQ(Run(allowed).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(store_.committed()[0].mechanism(), v1::BACKUP_MECHANISM_CRASH_CONSISTENT);
  EXPECT_EQ(store_.committed()[0].mechanism_reason(), "GUEST_AGENT_NOT_CONFIGURED");
  EXPECT_THAT(Warnings(), Contains("GUEST_AGENT_NOT_CONFIGURED"));
}

TEST_F(BackupRunnerTest, GuestThatDiesWhileItIsRead) {
  const std::string uuid = AddVm("db01", Content(7));
  hypervisor_.SetFaults(uuid, {.dies_after_read_bytes = base::kMiB});
  ExpectFailed(Run(BackupOf({uuid})), "GUEST_STOPPED");
  ExpectClean(uuid);
}

TEST_F(BackupRunnerTest, ScratchFolderThatFillsUpWhileNobodyReads) {
  const std::string uuid = AddVm("db01", Content(8));
  hypervisor_.SetFaults(uuid, {.scratch_limit_bytes = 4 * kChunk});
  const std::string noise(kChunk, '!');
  store_.SetFault([&](const std::string& call, int number) {
    if (call == "Upload" && number == 0) {
      for (int i = 0; i < 20; ++i) {  // until the hypervisor pauses the guest
        hypervisor_.GuestWrite(uuid, "vda", i * kChunk, base::AsBytes(noise)).IgnoreError();
      }
    }
    return absl::OkStatus();
  });
  ExpectFailed(Run(BackupOf({uuid})), "SCRATCH_FULL");
  ExpectClean(uuid);
  EXPECT_EQ(hypervisor_.GetVm(uuid)->state, hypervisor::VmState::kRunning);
}

TEST_F(BackupRunnerTest, EveryCallToTheDaemonThatFails) {
  const std::string uuid = AddVm("db01", Content(9));
  for (const char* failing : {"OpenSession", "Negotiate", "Upload", "PutDiskMap", "Commit"}) {
    SCOPED_TRACE(failing);
    store_.SetFault([failing](const std::string& call, int) {
      return call == failing ? base::MakeError(absl::StatusCode::kResourceExhausted, "STORAGE_FULL", "disk full")
                             : absl::OkStatus();
    });
    ExpectFailed(Run(BackupOf({uuid})), "STORAGE_FULL");
    ExpectClean(uuid);
  }
  store_.SetFault({});
  EXPECT_EQ(Run(BackupOf({uuid})).outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << "and the next one works";
}

TEST_F(BackupRunnerTest, LostSession) {
  const std::string uuid = AddVm("db01", Content(10));
  store_.SetFault([](const std::string& call, int) {
    return call == "PutDiskMap" ? base::MakeError(absl::StatusCode::kNotFound, "SESSION_NOT_FOUND", "the daemon restarted")
                                : absl::OkStatus();
  });
  ExpectFailed(Run(BackupOf({uuid})), "SESSION_NOT_FOUND");
  EXPECT_FALSE(hypervisor_.IsFrozen(uuid));
  EXPECT_TRUE(files_.List(Scratch())->empty());
}

TEST_F(BackupRunnerTest, CancelledAtEveryCall) {
  const std::string uuid = AddVm("db01", Content(11));
  for (const char* when : {"OpenSession", "Negotiate", "Upload", "PutDiskMap"}) {
    SCOPED_TRACE(when);
    const agent::v1::Assignment assignment = BackupOf({uuid});
    store_.SetFault([&](const std::string& call, int) {
      if (call == when) runner_->OnCancel(assignment.id());
      return absl::OkStatus();
    });
    const AssignmentResult result = Run(assignment);
    EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_CANCELLED) << result.error().ShortDebugString();
    EXPECT_TRUE(store_.committed().empty());
    ExpectClean(uuid);
  }
}

TEST_F(BackupRunnerTest, CancelDuringTheCommitComesTooLate) {
  const std::string uuid = AddVm("db01", Content(12));
  const agent::v1::Assignment assignment = BackupOf({uuid});
  store_.SetFault([&](const std::string& call, int) {
    if (call == "Commit") runner_->OnCancel(assignment.id());
    return absl::OkStatus();
  });
  EXPECT_EQ(Run(assignment).outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(store_.committed().size(), 1u);
  ExpectClean(uuid);
}

TEST_F(BackupRunnerTest, LinkThatComesBackIsNoFailure) {
  const std::string uuid = AddVm("db01", Content(13));
  store_.SetFault([](const std::string&, int number) {
    return number % 3 == 0 ? absl::UnavailableError("connection reset") : absl::OkStatus();
  });
  const AssignmentResult result = Run(BackupOf({uuid}));
  EXPECT_EQ(result.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result.error().ShortDebugString();
}

TEST_F(BackupRunnerTest, ExpiredLeasePutsEverythingBack) {
  const std::string uuid = AddVm("db01", Content(14));
  store_.SetFault([this](const std::string& call, int) {
    if (call == "Upload") runner_->OnLeaseExpired();
    return absl::OkStatus();
  });
  ExpectFailed(Run(BackupOf({uuid})), "AGENT_LOST");
  ExpectClean(uuid);
}

TEST_F(BackupRunnerTest, ShutdownPutsEverythingBackAndTellsIt) {
  const std::string uuid = AddVm("db01", Content(15));
  absl::Mutex mu;
  bool uploading = false;
  store_.SetFault([&](const std::string& call, int) {
    absl::MutexLock lock(&mu);
    if (call == "Upload") uploading = true;
    if (call == "Upload") return absl::UnavailableError("slow");
    return absl::OkStatus();
  });
  runner_->OnAssignment(BackupOf({uuid}));
  mu.LockWhen(absl::Condition(&uploading));
  mu.Unlock();
  EXPECT_EQ(runner_->Running().size(), 1u);
  runner_->Shutdown(base::MakeError(absl::StatusCode::kAborted, "AGENT_RESTARTED", "stopped"));
  EXPECT_TRUE(runner_->Running().empty());
  ExpectFailed(AwaitResult(), "AGENT_RESTARTED");
  EXPECT_FALSE(hypervisor_.IsFrozen(uuid));
  EXPECT_TRUE(files_.List(Scratch())->empty());
  runner_->OnAssignment(BackupOf({uuid}));
  EXPECT_TRUE(runner_->Running().empty()) << "nothing is taken on any more";
}

TEST_F(BackupRunnerTest, AssignmentThatIsSaidTwiceRunsOnce) {
  const std::string uuid = AddVm("db01", Content(16));
  const agent::v1::Assignment assignment = BackupOf({uuid});
  runner_->OnAssignment(assignment);
  runner_->OnAssignment(assignment);
  EXPECT_EQ(AwaitResult().outcome(), AssignmentResult::OUTCOME_SUCCEEDED);
  EXPECT_EQ(store_.committed().size(), 1u);
}

TEST_F(BackupRunnerTest, InventoryTellsDisksMechanismAndWriters) {
  const std::string good = AddVm("db01", Content(17));
  const std::string bare = AddVm("old", Content(18), /*guest_agent=*/false);
  const agent::v1::Inventory inventory = TakeInventory(*host_);
  EXPECT_EQ(inventory.error(), "");
  ASSERT_EQ(inventory.virtual_machines_size(), 2);
  for (const v1::VirtualMachine& vm : inventory.virtual_machines()) {
    EXPECT_EQ(vm.disks_size(), 1);
    ASSERT_EQ(vm.excluded_disks_size(), 1);
    EXPECT_EQ(vm.excluded_disks(0).reason(), "DISK_PASS_THROUGH");
    if (vm.uuid() == good) {
      EXPECT_EQ(vm.mechanism(), v1::BACKUP_MECHANISM_CHILD_SNAPSHOT);
      EXPECT_EQ(vm.guest_agent().state(), v1::GuestAgent::STATE_RUNNING);
    } else {
      EXPECT_EQ(vm.uuid(), bare);
      EXPECT_EQ(vm.mechanism(), v1::BACKUP_MECHANISM_SAVED_STATE);
      EXPECT_EQ(vm.mechanism_reason(), "GUEST_AGENT_NOT_CONFIGURED");
      EXPECT_EQ(vm.mechanism_obstacles_size(), 1);
      EXPECT_NE(vm.mechanism_message(), "");
    }
  }
  ASSERT_EQ(inventory.writers_size(), 1);
  EXPECT_EQ(inventory.writers(0).writer_id(), "66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  EXPECT_EQ(inventory.writers(0).display_name(), "Microsoft Hyper-V VSS Writer");
}

TEST(ToManifestTest, GuestsDocumentsThatAreTooLargeAreLeftOut) {
  writers::VmSnapshot snapshot;
  snapshot.child_documents = {{"<writer/>"}, "<components/>"};
  EXPECT_EQ(ToManifest(snapshot, {{}, "<host/>"}, {}, 0).documents_size(), 4);
  snapshot.child_documents.writer_metadata[0].assign(1 << 20, ' ');
  EXPECT_EQ(ToManifest(snapshot, {{}, "<host/>"}, {}, 0).documents_size(), 2);
}

}  // namespace
}  // namespace umbra::runner
