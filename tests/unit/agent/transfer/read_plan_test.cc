// Proves that a read plan covers every byte of data, in whole chunks, without overlap, and never leaves the disk.
#include "agent/transfer/read_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace umbra::transfer {
namespace {

TEST(ReadPlan, WidensToChunksAndMerges) {
  const ReadPlan plan = PlanReads({{0, 100, true}, {100, 50, false}, {150, 800, true}, {950, 100, false}, {1050, 400, true}},
                                  1450, 1000);
  ASSERT_EQ(plan.extents.size(), 1u);
  EXPECT_EQ(plan.extents[0].offset_bytes, 0u);
  EXPECT_EQ(plan.extents[0].length_bytes, 1450u);
  EXPECT_EQ(plan.data_bytes, 1450u);
}

TEST(ReadPlan, EmptyDiskNeedsNoRead) {
  EXPECT_TRUE(PlanReads({{0, 5000, true}}, 5000, 1000).extents.empty());
  EXPECT_TRUE(PlanReads({}, 5000, 1000).extents.empty());
}

TEST(ReadPlan, CutsWhatLiesPastTheEnd) {
  const ReadPlan plan = PlanReads({{2000, 5000, false}, {9000, 10, false}}, 2500, 1000);
  ASSERT_EQ(plan.extents.size(), 1u);
  EXPECT_EQ(plan.extents[0].offset_bytes, 2000u);
  EXPECT_EQ(plan.extents[0].length_bytes, 500u);
}

TEST(ReadPlan, CoversAllDataForRandomExtents) {
  std::mt19937_64 random(7);
  for (int round = 0; round < 200; ++round) {
    const uint64_t capacity = 1 + random() % 100'000;
    std::vector<hypervisor::Extent> extents;
    for (uint64_t at = 0; at < capacity;) {
      const uint64_t length = std::min<uint64_t>(1 + random() % 3000, capacity - at);
      extents.push_back({at, length, random() % 2 == 0});
      at += length;
    }
    const ReadPlan plan = PlanReads(extents, capacity, 1024);
    std::vector<bool> planned(capacity);
    uint64_t sum = 0;
    uint64_t before = 0;
    for (const auto& e : plan.extents) {
      ASSERT_EQ(e.offset_bytes % 1024, 0u);
      ASSERT_TRUE(before == 0 || e.offset_bytes > before) << "extents that touch are one";
      before = e.offset_bytes + e.length_bytes;
      ASSERT_TRUE(before <= capacity && (before % 1024 == 0 || before == capacity));
      sum += e.length_bytes;
      std::fill(planned.begin() + static_cast<long>(e.offset_bytes), planned.begin() + static_cast<long>(before), true);
    }
    ASSERT_EQ(sum, plan.data_bytes);
    for (const auto& e : extents) {
      for (uint64_t i = 0; !e.zero && i < e.length_bytes; ++i) ASSERT_TRUE(planned[e.offset_bytes + i]);
    }
  }
}

TEST(Changes, AreWidenedToChunksAndMerged) {
  EXPECT_EQ(ChunksOf({{10, 20, false}, {999, 2, true}, {5000, 1, false}, {7000, 9000, false}}, 8100, 1000),
            (std::vector<ChunkRun>{{0, 2}, {5, 1}, {7, 2}}));
  EXPECT_TRUE(ChunksOf({{0, 0, false}, {9000, 5, false}}, 8100, 1000).empty());
}

TEST(Changes, OfRandomDisksAreReadExactlyWhereTheyAreAllocated) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 300; ++round) {
    const uint64_t capacity = 1 + random() % 60'000;
    const auto extents = [&] {
      std::vector<hypervisor::Extent> result;
      for (uint64_t at = random() % 3000; at < capacity;) {
        const uint64_t length = std::min<uint64_t>(1 + random() % 4000, capacity - at);
        result.push_back({at, length, false});
        at += length + random() % 5000;
      }
      return result;
    };
    const ReadPlan allocated = PlanReads(extents(), capacity, 1024);
    const std::vector<ChunkRun> changed = ChunksOf(extents(), capacity, 1024);
    const ReadPlan within = Within(allocated, changed, capacity, 1024);
    const auto in_plan = [](const ReadPlan& plan, uint64_t at) {
      return std::any_of(plan.extents.begin(), plan.extents.end(), [&](const hypervisor::Extent& e) {
        return at >= e.offset_bytes && at < e.offset_bytes + e.length_bytes;
      });
    };
    uint64_t sum = 0;
    for (const auto& extent : within.extents) sum += extent.length_bytes;
    ASSERT_EQ(sum, within.data_bytes);
    for (uint64_t chunk = 0; chunk * 1024 < capacity; ++chunk) {
      const bool is_changed = std::any_of(changed.begin(), changed.end(), [&](const ChunkRun& run) {
        return chunk >= run.first && chunk < run.first + run.count;
      });
      for (const uint64_t at : {chunk * 1024, std::min(chunk * 1024 + 1023, capacity - 1)}) {
        ASSERT_EQ(in_plan(within, at), is_changed && in_plan(allocated, at)) << "round " << round << " chunk " << chunk;
      }
    }
  }
}

TEST(Sample, IsOneOutOfEachPartAndNeverChanged) {
  std::mt19937_64 random(13);
  for (int round = 0; round < 300; ++round) {
    const uint64_t chunks = 1 + random() % 5000;
    std::vector<ChunkRun> changed;
    for (uint64_t at = random() % 100; at < chunks; at += random() % 300 + 1) {
      const uint64_t count = std::min<uint64_t>(1 + random() % 50, chunks - at);
      changed.push_back({at, count});
      at += count;
    }
    uint64_t unchanged = chunks;
    for (const ChunkRun& run : changed) unchanged -= run.count;
    const uint64_t seed = random();
    const std::vector<uint64_t> sample = SampleUnchanged(changed, chunks, 100, 16, seed);
    ASSERT_EQ(sample.size(), std::min(unchanged, std::max<uint64_t>(16, (unchanged + 99) / 100)));
    ASSERT_EQ(sample, SampleUnchanged(changed, chunks, 100, 16, seed)) << "the seed says all";
    for (size_t i = 0; i < sample.size(); ++i) {
      ASSERT_TRUE(i == 0 || sample[i] > sample[i - 1]);
      ASSERT_LT(sample[i], chunks);
      for (const ChunkRun& run : changed) ASSERT_FALSE(sample[i] >= run.first && sample[i] < run.first + run.count);
    }
  }
  EXPECT_TRUE(SampleUnchanged({{0, 7}}, 7, 100, 16, 1).empty());
}

TEST(Sample, ReachesEveryChunkInTheLongRun) {
  std::vector<bool> seen(1000);
  for (uint64_t seed = 0; seed < 2000; ++seed) {
    for (const uint64_t chunk : SampleUnchanged({}, seen.size(), 100, 1, seed)) seen[chunk] = true;
  }
  EXPECT_EQ(std::count(seen.begin(), seen.end(), true), 1000);
}

}  // namespace
}  // namespace umbra::transfer
