// Proves that no damaged byte goes unnoticed: every flipped bit, cut or missing file is found by opening, reading or
// verifying, named down to chunk, disk and offset, and never read as good data; and that the next backup heals it.
#include <gtest/gtest.h>

#include "storage/repo/format.h"
#include "storage/repo/pack.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using base::ReasonOf;

class Damage : public RepositoryTest {
 protected:
  void SetUp() override {
    RepositoryTest::SetUp();
    point_ = Backup(*repository_, "vm1", vm_)->recovery_point_id();
  }

  ChunkId IdOf(uint32_t seed) { return repository_->hasher().Id(base::AsBytes(ContentOf(seed, kTestChunkSize))); }

  // Flips a bit in the stored bytes of this chunk; returns the path of its pack.
  std::string FlipInChunk(const ChunkId& id) {
    for (const std::string& path : fs_.AllFiles("/repository/packs")) {
      const std::string bytes = *fs_.ReadFile(path);
      const base::Bytes all = base::AsBytes(bytes);
      const auto trailer = *DecodePackTrailer(all.last(kPackTrailerSize), bytes.size());
      const auto slots = *DecodePackFooter(all.first(kPackHeaderSize), all.subspan(trailer.footer_offset, trailer.footer_length),
                                           all.last(kPackTrailerSize));
      for (const PackSlot& slot : slots) {
        if (slot.id != id) continue;
        fs_.FlipBit(path, (slot.offset + slot.stored_length / 2) * 8 + 3);
        return path;
      }
    }
    ADD_FAILURE() << "no such chunk";
    return "";
  }

  VerifyReport Verify(const VerifyScope& scope = {}) {
    auto report = repository_->Verify(scope, {}, {});
    EXPECT_TRUE(report.ok()) << report.status();
    return report.ok() ? *report : VerifyReport();
  }

  const ModelVm vm_ = {{"vda", ModelDisk::OfChunks({1, 2, 0, 3, 4, 5, 6, 7})}, {"vdb", ModelDisk::OfChunks({8, 3})}};
  std::string point_;
};

TEST_F(Damage, AnIntactRepositoryIsReportedIntact) {
  std::vector<uint64_t> progress;
  const auto report = *repository_->Verify({}, [&](const VerifyProgress& p) {
    EXPECT_LE(p.done_bytes, p.total_bytes);
    progress.push_back(p.total_bytes - p.done_bytes);
  }, {});
  EXPECT_TRUE(report.ok());
  EXPECT_EQ(report.chunk_count, 10u) << "eight chunks, two map pages";
  EXPECT_GT(report.stored_bytes, 0u);
  EXPECT_EQ(report.plain_bytes, 8u * kTestChunkSize + 10 * kChunkIdSize);
  EXPECT_EQ(progress.back(), 0u);
  const auto point = Verify({point_});
  EXPECT_TRUE(point.ok());
  EXPECT_EQ(point.chunk_count, 9u) << "as often as the disks need it";
}

TEST_F(Damage, AFlippedBitInAChunkIsNamedByReadingAndByVerifying) {
  const ChunkId id = IdOf(3);
  FlipInChunk(id);
  // Reading: everything before it comes, then the error; nothing wrong is given out.
  auto reader = *repository_->OpenDisk(point_, "vda");
  absl::Status status;
  for (uint64_t read = 0; status.ok() && read < 20; ++read) {
    const auto chunks = reader->Next(base::kMiB);
    status = chunks.status();
    if (chunks.ok()) {
      ASSERT_FALSE(chunks->empty()) << "the end was reached without an error";
    }
  }
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(ReasonOf(status), "CHUNK_DAMAGED");
  EXPECT_EQ(reader->position_bytes(), 3u * kTestChunkSize);
  const std::string message = base::MessageOf(status);
  for (const std::string& part : {id.ToHex(), std::string("disk vda"), point_, std::to_string(3 * kTestChunkSize)}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << " in " << message;
  }
  // The rest of the disk can be read.
  ASSERT_TRUE(reader->Seek(4).ok());
  EXPECT_EQ(reader->Next(base::kMiB)->size(), 4u);

  for (const VerifyScope& scope : {VerifyScope{}, VerifyScope{point_}}) {
    const VerifyReport report = Verify(scope);
    EXPECT_FALSE(report.ok());
    ASSERT_EQ(report.damaged.size(), 2u);
    for (const ChunkDamage& damage : report.damaged) {
      EXPECT_EQ(damage.chunk_id, id.ToHex());
      EXPECT_EQ(damage.reason, "CHUNK_DAMAGED");
      EXPECT_EQ(damage.recovery_point_id, point_);
      EXPECT_EQ(damage.vm_display_name, "vm-vm1");
      EXPECT_EQ(damage.length_bytes, kTestChunkSize);
    }
    EXPECT_EQ(report.damaged[0].disk, "vda");
    EXPECT_EQ(report.damaged[0].offset_bytes, 3u * kTestChunkSize);
    EXPECT_EQ(report.damaged[1].disk, "vdb");
    EXPECT_EQ(report.damaged[1].offset_bytes, 1u * kTestChunkSize);
  }
}

TEST_F(Damage, TheNextBackupHealsADamagedChunk) {
  FlipInChunk(IdOf(3));
  EXPECT_FALSE(Verify().ok());
  const auto again = Backup(*repository_, "vm1", vm_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_GT(again->stored_bytes(), 0) << "the damaged chunk was asked for again";
  EXPECT_EQ(CompareVm(*repository_, point_, vm_), absl::OkStatus()) << "the old point is whole again as well";
  EXPECT_EQ(CompareVm(*repository_, again->recovery_point_id(), vm_), absl::OkStatus());
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, point_, vm_), absl::OkStatus());
}

TEST_F(Damage, AMapMustNotReferToADamagedChunk) {
  FlipInChunk(IdOf(3));
  EXPECT_FALSE(Verify().ok());
  auto session = repository_->BeginSession();
  auto map = *session->AddDiskMap("vm2", "vda", kTestChunkSize);
  EXPECT_EQ(ReasonOf(map->Append(std::vector<ChunkId>{IdOf(3)})), "CHUNK_MISSING");
}

TEST_F(Damage, ADamagedMapPageNamesTheDiskAndItsRange) {
  std::vector<ChunkId> ids = {IdOf(8), IdOf(3)};
  const ChunkId page = repository_->hasher().Id(std::as_bytes(std::span(ids)));
  FlipInChunk(page);
  for (const VerifyScope& scope : {VerifyScope{}, VerifyScope{point_}}) {
    const VerifyReport report = Verify(scope);
    ASSERT_EQ(report.damaged.size(), 1u);
    EXPECT_EQ(report.damaged[0].chunk_id, page.ToHex());
    EXPECT_EQ(report.damaged[0].disk, "vdb");
    EXPECT_EQ(report.damaged[0].offset_bytes, 0u);
    EXPECT_EQ(report.damaged[0].length_bytes, 2u * kTestChunkSize);
  }
  EXPECT_EQ(ReasonOf(CompareDisk(*repository_, point_, "vdb", vm_.at("vdb"))), "CHUNK_DAMAGED");
  EXPECT_EQ(CompareDisk(*repository_, point_, "vda", vm_.at("vda")), absl::OkStatus());
}

TEST_F(Damage, ADamagedPackHeaderIsReportedAndCostsNoChunk) {
  const std::string pack = FlipInChunk(IdOf(3));
  fs_.FlipBit(pack, 48 * 8);  // the salt
  Reopen();
  EXPECT_EQ(ReasonOf(CompareVm(*repository_, point_, vm_)), "CHUNK_DAMAGED") << "the flipped chunk itself";
  const VerifyReport report = Verify();
  EXPECT_EQ(report.damaged.size(), 2u) << "nothing but this chunk, at its two places";
  EXPECT_FALSE(report.problems.empty()) << "the pack is named";
}

TEST_F(Damage, AMissingPackNamesEveryPlaceThatNeedsIt) {
  const std::string pack = FlipInChunk(IdOf(3));
  ASSERT_TRUE(fs_.Remove(pack).ok());
  for (const bool reopen : {false, true}) {
    if (reopen) Reopen();
    const VerifyReport report = Verify();
    EXPECT_FALSE(report.problems.empty()) << "the pack itself is named";
    const bool named = std::ranges::any_of(report.damaged, [&](const ChunkDamage& damage) {
      return damage.chunk_id == IdOf(3).ToHex() && damage.disk == "vda" && damage.offset_bytes == 3 * kTestChunkSize &&
             damage.reason == "CHUNK_MISSING";
    });
    EXPECT_TRUE(named);
    EXPECT_EQ(ReasonOf(CompareDisk(*repository_, point_, "vda", vm_.at("vda"))), "CHUNK_MISSING");
  }
  const auto again = Backup(*repository_, "vm1", vm_);
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(CompareVm(*repository_, again->recovery_point_id(), vm_), absl::OkStatus());
}

TEST_F(Damage, ADamagedPointIsListedAsAProblem) {
  const std::string other = Backup(*repository_, "vm2", vm_)->recovery_point_id();
  fs_.FlipBit("/repository/" + PointName(point_), 999);
  const auto list = *repository_->ListRecoveryPoints();
  ASSERT_EQ(list.points.size(), 1u);
  EXPECT_EQ(list.points[0].recovery_point_id(), other);
  ASSERT_EQ(list.problems.size(), 1u);
  EXPECT_NE(list.problems[0].find(point_), std::string::npos);
  EXPECT_EQ(ReasonOf(repository_->ReadManifest(point_).status()), "MANIFEST_DAMAGED");
  EXPECT_EQ(ReasonOf(repository_->OpenDisk(point_, "vda").status()), "MANIFEST_DAMAGED");
  EXPECT_FALSE(Verify().ok());
  EXPECT_FALSE(Verify({point_}).ok());
  EXPECT_TRUE(Verify({other}).ok());
}

TEST_F(Damage, ARenamedPointIsNotTakenForAnother) {
  const std::string other = "01234567-89ab-4def-8123-456789abcdef";
  ASSERT_TRUE(fs_.Rename("/repository/" + PointName(point_), "/repository/" + PointName(other)).ok());
  EXPECT_EQ(ReasonOf(repository_->ReadManifest(other).status()), "MANIFEST_DAMAGED");
}

TEST_F(Damage, VerifyCanBeCancelled) {
  std::stop_source stop;
  stop.request_stop();
  const auto report = repository_->Verify({}, {}, stop.get_token());
  EXPECT_EQ(report.status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(ReasonOf(report.status()), "CANCELLED");
}

// Bits all over every file of the repository, one at a time: either the repository doesn't open, or verify finds it, or
// it healed (index); and whatever reads without an error reads right.
TEST_F(Damage, NoFlippedBitAnywhereGoesUnnoticed) {
  repository_.reset();
  const std::vector<std::string> files = fs_.AllFiles("/repository");
  for (const std::string& path : files) {
    // The kept time is written anew, and the old one deleted, at every opening: point_states_test damages that.
    if (path.ends_with("/lock") || path.ends_with(".time")) continue;
    const uint64_t bits = fs_.ReadFile(path)->size() * 8;
    // Ends are where the structure is; the middle is sampled.
    std::vector<uint64_t> chosen;
    for (uint64_t i = 0; i < 12; ++i) chosen.insert(chosen.end(), {(i * 131) % bits, bits - 1 - (i * 131) % bits, bits / 13 * i});
    const bool is_index = path.find("/index/") != std::string::npos;
    const bool is_ring = path.ends_with(".ring");  // healed from its other copy
    const std::string original = *fs_.ReadFile(path);
    for (const uint64_t bit : chosen) {
      if (is_index) {  // a run that was dropped comes back, and what replaced it goes
        for (const std::string& run : fs_.AllFiles("/repository/index")) ASSERT_TRUE(fs_.Remove(run).ok());
        ASSERT_TRUE(fs_.WriteFileAtomic(path, original).ok());
      }
      fs_.FlipBit(path, bit);
      auto opened = Repository::Open(fs_, clock_, random_, kPath, SmallOptions());
      if (opened.ok()) {
        const auto report = (*opened)->Verify({}, {}, {});
        ASSERT_TRUE(report.ok()) << report.status();
        EXPECT_EQ(report->ok(), is_index || is_ring) << path << " bit " << bit;
        const absl::Status read = CompareVm(**opened, point_, vm_);
        EXPECT_TRUE(read.ok() || read.code() == absl::StatusCode::kDataLoss) << path << " bit " << bit << ": " << read;
        if (is_index) {
          EXPECT_TRUE(read.ok()) << read;
        }
      } else {
        const bool is_slot = path.ends_with(".slot");
        EXPECT_EQ(ReasonOf(opened.status()), is_slot ? "KEYS_DAMAGED" : "REPOSITORY_INCOMPATIBLE")
            << path << " bit " << bit;
      }
      opened = absl::CancelledError();
      if (is_ring) {
        EXPECT_EQ(*fs_.ReadFile(path), original) << "healed";
      } else if (!is_index) {
        fs_.FlipBit(path, bit);
      }
    }
  }
}

}  // namespace
}  // namespace umbra::repo
