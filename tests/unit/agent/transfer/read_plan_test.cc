// Proves that a read plan covers every byte of data, in whole chunks, without overlap, and never leaves the disk.
#include "agent/transfer/read_plan.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace umbra::transfer
