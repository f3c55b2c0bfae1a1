#include "agent/transfer/read_plan.h"

#include <algorithm>
#include <random>

namespace umbra::transfer {

ReadPlan PlanReads(const std::vector<hypervisor::Extent>& extents, uint64_t capacity_bytes, uint32_t chunk_size_bytes) {
  ReadPlan plan;
  for (const hypervisor::Extent& extent : extents) {
    if (extent.zero || extent.length_bytes == 0 || extent.offset_bytes >= capacity_bytes) continue;
    uint64_t begin = extent.offset_bytes / chunk_size_bytes * chunk_size_bytes;
    const uint64_t length = std::min(extent.length_bytes, capacity_bytes - extent.offset_bytes);
    const uint64_t last_chunk = (extent.offset_bytes + length - 1) / chunk_size_bytes;
    const uint64_t end = std::min((last_chunk + 1) * chunk_size_bytes, capacity_bytes);
    if (!plan.extents.empty()) {
      hypervisor::Extent& before = plan.extents.back();
      const uint64_t before_end = before.offset_bytes + before.length_bytes;
      if (begin <= before_end) {
        if (end > before_end) {
          before.length_bytes += end - before_end;
          plan.data_bytes += end - before_end;
        }
        continue;
      }
    }
    plan.extents.push_back({.offset_bytes = begin, .length_bytes = end - begin, .zero = false});
    plan.data_bytes += end - begin;
  }
  return plan;
}

std::vector<ChunkRun> ChunksOf(const std::vector<hypervisor::Extent>& extents, uint64_t capacity_bytes,
                               uint32_t chunk_size_bytes) {
  std::vector<ChunkRun> runs;
  for (const hypervisor::Extent& extent : extents) {
    if (extent.length_bytes == 0 || extent.offset_bytes >= capacity_bytes) continue;
    const uint64_t length = std::min(extent.length_bytes, capacity_bytes - extent.offset_bytes);
    uint64_t first = extent.offset_bytes / chunk_size_bytes;
    const uint64_t end = (extent.offset_bytes + length - 1) / chunk_size_bytes + 1;
    if (!runs.empty() && first <= runs.back().first + runs.back().count) {
      runs.back().count = std::max(runs.back().first + runs.back().count, end) - runs.back().first;
    } else {
      runs.push_back({first, end - first});
    }
  }
  return runs;
}

ReadPlan Within(const ReadPlan& plan, const std::vector<ChunkRun>& runs, uint64_t capacity_bytes,
                uint32_t chunk_size_bytes) {
  ReadPlan within;
  auto run = runs.begin();
  for (const hypervisor::Extent& extent : plan.extents) {
    const uint64_t extent_end = extent.offset_bytes + extent.length_bytes;
    while (run != runs.end()) {
      const uint64_t run_end = std::min((run->first + run->count) * chunk_size_bytes, capacity_bytes);
      const uint64_t begin = std::max(extent.offset_bytes, run->first * chunk_size_bytes);
      const uint64_t end = std::min(extent_end, run_end);
      if (begin < end) {
        within.extents.push_back({begin, end - begin, false});
        within.data_bytes += end - begin;
      }
      if (run_end > extent_end) break;  // the next extent may lie in it, too
      ++run;
    }
  }
  return within;
}

std::vector<uint64_t> SampleUnchanged(const std::vector<ChunkRun>& changed, uint64_t chunk_count, uint64_t one_in,
                                      uint64_t samples_min, uint64_t seed) {
  uint64_t unchanged = chunk_count;
  for (const ChunkRun& run : changed) unchanged -= run.count;
  const uint64_t samples = std::min(unchanged, std::max(samples_min, (unchanged + one_in - 1) / one_in));
  std::mt19937_64 random(seed);
  std::vector<uint64_t> chunks;
  auto run = changed.begin();
  uint64_t skipped = 0;  // changed chunks before the next sample
  for (uint64_t part = 0; part < samples; ++part) {
    // Without the part's size in the product: it may be large.
    const uint64_t begin = unchanged / samples * part + std::min(part, unchanged % samples);
    const uint64_t size = unchanged / samples + (part < unchanged % samples ? 1 : 0);
    const uint64_t nth = begin + random() % size;  // among the unchanged ones
    for (; run != changed.end() && run->first <= nth + skipped; ++run) skipped += run->count;
    chunks.push_back(nth + skipped);
  }
  return chunks;
}

}  // namespace umbra::transfer
