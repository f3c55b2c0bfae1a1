// Proves that the index finds every chunk and no other, through runs, merges and rebuilds, and that damaged or
// superseded runs are dropped.
#include "storage/repo/chunk_index.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "storage/repo/pack.h"
#include "tests/support/memory_blob_store.h"

namespace umbra::repo {
namespace {

class ChunkIndexTest : public ::testing::Test {
 protected:
  static constexpr uint64_t kUnindexedMax = 1000;

  ChunkIndexTest() { keys_.Add(1, Key()); }

  std::unique_ptr<ChunkIndex> OpenIndex() {
    auto index = std::make_unique<ChunkIndex>(store_, random_, repository_, kUnindexedMax);
    const absl::Status loaded = index->Load();
    EXPECT_TRUE(loaded.ok()) << loaded;
    return index;
  }

  ChunkId RandomId() {
    ChunkId id;
    random_.Fill(id.bytes);
    return id;
  }

  // Writes a real pack of these chunks (one byte each) and hands it to the index.
  IndexPack AddPack(ChunkIndex& index, const std::vector<ChunkId>& ids) {
    auto writer = *PackWriter::Create(store_, NewPack(keys_, random_, repository_, ++time_));
    for (const ChunkId& id : ids) {
      const std::byte byte{1};
      EXPECT_TRUE(writer->Append(id, Codec::kRaw, 1, {&byte, 1}).ok());
    }
    const IndexPack pack = *writer->Seal();
    index.AddPack(pack, writer->slots());
    return pack;
  }

  std::vector<ChunkId> AddRandomPack(ChunkIndex& index, size_t count) {
    std::vector<ChunkId> ids;
    for (size_t i = 0; i < count; ++i) ids.push_back(RandomId());
    AddPack(index, ids);
    return ids;
  }

  static bool Has(const ChunkIndex& index, const ChunkId& id) {
    const auto found = index.Find(id);
    EXPECT_TRUE(found.ok()) << found.status();
    return found.ok() && found->has_value();
  }

  void ExpectHasAll(const ChunkIndex& index, const std::vector<ChunkId>& ids) {
    for (const ChunkId& id : ids) EXPECT_TRUE(Has(index, id));
    for (int i = 0; i < 200; ++i) EXPECT_FALSE(Has(index, RandomId()));
  }

  void DeleteRuns() {
    const std::vector<std::string> runs = *store_.List(kIndexPrefix);
    for (const std::string& run : runs) ASSERT_TRUE(store_.Delete(run).ok());
  }
  size_t RunCount() { return store_.List(kIndexPrefix)->size(); }

  testing::MemoryBlobStore store_;
  base::SeededRandom random_{7};
  RawUuid repository_{};
  int64_t time_ = 0;
  DataKeys keys_;
};

TEST_F(ChunkIndexTest, FindsChunksBeforeAndAfterFlushAndReopening) {
  auto index = OpenIndex();
  const std::vector<ChunkId> ids = AddRandomPack(*index, 500);
  ExpectHasAll(*index, ids);
  ASSERT_TRUE(index->Flush().ok());
  EXPECT_EQ(RunCount(), 1u);
  ExpectHasAll(*index, ids);
  ExpectHasAll(*OpenIndex(), ids);
}

TEST_F(ChunkIndexTest, FirstAndLastEntryOfEveryBlockAreFound) {
  // Ids that share their first 8 bytes, over several blocks: the fences can't tell them apart.
  std::vector<ChunkId> ids;
  for (int i = 0; i < 300; ++i) {
    ChunkId id = RandomId();
    if (i >= 50 && i < 250) std::memset(id.bytes.data(), 0x55, 8);
    ids.push_back(id);
  }
  auto index = OpenIndex();
  AddPack(*index, ids);
  ASSERT_TRUE(index->Flush().ok());
  ExpectHasAll(*index, ids);
}

TEST_F(ChunkIndexTest, ManyUnindexedChunksGetARunByThemselves) {
  auto index = OpenIndex();
  AddRandomPack(*index, kUnindexedMax - 1);
  EXPECT_EQ(RunCount(), 0u);
  AddRandomPack(*index, 1);
  EXPECT_EQ(RunCount(), 1u);
}

TEST_F(ChunkIndexTest, MergesSmallRunsAndKeepsEveryChunk) {
  auto index = OpenIndex();
  std::vector<ChunkId> all;
  size_t most = 0;
  for (int i = 0; i < 40; ++i) {
    const auto ids = AddRandomPack(*index, 100 + i);
    all.insert(all.end(), ids.begin(), ids.end());
    ASSERT_TRUE(index->Flush().ok());
    ASSERT_TRUE(index->MergeRuns().ok());
    most = std::max(most, RunCount());
  }
  EXPECT_LE(most, 8u);
  ExpectHasAll(*index, all);
  auto reopened = OpenIndex();
  ExpectHasAll(*reopened, all);
  EXPECT_EQ(reopened->Stats().chunk_count, all.size());
  EXPECT_EQ(reopened->Stats().pack_count, 40u);
}

TEST_F(ChunkIndexTest, IsRebuiltFromThePacks) {
  auto index = OpenIndex();
  std::vector<ChunkId> all;
  for (int i = 0; i < 5; ++i) {
    const auto ids = AddRandomPack(*index, 100);
    all.insert(all.end(), ids.begin(), ids.end());
    ASSERT_TRUE(index->Flush().ok());
  }
  DeleteRuns();
  ExpectHasAll(*OpenIndex(), all);
  EXPECT_EQ(RunCount(), 1u) << "what was read from the packs is written down";
}

TEST_F(ChunkIndexTest, ADamagedRunIsDroppedAndItsPacksAreRead) {
  std::vector<ChunkId> all;
  {
    auto index = OpenIndex();
    all = AddRandomPack(*index, 300);
    ASSERT_TRUE(index->Flush().ok());
  }
  const std::string name = store_.List(kIndexPrefix)->at(0);
  const std::string good = *store_.Get(name, base::kMiB);
  for (size_t at = 0; at < good.size(); at += 101) {
    std::string damaged = good;
    damaged[at] ^= 4;
    DeleteRuns();
    ASSERT_TRUE(store_.PutIfAbsent(name, base::AsBytes(damaged)).ok());
    auto index = OpenIndex();
    EXPECT_TRUE(Has(*index, all[at % all.size()])) << at;
    EXPECT_NE(store_.List(kIndexPrefix)->at(0), name) << at;
  }
}

TEST_F(ChunkIndexTest, ARunThatANewerOneReplacesIsDropped) {
  auto index = OpenIndex();
  std::string name, old;
  for (int i = 0; i < 4; ++i) {
    AddRandomPack(*index, 100);
    ASSERT_TRUE(index->Flush().ok());
    if (i == 0) name = store_.List(kIndexPrefix)->at(0);
    if (i == 0) old = *store_.Get(name, base::kMiB);
  }
  ASSERT_TRUE(index->MergeRuns().ok());
  ASSERT_EQ(RunCount(), 1u);
  // As if the process had died before it deleted this one.
  ASSERT_TRUE(store_.PutIfAbsent(name, base::AsBytes(old)).ok());
  EXPECT_EQ(OpenIndex()->Stats().chunk_count, 400u);
  EXPECT_EQ(RunCount(), 1u);
}

TEST_F(ChunkIndexTest, ChunksOfAPackThatIsGoneAreUnknown) {
  auto index = OpenIndex();
  const ChunkId lost = RandomId(), kept = RandomId();
  const IndexPack pack = AddPack(*index, {lost});
  AddPack(*index, {kept});
  ASSERT_TRUE(index->Flush().ok());
  ASSERT_TRUE(store_.Delete(PackName(pack.id)).ok());
  auto reopened = OpenIndex();
  EXPECT_FALSE(Has(*reopened, lost));
  EXPECT_TRUE(Has(*reopened, kept));
  EXPECT_EQ(reopened->unreadable_packs().size(), 1u);
}

TEST_F(ChunkIndexTest, ADamagedChunkIsUnhealthyUntilItIsStoredAgain) {
  auto index = OpenIndex();
  const ChunkId id = RandomId();
  AddPack(*index, {id});
  index->MarkDamaged(id, **index->Find(id));
  EXPECT_TRUE(Has(*index, id)) << "readers still find the place, to name it";
  EXPECT_FALSE(index->FindHealthy(id)->has_value());
  const IndexPack again = AddPack(*index, {id});
  ASSERT_TRUE(index->FindHealthy(id)->has_value());
  for (int pass = 0; pass < 2; ++pass) {
    ASSERT_TRUE(index->Flush().ok());
    EXPECT_EQ(index->pack((**index->Find(id)).pack).id, again.id) << "the younger copy wins";
    index = OpenIndex();
  }
  DeleteRuns();
  index = OpenIndex();
  EXPECT_EQ(index->pack((**index->Find(id)).pack).id, again.id) << "also after a rebuild";
}

}  // namespace
}  // namespace umbra::repo
