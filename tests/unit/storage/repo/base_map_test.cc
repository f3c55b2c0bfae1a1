// Proves that a map built on an earlier point's is the very map that a full upload gives, shares the pages of what
// didn't change, refuses bases that can't be relied on, and keeps its base from being deleted until it is published.
#include "storage/repo/base_map.h"

#include <gmock/gmock.h>

#include "storage/repo/blob_file.h"
#include "storage/repo/format.h"
#include "storage/repo/key_store.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

using ::testing::IsEmpty;

constexpr char kVm[] = "vm1";
constexpr char kDisk[] = "vda";

class BaseMapTest : public RepositoryTest {
 protected:
  BaseDisk BaseOf(const Manifest& point) const {
    return {point.recovery_point_id(), kVm, kDisk, static_cast<uint64_t>(point.disks(0).capacity_bytes())};
  }
  ChunkId IdOf(const ModelDisk& disk, size_t chunk) const {
    if (disk.seeds[chunk] == 0) return kZeroChunkId;
    return repository_->hasher().Id(base::AsBytes(disk.Content(chunk)));
  }
  absl::Status PutChunk(UploadSession& session, const ModelDisk& disk, size_t chunk) {
    const std::string content = disk.Content(chunk);
    const ChunkId id = repository_->hasher().Id(base::AsBytes(content));
    return session.Put({id, static_cast<uint32_t>(content.size()), Codec::kRaw, base::AsBytes(content)}).status();
  }
  // The map of `now`, which `runs` (first chunk, count) tell apart from `base`.
  absl::Status UploadChanges(UploadSession& session, const BaseDisk& base, const ModelDisk& now,
                             const std::vector<std::pair<size_t, size_t>>& runs) {
    ASSIGN_OR_RETURN(auto map, session.AddDiskMapOn(base));
    size_t next = 0;
    for (const auto& [first, count] : runs) {
      RETURN_IF_ERROR(map->AppendBase(first - next));
      std::vector<ChunkId> ids;
      for (size_t chunk = first; chunk < first + count; ++chunk) {
        ids.push_back(IdOf(now, chunk));
        if (now.seeds[chunk] != 0) RETURN_IF_ERROR(PutChunk(session, now, chunk));
      }
      RETURN_IF_ERROR(map->Append(ids));
      next = first + count;
    }
    RETURN_IF_ERROR(map->AppendBase(now.seeds.size() - next));
    ASSIGN_OR_RETURN(const uint64_t data_bytes, map->Finish());
    EXPECT_EQ(data_bytes, now.DataBytes());
    return absl::OkStatus();
  }
  absl::StatusOr<Manifest> Increment(const BaseDisk& base, const ModelDisk& now,
                                     const std::vector<std::pair<size_t, size_t>>& runs) {
    auto session = repository_->BeginSession();
    RETURN_IF_ERROR(UploadChanges(*session, base, now, runs));
    ASSIGN_OR_RETURN(auto manifests, session->Commit({ManifestOf(kVm, {{kDisk, now}})}));
    return manifests.at(0);
  }
  std::vector<ChunkId> PagesOf(const Manifest& point) {
    const std::string bytes = *fs_.ReadFile(std::string(kPath) + "/" + PointName(point.recovery_point_id()));
    const RawUuid uuid = ToRawUuid(repository_->info().uuid);
    const auto store = *FileBlobStore::Open(fs_, kPath);
    const Hash header = HashOf(base::AsBytes(*fs_.ReadFile(std::string(kPath) + "/" + kHeaderName)));
    const auto keys = *KeyStore::Open({*store, clock_, random_, uuid, header, {}}, testing::TestKey());
    return DecodePoint(keys->data_keys(), uuid, bytes)->disks.at(0).pages;
  }
  std::string ReasonOf(const absl::Status& status) { return base::ReasonOf(status); }
};

// Three pages, the last one not full and its last chunk short.
ModelDisk LargeDisk() {
  std::vector<uint32_t> seeds(2 * kMapPageEntries + 100, 0);
  for (size_t i = 0; i < seeds.size(); i += 3) seeds[i] = 1 + static_cast<uint32_t>(i / 3 % 7);
  return ModelDisk::OfChunks(seeds, 512);
}

TEST_F(BaseMapTest, AnIncrementIsTheMapOfAFullUploadAndSharesWhatDidNotChange) {
  ModelDisk disk = LargeDisk();
  const Manifest first = *Backup(*repository_, kVm, {{kDisk, disk}});
  disk.seeds[5] = 100;                      // was zero
  disk.seeds[6] = 0;                        // was data: zero is a change like any other
  disk.seeds[disk.seeds.size() - 1] = 101;  // the short one
  const auto second = Increment(BaseOf(first), disk, {{5, 2}, {disk.seeds.size() - 1, 1}});
  ASSERT_TRUE(second.ok()) << base::Describe(second.status());
  EXPECT_EQ(CompareVm(*repository_, second->recovery_point_id(), {{kDisk, disk}}), absl::OkStatus());
  EXPECT_EQ(second->disks(0).data_bytes(), static_cast<int64_t>(disk.DataBytes()));
  EXPECT_NE(PagesOf(*second)[0], PagesOf(first)[0]);
  EXPECT_EQ(PagesOf(*second)[1], PagesOf(first)[1]) << "nothing changed in it";
  EXPECT_LT(second->stored_bytes(), 2 * 64 * 1024 + 8192) << "two chunks and two pages";

  const Manifest full = *Backup(*repository_, kVm, {{kDisk, disk}});
  EXPECT_EQ(full.disks(0).map_hash(), second->disks(0).map_hash());
  EXPECT_NE(full.disks(0).map_hash(), first.disks(0).map_hash());
  EXPECT_EQ(full.disks(0).data_bytes(), second->disks(0).data_bytes());
  EXPECT_EQ(PagesOf(full), PagesOf(*second));

  ASSERT_TRUE(repository_->RemoveRecoveryPoint(first.recovery_point_id(), {}).ok());
  Reopen();
  EXPECT_EQ(CompareVm(*repository_, second->recovery_point_id(), {{kDisk, disk}}), absl::OkStatus())
      << "it doesn't need its base";
}

TEST_F(BaseMapTest, AnUnchangedDiskIsItsBasesPages) {
  const ModelDisk disk = LargeDisk();
  const Manifest first = *Backup(*repository_, kVm, {{kDisk, disk}});
  const auto second = Increment(BaseOf(first), disk, {});
  ASSERT_TRUE(second.ok());
  EXPECT_EQ(PagesOf(*second), PagesOf(first));
  EXPECT_EQ(second->stored_bytes(), 0);
}

TEST_F(BaseMapTest, RandomIncrementsEqualFullUploads) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(::testing::Message() << "seed " << seed);
  std::mt19937_64 random(seed);
  ModelDisk disk = LargeDisk();
  Manifest last = *Backup(*repository_, kVm, {{kDisk, disk}});
  for (int round = 0; round < 30; ++round) {
    std::vector<std::pair<size_t, size_t>> runs;
    for (size_t at = random() % 700; at < disk.seeds.size(); at += 1 + random() % 900) {
      const size_t count = std::min<size_t>(1 + random() % (random() % 8 == 0 ? 1200 : 5), disk.seeds.size() - at);
      for (size_t i = at; i < at + count; ++i) {
        if (random() % 2 == 0)
          disk.seeds[i] = static_cast<uint32_t>(random() % 10);  // the others are named, and the same
      }
      runs.emplace_back(at, count);
      at += count;
    }
    const auto next = Increment(BaseOf(last), disk, runs);
    ASSERT_TRUE(next.ok()) << base::Describe(next.status());
    const Manifest full = *Backup(*repository_, kVm, {{kDisk, disk}});
    ASSERT_EQ(next->disks(0).map_hash(), full.disks(0).map_hash()) << "round " << round;
    ASSERT_EQ(next->disks(0).data_bytes(), full.disks(0).data_bytes()) << "round " << round;
    last = *next;
  }
  EXPECT_EQ(CompareVm(*repository_, last.recovery_point_id(), {{kDisk, disk}}), absl::OkStatus());
}

TEST_F(BaseMapTest, ComparesChunksWithTheBase) {
  ModelDisk disk = LargeDisk();
  const Manifest first = *Backup(*repository_, kVm, {{kDisk, disk}});
  auto session = repository_->BeginSession();
  const std::vector<uint64_t> chunks = {0, 1, 3, kMapPageEntries + 2, 2 * kMapPageEntries + 99};
  std::vector<ChunkId> ids;
  for (const uint64_t chunk : chunks) ids.push_back(IdOf(disk, chunk));
  EXPECT_THAT(*session->CompareWithBase(BaseOf(first), chunks, ids), IsEmpty());
  ids[1] = ids[0];        // was zero
  ids[4] = kZeroChunkId;  // may be zero already
  const bool was_zero = IdOf(disk, chunks[4]).IsZero();
  EXPECT_THAT(*session->CompareWithBase(BaseOf(first), chunks, ids),
              was_zero ? std::vector<size_t>{1} : std::vector<size_t>({1, 4}));
  EXPECT_THAT(*session->CompareWithBase(BaseOf(first), {}, {}), IsEmpty());
  const std::vector<uint64_t> beyond = {disk.seeds.size()};
  EXPECT_EQ(ReasonOf(session->CompareWithBase(BaseOf(first), beyond, {ids.data(), 1}).status()), "UPLOAD_INVALID");
  EXPECT_EQ(ReasonOf(session->CompareWithBase(BaseOf(first), beyond, {}).status()), "UPLOAD_INVALID");
}

TEST_F(BaseMapTest, BasesThatCannotBeReliedOnAreRefused) {
  const ModelDisk disk = ModelDisk::OfChunks({1, 3, 0, 5});
  const Manifest first = *Backup(*repository_, kVm, {{kDisk, disk}});
  for (int wrong = 0; wrong < 4; ++wrong) {
    BaseDisk base = BaseOf(first);
    if (wrong == 0) base.recovery_point_id = "01234567-89ab-4def-8123-456789abcdef";
    if (wrong == 1) base.vm_uuid = "vm2";
    if (wrong == 2) base.disk = "vdb";
    if (wrong == 3) base.capacity_bytes -= 512;
    auto session = repository_->BeginSession();
    EXPECT_EQ(ReasonOf(session->AddDiskMapOn(base).status()), "CBT_BASE_UNUSABLE") << wrong;
    EXPECT_EQ(ReasonOf(session->CompareWithBase(base, {}, {}).status()), "CBT_BASE_UNUSABLE") << wrong;
  }
  auto session = repository_->BeginSession();
  auto plain = *session->AddDiskMap(kVm, kDisk, disk.capacity_bytes);
  EXPECT_EQ(ReasonOf(plain->AppendBase(1)), "UPLOAD_INVALID") << "it is built on no other";
  auto map = *session->AddDiskMapOn(BaseOf(first));
  EXPECT_EQ(ReasonOf(map->AppendBase(5)), "UPLOAD_INVALID");
  ASSERT_TRUE(map->AppendBase(3).ok());
  EXPECT_EQ(ReasonOf(map->Finish().status()), "UPLOAD_INVALID") << "a chunk is missing";
}

TEST_F(BaseMapTest, ADamagedChunkOfTheBaseIsNotTakenOver) {
  const ModelDisk disk = ModelDisk::OfChunks({1, 3, 5, 7});
  const Manifest first = *Backup(*repository_, kVm, {{kDisk, disk}});
  const auto packs = *fs_.List(std::string(kPath) + "/packs");
  for (const std::string& folder : packs) {
    const std::vector<std::string> names = *fs_.List(std::string(kPath) + "/packs/" + folder);
    for (const std::string& name : names) {
      const std::string path = fmt::format("{}/packs/{}/{}", kPath, folder, name);
      // In the first chunk, or in the first bytes of a pack that has no more than a page.
      fs_.FlipBit(path, (fs_.ReadFile(path)->size() > 8192 ? 4096 : kPackHeaderSize + 8) * 8);
    }
  }
  const auto report = repository_->Verify({}, {}, {});
  ASSERT_TRUE(report.ok());
  ASSERT_FALSE(report->damaged.empty());
  auto session = repository_->BeginSession();
  EXPECT_EQ(ReasonOf(session->AddDiskMapOn(BaseOf(first)).status()), "CBT_BASE_UNUSABLE");
  const Manifest healed = *Backup(*repository_, kVm, {{kDisk, disk}});
  EXPECT_EQ(CompareVm(*repository_, healed.recovery_point_id(), {{kDisk, disk}}), absl::OkStatus());
  auto again = repository_->BeginSession();
  EXPECT_TRUE(again->AddDiskMapOn(BaseOf(healed)).ok());
}

TEST(BaseHolds, KeepAPointFromRemovalAsLongAsAnybodyHoldsIt) {
  BaseHolds holds;
  int removed = 0;
  const auto remove = [&] {
    ++removed;
    return absl::OkStatus();
  };
  {
    const BaseHolds::Hold one(holds, "p1");
    const BaseHolds::Hold two(holds, "p1");
    EXPECT_FALSE(*holds.RemoveUnlessHeld("p1", remove));
    EXPECT_TRUE(*holds.RemoveUnlessHeld("p2", remove));
  }
  EXPECT_TRUE(*holds.RemoveUnlessHeld("p1", remove));
  EXPECT_EQ(removed, 2);
  EXPECT_EQ(holds.RemoveUnlessHeld("p1", [] { return absl::InternalError("no"); }).status().message(), "no");
}

}  // namespace
}  // namespace umbra::repo
