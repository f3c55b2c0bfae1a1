// Proves that ordinals are exact for every id that was numbered, and that the mark finds exactly the chunks that points
// need, against a plain set. Seeds are printed with every failure.
#include "storage/repo/mark.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "storage/repo/blob_file.h"
#include "tests/unit/storage/repo/model.h"

namespace umbra::repo {
namespace {

std::vector<ChunkId> SortedIds(size_t count, uint64_t seed) {
  base::SeededRandom random(seed);
  std::vector<ChunkId> ids(count);
  for (ChunkId& id : ids) random.Fill(id.bytes);
  std::sort(ids.begin(), ids.end());
  return ids;
}

void ExpectExact(const std::vector<ChunkId>& ids) {
  ChunkOrdinals ordinals(ids.size() + 10);
  for (const ChunkId& id : ids) ordinals.Append(id);
  ordinals.Finish();
  ASSERT_EQ(ordinals.size(), ids.size());
  std::vector<uint32_t> all(ids.size());
  ordinals.FindAll(ids, all);
  for (uint32_t i = 0; i < ids.size(); ++i) {
    ASSERT_EQ(ordinals.Find(ids[i]), i);
    ASSERT_EQ(all[i], i);
  }
}

TEST(ChunkOrdinals, AreExactForWhatWasNumbered) {
  ExpectExact({});
  ExpectExact(SortedIds(1, 1));
  // Enough that thousands of ids share their 16 bits with another of their bucket.
  ExpectExact(SortedIds(400'000, 2));
}

TEST(ChunkOrdinals, AreExactForIdsThatAreNotUniform) {
  std::vector<ChunkId> ids = SortedIds(3000, 3);
  for (size_t i = 0; i < ids.size(); ++i) {
    // One bucket for a third of them, and equal prints for many.
    if (i % 3 == 0) std::memset(ids[i].bytes.data(), 0x7f, 12);
    if (i % 2 == 0) std::memset(ids[i].bytes.data() + 16, 0, 2);
  }
  std::sort(ids.begin(), ids.end());
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  ExpectExact(ids);
}

TEST(ChunkOrdinals, TakeLittleMemoryAndSeldomTakeAnUnknownIdForAnother) {
  const std::vector<ChunkId> ids = SortedIds(200'000, 4);
  ChunkOrdinals ordinals(ids.size());
  for (const ChunkId& id : ids) ordinals.Append(id);
  ordinals.Finish();
  EXPECT_LT(ordinals.memory_bytes(), ids.size() * 5 / 2);
  size_t wrong = 0;
  for (const ChunkId& id : SortedIds(100'000, 5)) wrong += ordinals.Find(id) != ChunkOrdinals::kNone ? 1 : 0;
  EXPECT_LT(wrong, 100u);
}

// Points of random disks over few contents, some removed, some of them left out; what is marked equals a set made by
// hand.
class MarkProperty : public ::testing::TestWithParam<uint32_t> {};

INSTANTIATE_TEST_SUITE_P(Seeds, MarkProperty, ::testing::Range(1u, 13u));

TEST_P(MarkProperty, FindsExactlyWhatPointsNeed) {
  std::mt19937 engine(GetParam());
  const auto below = [&](uint32_t limit) { return static_cast<uint32_t>(engine() % limit); };
  testing::MemoryFilesystem fs;
  base::SystemClock clock;
  base::SeededRandom random(GetParam());
  std::map<std::string, ModelVm> points;
  {
    auto repository = *Repository::OpenOrCreate(fs, clock, random, "/repository", SmallOptions());
    for (int i = 0; i < 6; ++i) {
      ModelVm vm;
      for (uint32_t disk = 0; disk <= below(2); ++disk) {
        std::vector<uint32_t> seeds(below(3) == 0 ? 1024 + below(1100) : 1 + below(20), 0);
        for (uint32_t n = 0; n < 12; ++n) seeds[below(static_cast<uint32_t>(seeds.size()))] = 1 + below(80);
        vm["vd" + std::to_string(disk)] = ModelDisk::OfChunks(std::move(seeds), below(2) * below(kTestChunkSize));
      }
      points[Backup(*repository, "vm1", vm)->recovery_point_id()] = vm;
    }
  }
  // The same repository, looked into.
  base::SeededRandom other(1);
  ASSERT_TRUE(fs.MakeDirectories("/repository").ok());
  auto store = *FileBlobStore::Open(fs, "/repository");
  const std::string header = *store->Get(kHeaderName, 65536);
  RepositoryInfo info = *DecodeHeader(header);
  const RepositoryOptions options = SmallOptions();
  auto keys = *KeyStore::Open({*store, clock, other, ToRawUuid(info.uuid), HashOf(base::AsBytes(header)), options.passphrase_cost},
                              options.key);
  info.id_key = base::AsText(keys->id_key().bytes);
  Core core(std::move(store), nullptr, clock, other, info, options, std::move(keys));
  ASSERT_TRUE(core.index.Load().ok());

  std::set<std::string> left_out;
  std::set<ChunkId> needed;
  for (const auto& [id, vm] : points) {
    if (below(3) == 0) {
      left_out.insert(id);
      continue;
    }
    const Point point = *core.points.Read(id);
    for (const DiskRoot& disk : point.disks) {
      for (const ChunkId& page : disk.pages) {
        if (!page.IsZero()) needed.insert(page);
      }
    }
    for (const auto& [name, disk] : vm) {
      for (size_t i = 0; i < disk.seeds.size(); ++i) {
        if (disk.seeds[i] != 0) needed.insert(core.hasher.Id(base::AsBytes(disk.Content(i))));
      }
    }
  }
  const IndexSnapshot snapshot(core.index);
  ChunkOrdinals ordinals(snapshot.chunk_count_max());
  std::vector<ChunkId> all;
  ASSERT_TRUE(snapshot
                  .ForEach([&](const ChunkId& id, const ChunkLocation&) {
                    ordinals.Append(id);
                    all.push_back(id);
                    return absl::OkStatus();
                  })
                  .ok());
  ordinals.Finish();
  Marker marker(core, ordinals, {});
  ASSERT_TRUE(marker.MarkEverything(left_out).ok());
  size_t found = 0;
  for (uint32_t ordinal = 0; ordinal < all.size(); ++ordinal) {
    ASSERT_EQ(marker.IsMarked(ordinal), needed.contains(all[ordinal])) << "seed " << GetParam();
    found += marker.IsMarked(ordinal) ? 1 : 0;
  }
  EXPECT_EQ(found, needed.size());
  EXPECT_EQ(marker.point_count(), points.size() - left_out.size());
}

}  // namespace
}  // namespace umbra::repo
