// Which stretches of a disk a backup must read: the allocated ones, widened to whole chunks.
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

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_READ_PLAN_H_
