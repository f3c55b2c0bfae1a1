// Proves that a backup reads only what changed, that its recovery point is the whole disk at the instant of the
// snapshot, and that every way in which a list of changes can be lost or wrong ends in a full read with its reason,
// never in wrong bytes.
#include <gmock/gmock.h>

#include "agent/runner/convert.h"
#include "tests/unit/agent/runner/fixture.h"

namespace umbra::runner {
namespace {

using agent::v1::AssignmentResult;
using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::Not;

class IncrementTest : public RunnerTest {
 protected:
  static constexpr uint64_t kBig = 64 * base::kMiB;

  // A running machine with a disk "vda" of kBig that holds data everywhere.
  std::string AddBigVm(const std::string& name, bool trackable = true) {
    const std::string uuid = hypervisor_
                                 .CreateVm({.name = name,
                                            .disks = {{"vda", kBig, hypervisor::DiskExclusion::kNone, trackable}},
                                            .adapters = {{"52:54:00:00:00:02", "switch0"}}})
                                 .value();
    for (uint64_t at = 0; at < kBig; at += base::kMiB) Write(uuid, at, testing::MakeDiskContent(at + 1, 16, kChunk, 0));
    return uuid;
  }
  void Write(const std::string& uuid, uint64_t offset, const std::string& data, const std::string& disk = "vda") {
    ASSERT_TRUE(hypervisor_.GuestWrite(uuid, disk, offset, base::AsBytes(data)).ok());
  }
  void Change(const std::string& uuid, uint64_t chunk, char c) { Write(uuid, chunk * kChunk, std::string(kChunk, c)); }

  // Backs it up and compares the recovery point with the disk; the guest doesn't write meanwhile.
  v1::DiskProgress BackUp(const std::string& uuid, bool full = false, const std::string& disk = "vda") {
    agent::v1::Assignment assignment = BackupOf({uuid});
    assignment.mutable_backup()->set_full_read(full);
    result_ = Run(assignment);
    EXPECT_EQ(result_.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << result_.error().ShortDebugString();
    if (result_.outcome() != AssignmentResult::OUTCOME_SUCCEEDED) return {};
    ExpectClean(uuid);
    ExpectStored(uuid, disk);
    for (const v1::DiskProgress& progress : result_.progress().disks()) {
      if (progress.disk() == disk) return progress;
    }
    ADD_FAILURE() << "no figures of " << disk;
    return {};
  }
  void ExpectStored(const std::string& uuid, const std::string& disk) {
    const bool off = hypervisor_.GetVm(uuid)->state == hypervisor::VmState::kOff;
    if (off) {
      ASSERT_TRUE(hypervisor_.Start(uuid).ok());
    }
    const testing::MemoryChunkStore::StoredDisk stored = store_.disk(uuid, disk);
    const std::string now = hypervisor_.GuestRead(uuid, disk, 0, stored.capacity_bytes).value();
    for (size_t chunk = 0; chunk < stored.ids.size(); ++chunk) {
      const auto part = base::AsBytes(std::string_view(now).substr(chunk * kChunk, kChunk));
      ASSERT_EQ(stored.ids[chunk], base::IsZero(part) ? repo::kZeroChunkId : hasher_.Id(part))
          << disk << " chunk " << chunk;
    }
    if (off) {
      ASSERT_TRUE(hypervisor_.PowerOff(uuid).ok());
    }
  }
  void ExpectIncrement(const v1::DiskProgress& disk, uint64_t changed_bytes) {
    EXPECT_EQ(disk.read_mode(), v1::DiskProgress::READ_MODE_INCREMENTAL)
        << disk.full_read_reason() << ": " << disk.full_read_message();
    EXPECT_EQ(disk.changed_bytes(), static_cast<int64_t>(changed_bytes));
  }
  void ExpectFull(const v1::DiskProgress& disk, const std::string& reason) {
    EXPECT_EQ(disk.read_mode(), v1::DiskProgress::READ_MODE_FULL);
    EXPECT_EQ(disk.full_read_reason(), reason) << disk.full_read_message();
    EXPECT_THAT(disk.full_read_message(), Not(IsEmpty()));
  }
  // What keeps the next increment possible, and nothing else.
  void ExpectOneCheckpoint(const std::string& uuid) {
    const store::v1::Manifest manifest = store_.committed().back();
    EXPECT_THAT(hypervisor_.Checkpoints(uuid), ElementsAre(manifest.tracking().checkpoint()));
  }
  uint64_t ReadBytes() const { return static_cast<uint64_t>(result_.progress().read_bytes()); }

  const std::string key_ = std::string(repo::kIdKeySize, 'k');  // as the store's
  const repo::ChunkHasher hasher_{repo::IdSuite::kBlake3Keyed, base::AsBytes(key_)};
  AssignmentResult result_;
};

TEST_F(IncrementTest, ReadsWhatChangedAndASample) {
  const std::string uuid = AddBigVm("db01");
  ExpectFull(BackUp(uuid), "CBT_NO_BASE");
  ExpectOneCheckpoint(uuid);
  EXPECT_GT(ReadBytes(), kBig / 2) << "some of it is zero";
  Change(uuid, 3, 'a');
  Change(uuid, 4, 'b');
  Write(uuid, 100 * kChunk + 7, "one byte in a chunk is the whole chunk");
  ExpectIncrement(BackUp(uuid), 3 * kChunk);
  ExpectOneCheckpoint(uuid);
  EXPECT_GE(ReadBytes(), 3 * kChunk);
  EXPECT_LE(ReadBytes(), (3 + 16) * kChunk) << "what changed, and the sample of so small a disk";
  const store::v1::Manifest manifest = store_.committed().back();
  EXPECT_EQ(manifest.base_recovery_point_id(), "point-1");
  EXPECT_EQ(manifest.disks(0).read_mode(), v1::DiskProgress::READ_MODE_INCREMENTAL);
  EXPECT_EQ(manifest.disks(0).changed_bytes(), static_cast<int64_t>(3 * kChunk));
  ExpectIncrement(BackUp(uuid), 0);
  EXPECT_THAT(Warnings(), IsEmpty());
}

TEST_F(IncrementTest, ZeroedBlocksAreDataAndBecomeZeroInTheMap) {
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  Change(uuid, 8, '\0');
  Change(uuid, 9, '\0');
  ExpectIncrement(BackUp(uuid), 2 * kChunk);
  EXPECT_TRUE(store_.disk(uuid, "vda").ids.at(8).IsZero());
  EXPECT_TRUE(store_.disk(uuid, "vda").ids.at(9).IsZero());
  Change(uuid, 9, 'z');
  ExpectIncrement(BackUp(uuid), kChunk);
}

TEST_F(IncrementTest, OnRequestEverythingIsReadAndOnlyWhatIsNewIsSent) {
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  const uint64_t sent = store_.chunks_received();
  Change(uuid, 5, 'q');
  ExpectFull(BackUp(uuid, /*full=*/true), "CBT_FULL_REQUESTED");
  EXPECT_LE(store_.chunks_received(), sent + 1);
  ExpectOneCheckpoint(uuid);
  Change(uuid, 6, 'r');
  ExpectIncrement(BackUp(uuid), kChunk);
}

TEST_F(IncrementTest, ALostListOfChangesIsAFullReadThatSendsOnlyWhatIsNew) {
  struct Loss {
    std::string reason;
    std::function<void(const std::string&)> lose;
  };
  const auto off = [this](const std::string& uuid, const std::function<absl::Status()>& change) {
    ASSERT_TRUE(hypervisor_.PowerOff(uuid).ok());
    ASSERT_TRUE(change().ok());
    ASSERT_TRUE(hypervisor_.Start(uuid).ok());
  };
  const std::vector<Loss> losses = {
      {"CBT_CHECKPOINT_BROKEN",
       [&](const std::string& uuid) {
         hypervisor_.KillGuest(uuid);
         ASSERT_TRUE(hypervisor_.Start(uuid).ok());
       }},
      {"CBT_CHECKPOINT_MISSING",
       [&](const std::string& uuid) {
         ASSERT_TRUE(hypervisor_.DeleteCheckpoint(uuid, store_.committed().back().tracking().checkpoint()).ok());
       }},
      {"CBT_DISK_RESIZED",
       [&](const std::string& uuid) {
         off(uuid, [&] { return hypervisor_.ResizeDisk(uuid, "vda", kBig + base::kMiB); });
       }},
      {"CBT_DISK_RESIZED",
       [&](const std::string& uuid) {
         off(uuid, [&] { return hypervisor_.ResizeDisk(uuid, "vda", kBig - base::kMiB); });
       }},
      {"CBT_DISK_REPLACED",
       [&](const std::string& uuid) {
         off(uuid, [&]() -> absl::Status {
           RETURN_IF_ERROR(hypervisor_.RemoveDisk(uuid, "vda"));
           return hypervisor_.AddDisk(uuid, {"vda", kBig});
         });
       }},
  };
  for (size_t i = 0; i < losses.size(); ++i) {
    SCOPED_TRACE(::testing::Message() << i << " " << losses[i].reason);
    const std::string uuid = AddBigVm("vm" + std::to_string(i));
    BackUp(uuid);
    const uint64_t sent = store_.chunks_received();
    Change(uuid, 7, static_cast<char>('A' + i));
    losses[i].lose(uuid);
    ExpectFull(BackUp(uuid), losses[i].reason);
    EXPECT_LE(store_.chunks_received(), sent + 17) << "one chunk changed, and a resized disk may end in another one";
    ExpectOneCheckpoint(uuid);
    Change(uuid, 8, 'x');
    ExpectIncrement(BackUp(uuid), kChunk);
  }
}

TEST_F(IncrementTest, AnAddedDiskIsReadWholeAndTheOthersAreNot) {
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  ASSERT_TRUE(hypervisor_.PowerOff(uuid).ok());
  ASSERT_TRUE(hypervisor_.AddDisk(uuid, {"vdb", 4 * base::kMiB}).ok());
  ASSERT_TRUE(hypervisor_.Start(uuid).ok());
  Write(uuid, 0, "new", "vdb");
  ExpectFull(BackUp(uuid, false, "vdb"), "CBT_DISK_NEW");
  ExpectIncrement(result_.progress().disks(0), 0);
  ExpectIncrement(BackUp(uuid, false, "vdb"), 0);

  ASSERT_TRUE(hypervisor_.PowerOff(uuid).ok());
  ASSERT_TRUE(hypervisor_.RemoveDisk(uuid, "vdb").ok());
  ASSERT_TRUE(hypervisor_.Start(uuid).ok());
  ExpectIncrement(BackUp(uuid), 0);
  EXPECT_EQ(store_.committed().back().disks_size(), 1);
}

TEST_F(IncrementTest, ADiskThatCannotBeTrackedIsReadWholeAndLeavesNoCheckpoint) {
  const std::string uuid = AddBigVm("old01", /*trackable=*/false);
  ExpectFull(BackUp(uuid), "CBT_NO_BASE");
  EXPECT_THAT(hypervisor_.Checkpoints(uuid), IsEmpty());
  EXPECT_FALSE(store_.committed().back().has_tracking());
  ExpectFull(BackUp(uuid), "CBT_NO_BASE");
}

TEST_F(IncrementTest, ARestoredMachineIsReadWholeFirst) {
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  Change(uuid, 1, 's');
  const AssignmentResult restored = Run(RestoreOf(v1::RestoreSpec::MODE_IN_PLACE));
  ASSERT_EQ(restored.outcome(), AssignmentResult::OUTCOME_SUCCEEDED) << restored.error().ShortDebugString();
  EXPECT_EQ(restored.restored_virtual_machine(), uuid);
  ASSERT_TRUE(hypervisor_.Start(uuid).ok());
  const v1::DiskProgress disk = BackUp(uuid);
  EXPECT_EQ(disk.read_mode(), v1::DiskProgress::READ_MODE_FULL);
  EXPECT_TRUE(disk.full_read_reason() == "CBT_DISK_REPLACED" || disk.full_read_reason() == "CBT_CHECKPOINT_MISSING");
  ExpectIncrement(BackUp(uuid), 0);
}

TEST_F(IncrementTest, AMachineThatIsOffIsReadByItsOldCheckpoint) {
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  const std::string checkpoint = store_.committed().back().tracking().checkpoint();
  Change(uuid, 11, 'o');
  ASSERT_TRUE(hypervisor_.PowerOff(uuid).ok());
  ExpectIncrement(BackUp(uuid), kChunk);
  EXPECT_EQ(store_.committed().back().tracking().checkpoint(), checkpoint) << "nothing can begin while it is off";
  ExpectIncrement(BackUp(uuid), kChunk);
  ASSERT_TRUE(hypervisor_.Start(uuid).ok());
  Change(uuid, 12, 'p');
  ExpectIncrement(BackUp(uuid), 2 * kChunk);
  ExpectOneCheckpoint(uuid);
  ExpectIncrement(BackUp(uuid), 0);
}

TEST_F(IncrementTest, ASavedMachineKeepsTrackAcrossItsSave) {
  const std::string uuid =
      hypervisor_.CreateVm({.name = "win01", .disks = {{"vda", kBig}}, .guest_agent = false}).value();
  Write(uuid, 0, testing::MakeDiskContent(5, 64, kChunk, 0));
  ExpectFull(BackUp(uuid), "CBT_NO_BASE");
  EXPECT_EQ(store_.committed().back().mechanism(), v1::BACKUP_MECHANISM_SAVED_STATE);
  Change(uuid, 2, 'w');
  ExpectIncrement(BackUp(uuid), kChunk);
  EXPECT_EQ(store_.committed().back().disks_size(), 2) << "its memory is with it, whole";
  ExpectOneCheckpoint(uuid);
}

TEST_F(IncrementTest, AnUnusableBaseIsAFullRead) {
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  store_.SetFault([](const std::string& call, int) {
    if (call != "CheckBase") return absl::OkStatus();
    return base::MakeError(absl::StatusCode::kFailedPrecondition, "CBT_BASE_UNUSABLE", "a chunk is damaged");
  });
  ExpectFull(BackUp(uuid), "CBT_BASE_UNUSABLE");
  store_.SetFault(nullptr);
  ExpectIncrement(BackUp(uuid), 0);
}

// The list of changes lies: a stretch was written that it doesn't name. The sample of a disk finds one chunk of it.
TEST_F(IncrementTest, ALyingListIsFoundOutAndTheDiskIsReadWhole) {
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  const std::string unseen(16 * base::kMiB, '!');
  ASSERT_TRUE(hypervisor_.WriteUnseen(uuid, "vda", 8 * base::kMiB, base::AsBytes(unseen)).ok());
  ExpectFull(BackUp(uuid), "CBT_MISMATCH");
  EXPECT_THAT(Warnings(), Contains("CBT_MISMATCH"));
  ExpectIncrement(BackUp(uuid), 0);
}

TEST_F(IncrementTest, AFailedBackupKeepsTheCheckpointOfTheLastGoodOne) {
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  Change(uuid, 20, 'f');
  for (const std::string call : {"Upload", "PutDiskMap", "Commit"}) {
    SCOPED_TRACE(call);
    Change(uuid, 21, call[0]);
    store_.SetFault([&](const std::string& name, int) {
      if (name != call) return absl::OkStatus();
      return base::MakeError(absl::StatusCode::kInternal, "STORAGE_FULL", "no room");
    });
    const AssignmentResult failed = Run(BackupOf({uuid}));
    EXPECT_EQ(failed.outcome(), AssignmentResult::OUTCOME_FAILED);
    ExpectOneCheckpoint(uuid);
    store_.SetFault(nullptr);
  }
  ExpectIncrement(BackUp(uuid), 2 * kChunk);
}

TEST_F(IncrementTest, RandomWorkloadsComeBackByteForByte) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  const std::string uuid = AddBigVm("db01");
  BackUp(uuid);
  for (int round = 0; round < 25; ++round) {
    for (int i = static_cast<int>(random() % 20); i > 0; --i) {
      const uint64_t offset = random() % (kBig / 512) * 512;
      const uint64_t length = std::min<uint64_t>(kBig - offset, 512 * (1 + random() % 600));
      Write(uuid, offset, std::string(length, random() % 3 == 0 ? '\0' : static_cast<char>('a' + random() % 26)));
    }
    const bool lost = random() % 6 == 0;
    if (lost) {
      hypervisor_.KillGuest(uuid);
      ASSERT_TRUE(hypervisor_.Start(uuid).ok());
    }
    const v1::DiskProgress disk = BackUp(uuid);
    EXPECT_EQ(disk.read_mode(), lost ? v1::DiskProgress::READ_MODE_FULL : v1::DiskProgress::READ_MODE_INCREMENTAL)
        << round;
    ExpectOneCheckpoint(uuid);
    if (::testing::Test::HasFailure()) break;
  }
}

}  // namespace
}  // namespace umbra::runner
