#include "agent/transfer/read_plan.h"

#include <algorithm>

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

}  // namespace umbra::transfer
