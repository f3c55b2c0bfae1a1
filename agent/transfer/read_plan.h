// Which stretches of a disk a backup must read: the allocated ones, or those that changed, widened to whole chunks.
#ifndef UMBRA_AGENT_TRANSFER_READ_PLAN_H_
#define UMBRA_AGENT_TRANSFER_READ_PLAN_H_

#include <cstdint>
#include <vector>

#include "agent/hypervisor/hypervisor.h"

namespace umbra::transfer {

struct ReadPlan {
  // Ordered, apart from each other, on chunk boundaries (the last may end at the end of the disk).
  std::vector<hypervisor::Extent> extents;
  uint64_t data_bytes = 0;  // their sum
};

// `extents` are ordered and don't overlap; what they leave out counts as zero. What lies past `capacity_bytes` is cut off.
ReadPlan PlanReads(const std::vector<hypervisor::Extent>& extents, uint64_t capacity_bytes, uint32_t chunk_size_bytes);

// Consecutive chunks.
struct ChunkRun {
  uint64_t first = 0;
  uint64_t count = 0;

  friend bool operator==(const ChunkRun&, const ChunkRun&) = default;
};

// The chunks that `extents` touch, whatever their `zero` says: ordered, apart from each other.
std::vector<ChunkRun> ChunksOf(const std::vector<hypervisor::Extent>& extents, uint64_t capacity_bytes,
                               uint32_t chunk_size_bytes);

// What of `plan` lies in `runs`.
ReadPlan Within(const ReadPlan& plan, const std::vector<ChunkRun>& runs, uint64_t capacity_bytes,
                uint32_t chunk_size_bytes);

// Of the chunks below `chunk_count` that aren't in `changed` one in `one_in`, and at least `samples_min` (all, if they
// are fewer): one by chance out of each of so many equal parts, so that no part of the disk is left out. Ascending.
std::vector<uint64_t> SampleUnchanged(const std::vector<ChunkRun>& changed, uint64_t chunk_count, uint64_t one_in,
                                      uint64_t samples_min, uint64_t seed);

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_READ_PLAN_H_
