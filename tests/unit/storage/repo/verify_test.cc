// Proves that verification finds each kind of damage at the level that promises it, that what it found outlives a
// restart, that the next backup heals it for good, also when the index is lost, and that budgets, order and cancelling
// work.
#include <gtest/gtest.h>

#include <set>

#include "storage/repo/blob_file.h"
#include "storage/repo/format.h"
#include "storage/repo/key_store.h"
#include "storage/repo/pack.h"
#include "storage/repo/verify_stored.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_blob_store.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using base::ReasonOf;

// Objects whose bytes can't be read, as on a disk with bad sectors.
class SickStore final : public BlobStore {
 public:
  struct Sickness {
    absl::Mutex mu;
    std::set<std::string> unreadable ABSL_GUARDED_BY(mu);
    bool all ABSL_GUARDED_BY(mu) = false;
    bool Has(const std::string& name) {
      absl::MutexLock lock(&mu);
      return all || unreadable.contains(name);
    }
  };

  SickStore(BlobStore& real, Sickness& sickness) : real_(real), sickness_(sickness) {}

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(const std::string& name) override { return real_.Create(name); }
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& name) override {
    ASSIGN_OR_RETURN(auto blob, real_.Open(name));
    return std::make_unique<SickReader>(std::move(blob), name, sickness_);
  }
  absl::StatusOr<std::vector<std::string>> List(const std::string& prefix) override { return real_.List(prefix); }
  absl::Status Delete(const std::string& name) override { return real_.Delete(name); }
  absl::StatusOr<uint64_t> FreeSpace() override { return real_.FreeSpace(); }

 private:
  class SickReader final : public BlobReader {
   public:
    SickReader(std::unique_ptr<BlobReader> real, std::string name, Sickness& sickness)
        : real_(std::move(real)), name_(std::move(name)), sickness_(sickness) {}
    uint64_t size() const override { return real_->size(); }
    absl::Status ReadAt(uint64_t offset, base::MutableBytes out) override {
      if (sickness_.Has(name_))
        return base::Error(absl::StatusCode::kUnavailable, "IO_ERROR", "read {}: bad sector", name_);
      return real_->ReadAt(offset, out);
    }

   private:
    std::unique_ptr<BlobReader> real_;
    const std::string name_;
    Sickness& sickness_;
  };

  BlobStore& real_;
  Sickness& sickness_;
};

class VerifyTest : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    point_ = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  }

  ChunkId IdOf(uint32_t seed) { return repository_->hasher().Id(base::AsBytes(ContentOf(seed, kTestChunkSize))); }

  struct Place {
    std::string path;
    PackTrailer trailer;
    PackSlot slot;
    uint64_t size = 0;
  };
  // The oldest pack's copy of a chunk.
  Place Find(const ChunkId& id) {
    std::vector<std::pair<int64_t, Place>> found;
    for (const std::string& path : fs_.AllFiles("/repository/packs")) {
      const std::string bytes = *fs_.ReadFile(path);
      const base::Bytes all = base::AsBytes(bytes);
      const auto trailer = DecodePackTrailer(all.last(kPackTrailerSize), bytes.size());
      if (!trailer.ok()) continue;
      const auto slots =
          DecodePackFooter(all.first(kPackHeaderSize), all.subspan(trailer->footer_offset, trailer->footer_length),
                           all.last(kPackTrailerSize));
      if (!slots.ok()) continue;
      for (const PackSlot& slot : *slots) {
        if (slot.id == id)
          found.push_back({DecodePackHeader(all)->create_time_us, {path, *trailer, slot, bytes.size()}});
      }
    }
    std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
    EXPECT_FALSE(found.empty());
    return found.empty() ? Place() : found.front().second;
  }

  VerifyReport Verify(const VerifyScope& scope = {}) {
    auto report = repository_->Verify(scope, {}, {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : VerifyReport();
  }

  static std::string Everything(const VerifyReport& report) {
    std::string text;
    for (const auto& damage : report.damaged) text += damage.message + "\n";
    for (const auto& problem : report.problems) text += problem + "\n";
    return text;
  }

  void DropIndex() {
    for (const std::string& run : fs_.AllFiles("/repository/index")) ASSERT_TRUE(fs_.Remove(run).ok());
  }

  bool Wanted(const ChunkId& id) { return repository_->BeginSession()->Wanted({&id, 1})->at(0) == 1; }

  // Whatever was damaged: with the next backup of the same data all is well, now, after a restart, and after a restart
  // without index; and nothing needs to be verified before for that.
  void ExpectHealedByABackup() {
    const auto again = Backup(*repository_, "vm1", vm_);
    ASSERT_TRUE(again.ok()) << again.status();
    for (const char* when : {"at once", "after a restart", "after a restart without index"}) {
      const VerifyReport report = Verify();
      EXPECT_TRUE(report.ok()) << when << ": " << Everything(report);
      for (const std::string& id : {point_, again->recovery_point_id()}) {
        EXPECT_EQ(CompareVm(*repository_, id, vm_), absl::OkStatus()) << when;
        EXPECT_TRUE(Verify({id}).ok()) << when;
      }
      if (when == std::string_view("after a restart")) {
        repository_.reset();
        DropIndex();
      }
      Reopen();
    }
  }

  const ModelVm vm_ = {{"vda", ModelDisk::OfChunks({1, 2, 0, 3, 4, 5, 6, 7})}, {"vdb", ModelDisk::OfChunks({8, 3})}};
  std::string point_;
};

TEST_F(VerifyTest, AFlippedBitIsInQuarantineAfterARestartAndHealedByTheNextBackup) {
  const Place place = Find(IdOf(3));
  fs_.FlipBit(place.path, (place.slot.offset + 100) * 8);
  EXPECT_EQ(Verify().damaged_count, 2u);
  Reopen();
  EXPECT_TRUE(Wanted(IdOf(3))) << "a chunk found damaged yesterday is unknown to today's backup";
  EXPECT_FALSE(Wanted(IdOf(5))) << "its neighbours are known";
  EXPECT_EQ(Verify().damaged_count, 2u);
  ExpectHealedByABackup();
  const VerifyReport report = Verify();
  ASSERT_EQ(report.healed.size(), 1u) << "the damaged copy is still told of";
  EXPECT_NE(report.healed[0].find(place.path.substr(sizeof("/repository"))), std::string::npos);
}

TEST_F(VerifyTest, WhatARestoreFindsIsInQuarantineToo) {
  const Place place = Find(IdOf(3));
  fs_.FlipBit(place.path, (place.slot.offset + 100) * 8);
  EXPECT_EQ(ReasonOf(CompareVm(*repository_, point_, vm_)), "CHUNK_DAMAGED");
  Reopen();
  EXPECT_TRUE(Wanted(IdOf(3)));
  ExpectHealedByABackup();
}

TEST_F(VerifyTest, ABitThatFlipsBackLeavesTheQuarantine) {
  const Place place = Find(IdOf(3));
  fs_.FlipBit(place.path, (place.slot.offset + 100) * 8);
  EXPECT_FALSE(Verify().ok());
  fs_.FlipBit(place.path, (place.slot.offset + 100) * 8);
  VerifyScope stored;
  stored.level = VerifyLevel::kStored;
  EXPECT_FALSE(Verify(stored).ok()) << "right stored bytes alone don't prove that the chunk is right";
  EXPECT_TRUE(Verify().ok());
  EXPECT_TRUE(fs_.AllFiles("/repository/quarantine").empty());
  EXPECT_FALSE(Wanted(IdOf(3)));
}

// Its chunks are intact and can be restored with the index; without it they could not. The report names the pack as
// long as something depends on it.
class DamagedEnd : public VerifyTest, public ::testing::WithParamInterface<const char*> {};

INSTANTIATE_TEST_SUITE_P(Ends, DamagedEnd, ::testing::Values("header", "footer", "trailer"),
                         [](const auto& info) { return std::string(info.param); });

TEST_P(DamagedEnd, IsAProblemUntilTheChunksAreStoredAgain) {
  const std::string end = GetParam();
  const Place place = Find(IdOf(3));
  const uint64_t at = end == "header" ? 20 : end == "footer" ? place.trailer.footer_offset + 5 : place.size - 1;
  fs_.FlipBit(place.path, at * 8);
  const VerifyReport report = Verify();
  EXPECT_EQ(report.damaged_count, 0u) << Everything(report);
  ASSERT_EQ(report.problems.size(), 1u);
  EXPECT_NE(report.problems[0].find(place.path.substr(sizeof("/repository"))), std::string::npos) << report.problems[0];
  EXPECT_EQ(CompareVm(*repository_, point_, vm_), absl::OkStatus()) << "all can be restored";
  Reopen();
  EXPECT_TRUE(Wanted(IdOf(3))) << "nothing in it is relied on";
  EXPECT_FALSE(Verify().ok());
  ExpectHealedByABackup();
}

TEST_F(VerifyTest, ATruncatedPackCostsWhatWasCutOff) {
  const Place place = Find(IdOf(3));
  auto file = *fs_.Open(place.path, base::OpenMode::kReadWrite);
  ASSERT_TRUE(file->Truncate(place.slot.offset + place.slot.stored_length / 2).ok());
  file.reset();
  const VerifyReport report = Verify();
  ASSERT_FALSE(report.damaged.empty());
  EXPECT_FALSE(report.problems.empty());
  std::set<uint64_t> vda;
  for (const ChunkDamage& damage : report.damaged) {
    EXPECT_EQ(damage.reason, "CHUNK_DAMAGED");
    if (damage.disk == "vda") vda.insert(damage.offset_bytes / kTestChunkSize);
  }
  EXPECT_TRUE(vda.contains(3)) << Everything(report);
  EXPECT_FALSE(vda.contains(0)) << "what lies before the cut is whole";
  Reopen();
  EXPECT_FALSE(Verify().ok());
  ExpectHealedByABackup();
}

TEST_F(VerifyTest, AMissingPackIsHealedAsWell) {
  const Place place = Find(IdOf(3));
  ASSERT_TRUE(fs_.Remove(place.path).ok());
  const VerifyReport report = Verify();
  EXPECT_FALSE(report.ok());
  EXPECT_TRUE(std::ranges::all_of(report.damaged, [](const auto& damage) { return damage.reason == "CHUNK_MISSING"; }));
  EXPECT_TRUE(Wanted(IdOf(3))) << "without a restart";
  ExpectHealedByABackup();
}

TEST_F(VerifyTest, ADamagedMapPageIsHealed) {
  std::vector<ChunkId> ids = {IdOf(8), IdOf(3)};
  const Place place = Find(repository_->hasher().Id(std::as_bytes(std::span(ids))));
  fs_.FlipBit(place.path, (place.slot.offset + 10) * 8);
  const VerifyReport report = Verify();
  ASSERT_EQ(report.damaged.size(), 1u);
  EXPECT_EQ(report.damaged[0].disk, "vdb");
  EXPECT_EQ(report.damaged[0].length_bytes, 2u * kTestChunkSize);
  Reopen();
  ExpectHealedByABackup();
}

// The healing pack may be the older one by its header, when the clock was set back meanwhile.
TEST_F(VerifyTest, TheSoundCopyWinsWhateverTheClockSaid) {
  repository_.reset();
  testing::MemoryFilesystem fs;
  testing::ManualClock clock;
  std::unique_ptr<Repository> repository = *Repository::Create(fs, clock, random_, kPath, SmallOptions());
  const std::string point = Backup(*repository, "vm1", vm_)->recovery_point_id();
  const auto packs = fs.AllFiles("/repository/packs");
  for (const std::string& path : packs) fs.FlipBit(path, (kPackHeaderSize + 100) * 8);
  EXPECT_FALSE((*repository->Verify({}, {}, {})).ok());
  clock.Advance(-absl::Hours(48));
  ASSERT_TRUE(Backup(*repository, "vm1", vm_).ok());
  repository.reset();
  for (const std::string& run : fs.AllFiles("/repository/index")) ASSERT_TRUE(fs.Remove(run).ok());
  repository = *Repository::Open(fs, clock, random_, kPath, SmallOptions());
  EXPECT_EQ(CompareVm(*repository, point, vm_), absl::OkStatus());
  EXPECT_TRUE((*repository->Verify({}, {}, {})).ok());
}

TEST_F(VerifyTest, AMergeOfRunsKeepsTheSoundCopy) {
  const Place place = Find(IdOf(3));
  fs_.FlipBit(place.path, (place.slot.offset + 100) * 8);
  EXPECT_FALSE(Verify().ok());
  for (uint32_t i = 0; i < 12; ++i) {  // enough runs for several merges
    ModelVm vm = vm_;
    vm["vda"].seeds[0] = 100 + i;
    ASSERT_TRUE(Backup(*repository_, "vm1", vm).ok());
    EXPECT_EQ(CompareVm(*repository_, point_, vm_), absl::OkStatus()) << i;
  }
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, point_, vm_), absl::OkStatus());
}

TEST_F(VerifyTest, ADamagedIndexRunIsMadeAgainWhileTheRepositoryIsOpen) {
  const std::string other = Backup(*repository_, "vm2", {{"vda", ModelDisk::OfChunks({11, 13, 15})}})->recovery_point_id();
  const auto runs = fs_.AllFiles("/repository/index");
  ASSERT_FALSE(runs.empty());
  for (const std::string& run : runs) fs_.FlipBit(run, 999);
  EXPECT_EQ(ReasonOf(CompareVm(*repository_, point_, vm_)), "INDEX_DAMAGED");
  const VerifyReport report = Verify();
  EXPECT_TRUE(report.ok()) << Everything(report);
  EXPECT_EQ(report.healed.size(), runs.size());
  for (const bool reopen : {false, true}) {
    if (reopen) Reopen();
    EXPECT_EQ(CompareVm(*repository_, point_, vm_), absl::OkStatus());
    EXPECT_EQ(CompareVm(*repository_, other, {{"vda", ModelDisk::OfChunks({11, 13, 15})}}), absl::OkStatus());
    EXPECT_TRUE(Verify().healed.empty());
    for (const std::string& run : runs) EXPECT_FALSE(*fs_.Exists(run)) << run;
  }
}

// ---- Levels ----

TEST_F(VerifyTest, TheStoredLevelDecompressesNothingAndFindsWhatIsRotten) {
  VerifyScope stored;
  stored.level = VerifyLevel::kStored;
  const VerifyReport sound = Verify(stored);
  EXPECT_TRUE(sound.ok());
  EXPECT_EQ(sound.chunk_count, 10u);
  EXPECT_EQ(sound.plain_bytes, 0u);
  EXPECT_GT(sound.stored_bytes, 0u);
  const Place place = Find(IdOf(3));
  fs_.FlipBit(place.path, (place.slot.offset + 100) * 8);
  EXPECT_EQ(Verify(stored).damaged_count, 2u);
  Reopen();
  EXPECT_TRUE(Wanted(IdOf(3)));
}

TEST_F(VerifyTest, TheDisksLevelReadsEveryDiskOfEveryPoint) {
  const std::string second = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  VerifyScope disks;
  disks.level = VerifyLevel::kDisks;
  std::vector<std::string> checked;
  disks.recovery_points = {second, point_};
  disks.on_point = [&](const PointCheck& check) {
    EXPECT_TRUE(check.sound);
    checked.push_back(check.recovery_point_id);
  };
  const VerifyReport report = Verify(disks);
  EXPECT_TRUE(report.ok()) << Everything(report);
  EXPECT_TRUE(report.complete);
  EXPECT_EQ(report.chunk_count, 2u * 9) << "as often as the disks need them";
  EXPECT_EQ(checked, (std::vector<std::string>{second, point_})) << "in the order that was asked for";

  disks.byte_budget = 1;
  checked.clear();
  disks.on_point = [&](const PointCheck& check) { checked.push_back(check.recovery_point_id); };
  const VerifyReport part = Verify(disks);
  EXPECT_FALSE(part.complete);
  EXPECT_TRUE(checked.empty()) << "a point is checked when all of its disks were read";
}

// Every chunk is intact and found, but they aren't the ones that the backup read, or not in that order.
TEST_F(VerifyTest, ADiskWithAnotherHashThanTheBackupReadIsNamed) {
  const std::string path = "/repository/" + PointName(point_);
  const RawUuid uuid = ToRawUuid(repository_->info().uuid);
  const auto store = *FileBlobStore::Open(fs_, "/repository");
  const Hash header = HashOf(base::AsBytes(*fs_.ReadFile("/repository/umbra-repository")));
  const auto key_store = *KeyStore::Open({*store, clock_, random_, uuid, header, {}}, testing::TestKey());
  const DataKeys& keys = key_store->data_keys();
  Point point = *DecodePoint(keys, uuid, *fs_.ReadFile(path));
  for (int i = 0; i < point.manifest.disks_size(); ++i) {
    if (point.manifest.disks(i).name() == "vdb") point.manifest.mutable_disks(i)->set_map_hash(std::string(32, 'x'));
  }
  ASSERT_TRUE(fs_.WriteFileAtomic(path, EncodePoint(keys, random_, uuid, point)).ok());
  EXPECT_TRUE(Verify().ok()) << "nothing is wrong with the packs";
  VerifyScope disks;
  disks.level = VerifyLevel::kDisks;
  bool sound = true;
  disks.on_point = [&](const PointCheck& check) { sound = check.sound; };
  for (const VerifyScope& scope : {disks, VerifyScope{point_}}) {
    const VerifyReport report = Verify(scope);
    ASSERT_EQ(report.damaged.size(), 1u) << Everything(report);
    EXPECT_EQ(report.damaged[0].disk, "vdb");
    EXPECT_EQ(report.damaged[0].offset_bytes, 0u);
    EXPECT_EQ(report.damaged[0].length_bytes, vm_.at("vdb").capacity_bytes);
    EXPECT_EQ(report.damaged[0].recovery_point_id, point_);
  }
  EXPECT_FALSE(sound);
}

// ---- Budgets, order, cancelling ----

TEST_F(VerifyTest, ABudgetReadsTheGivenPacksInTheirOrderAndSaysThatItIsNotAll) {
  ASSERT_TRUE(Backup(*repository_, "vm2", {{"vda", ModelDisk::OfChunks({21, 23, 25, 27, 29, 31, 33, 35, 37})}}).ok());
  const std::vector<PackInfo> packs = repository_->ListPacks();
  ASSERT_GE(packs.size(), 4u);
  VerifyScope scope;
  for (const PackInfo& pack : packs) scope.packs.insert(scope.packs.begin(), pack.id);
  std::vector<std::string> read;
  scope.on_pack = [&](const PackCheck& check) {
    EXPECT_EQ(check.damaged_chunks, 0u);
    EXPECT_EQ(check.level, VerifyLevel::kFull);
    EXPECT_GT(check.size_bytes, 0u);
    read.push_back(check.pack);
  };
  scope.byte_budget = 1;
  const VerifyReport part = Verify(scope);
  EXPECT_TRUE(part.ok());
  EXPECT_FALSE(part.complete);
  ASSERT_FALSE(read.empty()) << "however small the budget, something is read";
  EXPECT_LE(read.size(), 2u) << "two packs may be on their way";
  const std::set<std::string> first(scope.packs.begin(), scope.packs.begin() + 2);
  for (const std::string& pack : read) EXPECT_TRUE(first.contains(pack));
  EXPECT_EQ(part.pack_count, read.size());

  scope.byte_budget = UINT64_MAX;
  scope.time_budget = absl::ZeroDuration();
  EXPECT_FALSE(Verify(scope).complete);
  scope.time_budget = absl::Hours(1);
  read.clear();
  EXPECT_TRUE(Verify(scope).complete);
  EXPECT_EQ(read.size(), packs.size());
  scope.packs = {packs[0].id, std::string(32, '0'), "no pack"};
  read.clear();
  EXPECT_TRUE(Verify(scope).ok()) << "packs that are gone are skipped";
  EXPECT_EQ(read, std::vector<std::string>{packs[0].id});
}

// A run with a budget that doesn't reach the damaged pack doesn't forget it either.
TEST_F(VerifyTest, KnownDamageIsReportedWhateverTheBudget) {
  const Place place = Find(IdOf(3));
  fs_.FlipBit(place.path, (place.slot.offset + 100) * 8);
  EXPECT_FALSE(Verify().ok());
  Reopen();
  VerifyScope scope;
  for (const PackInfo& pack : repository_->ListPacks()) {
    if (place.path.find(pack.id) == std::string::npos) scope.packs.push_back(pack.id);
  }
  EXPECT_EQ(Verify(scope).damaged_count, 2u);
}

TEST_F(VerifyTest, ResultsToldOfBeforeACancelStay) {
  const Place place = Find(IdOf(3));
  fs_.FlipBit(place.path, (place.slot.offset + 100) * 8);
  std::stop_source stop;
  VerifyScope scope;
  scope.packs = {place.path.substr(place.path.size() - 37, 32)};
  for (const PackInfo& pack : repository_->ListPacks()) scope.packs.push_back(pack.id);
  scope.on_pack = [&](const PackCheck& check) {
    if (check.damaged_chunks > 0) stop.request_stop();
  };
  EXPECT_EQ(ReasonOf(repository_->Verify(scope, {}, stop.get_token()).status()), "CANCELLED");
  Reopen();
  EXPECT_TRUE(Wanted(IdOf(3)));
}

// ---- Without keys ----

class StoredTest : public VerifyTest {
 protected:
  StoredReport VerifyFolder() {
    repository_.reset();
    const auto report = VerifyStoredFolder(fs_, kPath, {}, {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : StoredReport();
  }
};

TEST_F(StoredTest, ASoundFolderIsFoundSoundAndLeftAsItIs) {
  const std::string id = repository_->info().uuid;
  const auto files = fs_.AllFiles(kPath);
  EXPECT_EQ(ReasonOf(VerifyStoredFolder(fs_, kPath, {}, {}).status()), "REPOSITORY_LOCKED") << "it is in use";
  EXPECT_EQ(ReasonOf(VerifyStoredFolder(fs_, "/nothing", {}, {}).status()), "REPOSITORY_INCOMPATIBLE");
  const StoredReport report = VerifyFolder();
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.repository_id, id);
  EXPECT_EQ(report.chunk_count, 10u);
  EXPECT_EQ(report.point_count, 1u);
  EXPECT_GE(report.run_count, 1u);
  EXPECT_GE(report.pack_count, 2u);
  EXPECT_EQ(fs_.AllFiles(kPath), files);
}

TEST_F(StoredTest, EveryFlippedBitIsFoundAndItsFileNamed) {
  repository_.reset();
  for (const std::string& path : fs_.AllFiles(kPath)) {
    if (path.ends_with("/lock")) continue;
    const uint64_t bits = fs_.ReadFile(path)->size() * 8;
    for (const uint64_t bit : {uint64_t{13}, bits / 3, bits / 2, bits - 1, bits - 300}) {
      fs_.FlipBit(path, bit);
      auto store = *FileBlobStore::Open(fs_, kPath);
      const auto report = VerifyStored(*store, {}, {});
      if (path.ends_with(kHeaderName)) {
        EXPECT_EQ(ReasonOf(report.status()), "REPOSITORY_INCOMPATIBLE");
      } else {
        ASSERT_TRUE(report.ok()) << report.status();
        ASSERT_EQ(report->problems.size(), 1u) << path << " bit " << bit;
        EXPECT_TRUE(report->problems[0].starts_with(path.substr(sizeof("/repository")))) << report->problems[0];
      }
      fs_.FlipBit(path, bit);
    }
  }
}

// ---- Sectors that can't be read ----

class SickStoreTest : public ::testing::Test {
 protected:
  void Reopen() {
    repository_.reset();
    auto opened =
        Repository::OpenOrCreateIn(std::make_unique<SickStore>(store_, sickness_), clock_, random_, SmallOptions());
    ASSERT_TRUE(opened.ok()) << opened.status();
    repository_ = *std::move(opened);
  }
  std::string SomePack() { return store_.List(kPackPrefix)->front(); }
  void SetUnreadable(const std::string& name) {
    absl::MutexLock lock(&sickness_.mu);
    sickness_.unreadable = {name};
  }

  testing::MemoryBlobStore store_;
  SickStore::Sickness sickness_;
  base::SystemClock clock_;
  base::SeededRandom random_{1};
  std::unique_ptr<Repository> repository_;
  // Noise, which doesn't compress: two packs of chunks, and one that has the map page.
  const ModelVm vm_ = {{"vda", ModelDisk::OfChunks({1, 3, 5, 7, 9, 11, 13, 15})}};
};

TEST_F(SickStoreTest, APackThatCantBeReadCostsThatPackAlone) {
  Reopen();
  const std::string point = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  const std::string pack = SomePack();
  SetUnreadable(pack);
  const auto report = repository_->Verify({}, {}, {});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_FALSE(report->ok());
  EXPECT_LT(report->damaged_count, 8u) << "the other packs are whole";
  for (const ChunkDamage& damage : report->damaged) EXPECT_EQ(damage.reason, "CHUNK_DAMAGED");
  Reopen();
  ASSERT_TRUE(Backup(*repository_, "vm1", vm_).ok());
  EXPECT_EQ(CompareVm(*repository_, point, vm_), absl::OkStatus()) << "healed, and read from the copy that can be read";
  EXPECT_TRUE(repository_->Verify({}, {}, {})->ok());
}

TEST_F(SickStoreTest, ARepositoryOpensWithAPackAndARunThatCantBeRead) {
  Reopen();
  const std::string point = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  const std::string pack = SomePack();
  repository_.reset();
  SetUnreadable(store_.List(kIndexPrefix)->front());
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, point, vm_), absl::OkStatus()) << "the packs are read instead of the run";
  const auto runs = *store_.List(kIndexPrefix);
  for (const std::string& run : runs) ASSERT_TRUE(store_.Delete(run).ok());
  SetUnreadable(pack);
  Reopen();
  EXPECT_FALSE(repository_->Verify({}, {}, {})->ok());
  ASSERT_TRUE(Backup(*repository_, "vm1", vm_).ok());
  EXPECT_EQ(CompareVm(*repository_, point, vm_), absl::OkStatus());
}

// A disk that is gone is no reason to store everything again when it is back.
TEST_F(SickStoreTest, AStoreThatIsGoneIsAnErrorAndNobodysDamage) {
  Reopen();
  ASSERT_TRUE(Backup(*repository_, "vm1", vm_).ok());
  {
    absl::MutexLock lock(&sickness_.mu);
    sickness_.all = true;
  }
  EXPECT_EQ(ReasonOf(repository_->Verify({}, {}, {}).status()), "IO_ERROR");
  {
    absl::MutexLock lock(&sickness_.mu);
    sickness_.all = false;
  }
  EXPECT_TRUE(store_.List(kQuarantinePrefix)->empty());
  EXPECT_TRUE(repository_->Verify({}, {}, {})->ok());
}

}  // namespace
}  // namespace umbra::repo
