// Proves that removed points can be undeleted within their window and not after, that nothing removes a held or locked
// point, that all of it is in the repository itself, and that no setting of the clock shortens a window or a lock.
#include <gtest/gtest.h>

#include "storage/repo/repository_time.h"
#include "storage/repo/sealed_record.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/quota_filesystem.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using base::ReasonOf;

const PruneOptions kAtOnce{.young_pack_grace = absl::ZeroDuration(), .condemned_grace = absl::ZeroDuration()};

class PointStatesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Reopen();
    vm_ = {{"vda", ModelDisk::OfChunks({1, 2, 3})}};
    id_ = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  }
  void Reopen() {
    repository_.reset();
    auto opened = Repository::OpenOrCreate(fs_, clock_, random_, "/repository", SmallOptions());
    ASSERT_TRUE(opened.ok()) << opened.status();
    repository_ = *std::move(opened);
  }
  absl::Status Remove(absl::Duration window = kUndeleteWindowDefault) {
    return repository_->RemoveRecoveryPoint(id_, {"anna", window}).status();
  }
  // Ids that a prune deletes now.
  std::vector<std::string> Prune() {
    const auto report = repository_->Prune(kAtOnce, {}, {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? report->deleted_points : std::vector<std::string>();
  }
  bool Readable() { return CompareVm(*repository_, id_, vm_).ok(); }

  testing::MemoryFilesystem fs_;
  testing::SteppingClock clock_;
  base::SeededRandom random_{5};
  std::unique_ptr<Repository> repository_;
  ModelVm vm_;
  std::string id_;
};

// Nobody looks at all points to count them more than once: what is counted along must be what a new look finds.
TEST_F(PointStatesTest, CountsKeepUpWithPointsThatComeAndGo) {
  struct Counts {
    uint64_t points = 0, logical = 0, stored = 0;
    bool operator==(const Counts&) const = default;
  };
  const auto counts = [](Repository& repository) {
    const RepositoryStats stats = *repository.Stats();
    return Counts{stats.recovery_point_count, stats.logical_bytes, stats.stored_bytes};
  };
  const uint64_t size = 3 * kTestChunkSize;
  const auto expect = [&](uint64_t points) {
    const Counts along = counts(*repository_);
    EXPECT_EQ(along.points, points);
    EXPECT_EQ(along.logical, points * size);
  };
  const auto expect_anew = [&] {
    const Counts along = counts(*repository_);
    Reopen();
    EXPECT_EQ(along, counts(*repository_));
  };
  expect(1);
  const std::string second = Backup(*repository_, "vm2", vm_)->recovery_point_id();
  expect(2);
  ASSERT_TRUE(Remove(absl::ZeroDuration()).ok());
  expect(1);
  ASSERT_TRUE(repository_->RemoveRecoveryPoint(second, {"anna", absl::Hours(48)}).ok());
  expect(0);
  ASSERT_TRUE(repository_->UndeleteRecoveryPoint(second).ok());
  expect(1);
  expect_anew();
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Prune(), std::vector<std::string>{id_});
  expect(1);
  expect_anew();
  Reopen();
  ASSERT_TRUE(Backup(*repository_, "vm3", vm_).ok());  // before anybody asks
  expect(2);
  expect_anew();
}

TEST_F(PointStatesTest, RemovedPointsAreHiddenAtOnceAndComeBackWhole) {
  const auto removed = repository_->RemoveRecoveryPoint(id_, {"anna", absl::Hours(48)});
  ASSERT_TRUE(removed.ok()) << removed.status();
  EXPECT_TRUE(removed->removed);
  EXPECT_EQ(removed->removed_by, "anna");
  EXPECT_EQ(removed->delete_time - removed->remove_time, absl::Hours(48));
  for (int opening = 0; opening < 2; ++opening) {
    EXPECT_EQ(ReasonOf(repository_->ReadManifest(id_).status()), "RECOVERY_POINT_NOT_FOUND");
    EXPECT_EQ(ReasonOf(repository_->OpenDisk(id_, "vda").status()), "RECOVERY_POINT_NOT_FOUND");
    EXPECT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_NOT_FOUND");
    const auto list = repository_->ListRecoveryPoints();
    ASSERT_TRUE(list.ok());
    EXPECT_TRUE(list->points.empty());
    ASSERT_EQ(list->removed.size(), 1u);
    EXPECT_EQ(list->protections.at(id_), *removed) << "also after opening it again";
    EXPECT_EQ(repository_->Stats()->recovery_point_count, 0u);
    Reopen();
  }
  EXPECT_TRUE(Prune().empty());
  ASSERT_TRUE(repository_->UndeleteRecoveryPoint(id_).ok());
  EXPECT_TRUE(Readable());
  EXPECT_EQ(ReasonOf(repository_->UndeleteRecoveryPoint(id_).status()), "RECOVERY_POINT_NOT_FOUND");
  Reopen();
  EXPECT_TRUE(Readable());
  EXPECT_EQ(repository_->ListRecoveryPoints()->protections.size(), 0u);
}

TEST_F(PointStatesTest, AfterTheWindowAPruneDeletesThem) {
  ASSERT_TRUE(Remove(absl::Hours(24)).ok());
  clock_.Advance(absl::Hours(24) - absl::Seconds(1));
  EXPECT_TRUE(Prune().empty());
  clock_.Advance(absl::Seconds(1));
  EXPECT_EQ(Prune(), std::vector<std::string>{id_});
  EXPECT_EQ(ReasonOf(repository_->UndeleteRecoveryPoint(id_).status()), "RECOVERY_POINT_NOT_FOUND");
  EXPECT_TRUE(fs_.AllFiles("/repository/points").empty());
  EXPECT_TRUE(fs_.AllFiles("/repository/tombstones").empty());
  EXPECT_TRUE(fs_.AllFiles("/repository/packs").empty());
}

TEST_F(PointStatesTest, HeldPointsStayUntilReleased) {
  ASSERT_TRUE(repository_->HoldRecoveryPoint(id_, "anna", "case 17\nsecond line").ok());
  for (int opening = 0; opening < 2; ++opening) {
    const absl::Status refused = Remove();
    EXPECT_EQ(ReasonOf(refused), "RECOVERY_POINT_HELD");
    EXPECT_NE(base::MessageOf(refused).find("anna"), std::string::npos);
    EXPECT_TRUE(repository_->ListRecoveryPoints()->protections.at(id_).held);
    Reopen();
  }
  EXPECT_EQ(repository_->ListRecoveryPoints()->protections.at(id_).hold_note, "case 17 second line");
  ASSERT_TRUE(repository_->HoldRecoveryPoint(id_, "bert", "").ok());
  Reopen();
  EXPECT_EQ(repository_->ListRecoveryPoints()->protections.at(id_).held_by, "bert");
  ASSERT_TRUE(repository_->ReleaseRecoveryPoint(id_).ok());
  ASSERT_TRUE(repository_->ReleaseRecoveryPoint(id_).ok()) << "twice is no mistake";
  EXPECT_TRUE(Remove().ok());
}

TEST_F(PointStatesTest, LocksAreOnlyEverExtended) {
  const absl::Time until = clock_.Now() + absl::Hours(24 * 30);
  ASSERT_TRUE(repository_->LockRecoveryPoint(id_, until, "anna").ok());
  EXPECT_EQ(ReasonOf(repository_->LockRecoveryPoint(id_, until, "anna").status()), "INVALID_REQUEST");
  EXPECT_EQ(ReasonOf(repository_->LockRecoveryPoint(id_, until - absl::Hours(1), "anna").status()), "INVALID_REQUEST");
  const absl::Time later = until + absl::Hours(24);
  ASSERT_TRUE(repository_->LockRecoveryPoint(id_, later, "bert").ok());
  EXPECT_EQ(fs_.AllFiles("/repository/locks").size(), 1u);
  Reopen();
  EXPECT_EQ(repository_->ListRecoveryPoints()->protections.at(id_).lock_until, later);
  EXPECT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_LOCKED");
  clock_.Advance(absl::Hours(24 * 31) - absl::Seconds(1));
  EXPECT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_LOCKED");
  clock_.Advance(absl::Seconds(1));
  EXPECT_TRUE(Remove(absl::ZeroDuration()).ok());
  EXPECT_EQ(Prune().size(), 1u);
  EXPECT_TRUE(fs_.AllFiles("/repository/locks").empty());
}

TEST_F(PointStatesTest, SettingTheClockForwardUnlocksNothing) {
  ASSERT_TRUE(repository_->LockRecoveryPoint(id_, clock_.Now() + absl::Hours(24 * 30), "anna").ok());
  const std::string other = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  ASSERT_TRUE(repository_->RemoveRecoveryPoint(other, {"anna", absl::Hours(24 * 7)}).ok());
  clock_.Jump(absl::Hours(24 * 365));
  for (int opening = 0; opening < 3; ++opening) {
    EXPECT_GT(repository_->ClockAhead(), absl::Hours(24 * 364));
    EXPECT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_LOCKED") << opening;
    const auto report = repository_->Prune(kAtOnce, {}, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_TRUE(report->clock_jumped);
    EXPECT_TRUE(report->deleted_points.empty());
    Reopen();
  }
  // The real time passes, whatever the wall clock says.
  clock_.Advance(absl::Hours(24 * 7));
  EXPECT_EQ(Prune(), std::vector<std::string>{other});
  EXPECT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_LOCKED");
  clock_.Advance(absl::Hours(24 * 23));
  EXPECT_TRUE(Remove().ok());
}

TEST_F(PointStatesTest, ConfirmingTheClockLetsPruneFollowItAndLocksNot) {
  const std::string other = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  ASSERT_TRUE(repository_->LockRecoveryPoint(id_, clock_.Now() + absl::Hours(24 * 8), "anna").ok());
  ASSERT_TRUE(repository_->RemoveRecoveryPoint(other, {"anna", absl::Hours(24 * 7)}).ok());
  // The daemon didn't run for ten days.
  repository_.reset();
  clock_.Jump(absl::Hours(24 * 10));
  Reopen();
  EXPECT_TRUE(Prune().empty());
  ASSERT_TRUE(repository_->ConfirmClock("anna").ok());
  EXPECT_EQ(repository_->ClockAhead(), absl::ZeroDuration());
  Reopen();
  EXPECT_EQ(Prune(), std::vector<std::string>{other}) << "the confirmation is in the repository";
  EXPECT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_LOCKED");
}

TEST_F(PointStatesTest, SmallStepsOfTheClockAddUpToNoMoreThanTheBudget) {
  ASSERT_TRUE(repository_->LockRecoveryPoint(id_, clock_.Now() + absl::Hours(6), "anna").ok());
  for (int i = 0; i < 50; ++i) {
    clock_.Jump(absl::Minutes(50));
    Reopen();
    ASSERT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_LOCKED") << i;
  }
  clock_.Advance(absl::Hours(5));
  EXPECT_TRUE(Remove().ok()) << "one hour was in the budget";
}

TEST_F(PointStatesTest, ShortRestartsDelayNothing) {
  ASSERT_TRUE(Remove(absl::Hours(24)).ok());
  for (int i = 0; i < 5; ++i) {
    repository_.reset();
    clock_.Jump(absl::Minutes(10));  // nobody sees these pass
    Reopen();
    clock_.Advance(absl::Hours(24) / 5);
    ASSERT_TRUE(repository_->Maintain({}).ok());  // as the daemon does every few minutes
  }
  EXPECT_EQ(Prune().size(), 1u);
}

TEST_F(PointStatesTest, SettingTheClockBackDelaysNothingAndUnlocksNothing) {
  ASSERT_TRUE(repository_->LockRecoveryPoint(id_, clock_.Now() + absl::Hours(2), "anna").ok());
  clock_.Jump(-absl::Hours(24 * 400));
  Reopen();
  EXPECT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_LOCKED");
  clock_.Advance(absl::Hours(2));
  EXPECT_TRUE(Remove().ok());
}

TEST_F(PointStatesTest, ForgedOrDamagedRecordsDontRelease) {
  ASSERT_TRUE(repository_->HoldRecoveryPoint(id_, "anna", "").ok());
  const std::string second = Backup(*repository_, "vm2", vm_)->recovery_point_id();
  const std::string third = Backup(*repository_, "vm3", vm_)->recovery_point_id();
  ASSERT_TRUE(repository_->LockRecoveryPoint(second, clock_.Now() + absl::Hours(100), "anna").ok());
  ASSERT_TRUE(repository_->RemoveRecoveryPoint(third, {"anna", absl::Hours(1)}).ok());
  for (const char* folder : {"/repository/holds", "/repository/locks", "/repository/tombstones", "/repository/time"}) {
    for (const std::string& file : fs_.AllFiles(folder)) fs_.FlipBit(file, 8 * 60);
  }
  Reopen();
  EXPECT_EQ(repository_->Verify({}, {}, {})->problems.size(), 4u) << "and each is reported";
  EXPECT_EQ(ReasonOf(Remove()), "RECOVERY_POINT_HELD");
  EXPECT_EQ(ReasonOf(repository_->RemoveRecoveryPoint(second, {}).status()), "RECOVERY_POINT_LOCKED");
  clock_.Advance(absl::Hours(48));
  EXPECT_TRUE(Prune().empty()) << "when it was removed isn't known any more";
  ASSERT_TRUE(repository_->UndeleteRecoveryPoint(third).ok());
  EXPECT_EQ(CompareVm(*repository_, third, vm_), absl::OkStatus());
}

TEST_F(PointStatesTest, ReadersOfARemovedPointGoOnThroughPrune) {
  auto reader = repository_->OpenDisk(id_, "vda");
  ASSERT_TRUE(reader.ok());
  ASSERT_TRUE(Remove(absl::ZeroDuration()).ok());
  EXPECT_TRUE(Prune().empty());
  size_t chunks = 0;
  while (true) {
    const auto next = (*reader)->Next(1);
    ASSERT_TRUE(next.ok()) << next.status();
    if (next->empty()) break;
    chunks += next->size();
  }
  EXPECT_EQ(chunks, 3u);
  reader->reset();
  EXPECT_EQ(Prune().size(), 1u);
}

TEST(SealedRecord, SaysWhatWasSaidAndNothingForged) {
  const std::string key(kIdKeySize, 'k');
  const ChunkHasher hasher(IdSuite::kBlake3Keyed, base::AsBytes(key));
  const std::string text = SealedRecord("hold", "r1").Add("by", "a\nseal b").Add("n", int64_t{-7}).Encode(hasher);
  const auto record = SealedRecord::Decode(hasher, "hold", "r1", text);
  ASSERT_TRUE(record.ok()) << record.status();
  EXPECT_EQ(record->Text("by"), "a seal b");
  EXPECT_EQ(record->Number("n"), -7);
  EXPECT_EQ(record->Text("none"), "");
  EXPECT_FALSE(SealedRecord::Decode(hasher, "lock", "r1", text).ok());
  EXPECT_FALSE(SealedRecord::Decode(hasher, "hold", "r2", text).ok());
  const std::string other_key(kIdKeySize, 'x');
  const ChunkHasher other(IdSuite::kBlake3Keyed, base::AsBytes(other_key));
  EXPECT_FALSE(SealedRecord::Decode(other, "hold", "r1", text).ok());
  for (size_t i = 0; i < text.size(); ++i) {
    std::string damaged = text;
    damaged[i] = static_cast<char>(damaged[i] ^ 1);
    EXPECT_FALSE(SealedRecord::Decode(hasher, "hold", "r1", damaged).ok()) << i;
    EXPECT_FALSE(SealedRecord::Decode(hasher, "hold", "r1", text.substr(0, i)).ok()) << i;
  }
}

// A full disk: not even a tombstone fits, but for the reserve.
TEST(SpaceReserve, RemovingAndPruningWorkOnAFullDisk) {
  testing::MemoryFilesystem real;
  testing::QuotaFilesystem fs(real, 64 * base::kMiB);
  testing::SteppingClock clock;
  base::SeededRandom random(1);
  for (const uint64_t reserve : {uint64_t{0}, 256 * base::kKiB}) {
    RepositoryOptions options = SmallOptions();
    options.reserve_bytes = reserve;
    fs.SetCapacity(64 * base::kMiB);
    const std::string path = fmt::format("/repository{}", reserve);
    auto opened = Repository::OpenOrCreate(fs, clock, random, path, options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    Repository& repository = **opened;
    const ModelVm vm = {{"vda", ModelDisk::OfChunks({1, 3, 5, 7, 9, 11})}};
    const ModelVm other = {{"vda", ModelDisk::OfChunks({21, 23, 25, 27})}};
    const std::string id = Backup(repository, "vm1", vm)->recovery_point_id();
    const std::string kept = Backup(repository, "vm2", other)->recovery_point_id();
    fs.SetCapacity(fs.used_bytes());
    EXPECT_EQ(ReasonOf(Backup(repository, "vm3", {{"vda", ModelDisk::OfChunks({31, 33, 35, 37, 39})}}).status()),
              "STORAGE_FULL");
    const auto removed = repository.RemoveRecoveryPoint(id, {"anna", absl::ZeroDuration()});
    if (reserve == 0) {
      EXPECT_EQ(ReasonOf(removed.status()), "STORAGE_FULL");
      continue;
    }
    ASSERT_TRUE(removed.ok()) << removed.status();
    EXPECT_FALSE(*fs.Exists(path + "/" + kReserveName)) << "it was given up";
    const auto report = repository.Prune(kAtOnce, {}, {});
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_GT(report->freed_bytes, 5 * kTestChunkSize);
    EXPECT_EQ(CompareVm(repository, kept, other), absl::OkStatus());
    EXPECT_TRUE(Backup(repository, "vm3", {{"vda", ModelDisk::OfChunks({31})}}).ok());
    fs.SetCapacity(64 * base::kMiB);
    ASSERT_TRUE(repository.Maintain({}).ok());
    EXPECT_TRUE(*fs.Exists(path + "/" + kReserveName)) << "and made again";
  }
}

}  // namespace
}  // namespace umbra::repo
