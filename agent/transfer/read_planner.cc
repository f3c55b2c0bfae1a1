#include "agent/transfer/read_planner.h"

#include <algorithm>
#include <span>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::transfer {
namespace {

// Of the unchanged chunks one in so many is compared, and at least kSamplesMin of a small disk.
constexpr uint64_t kSampleOneIn = 100;
constexpr uint64_t kSamplesMin = 16;
// What the data service takes at once.
constexpr size_t kCompareMax = 8192;

// An expected reason for a full read, not a failure.
bool SaysReadAll(const absl::Status& status) {
  return absl::IsFailedPrecondition(status) && base::ReasonOf(status).starts_with("CBT_");
}

DiskRead WholeBecause(const absl::Status& why) {
  DiskRead read;
  read.mode = ReadMode::kFull;
  read.full_reason = base::ReasonOf(why);
  read.full_message = base::MessageOf(why);
  return read;
}

bool Holds(const std::vector<hypervisor::Extent>& extents, uint64_t offset) {
  const auto after = std::upper_bound(extents.begin(), extents.end(), offset,
                                      [](uint64_t at, const hypervisor::Extent& e) { return at < e.offset_bytes; });
  if (after == extents.begin()) return false;
  const hypervisor::Extent& extent = *std::prev(after);
  return offset < extent.offset_bytes + extent.length_bytes;
}

}  // namespace

absl::StatusOr<DiskReadPlan> PlanWholeDisk(hypervisor::BlockReader& reader, uint64_t capacity_bytes,
                                           uint32_t chunk_size_bytes) {
  ASSIGN_OR_RETURN(const std::vector<hypervisor::Extent> extents, reader.Extents());
  DiskReadPlan plan;
  plan.reads = PlanReads(extents, capacity_bytes, chunk_size_bytes);
  plan.read.mode = ReadMode::kFull;
  return plan;
}

absl::StatusOr<DiskReadPlan> ReadPlanner::Plan(hypervisor::BlockReader& reader, const DiskMapTarget& target,
                                               const std::string& base_recovery_point_id, const absl::Status& wanted) {
  ASSIGN_OR_RETURN(DiskReadPlan whole, PlanWholeDisk(reader, target.capacity_bytes, chunk_size_));
  DiskReadPlan plan;
  absl::Status why = wanted;
  if (why.ok()) {
    auto changes = reader.Changes();
    why = changes.status();
    if (changes.ok()) {
      for (const hypervisor::Extent& change : *changes) plan.read.changed_bytes += change.length_bytes;
      plan.changed = ChunksOf(*changes, target.capacity_bytes, chunk_size_);
      plan.base_recovery_point_id = base_recovery_point_id;
      why = Compare(reader, target, base_recovery_point_id, whole.reads, plan);
    }
  }
  if (why.ok()) {
    plan.read.mode = ReadMode::kIncremental;
    plan.reads = Within(whole.reads, plan.changed, target.capacity_bytes, chunk_size_);
    return plan;
  }
  if (!SaysReadAll(why)) return why;
  whole.read = WholeBecause(why);
  whole.sampled_bytes = plan.sampled_bytes;
  return whole;
}

absl::Status ReadPlanner::Compare(hypervisor::BlockReader& reader, const DiskMapTarget& target, const std::string& base,
                                  const ReadPlan& allocated, DiskReadPlan& plan) {
  uint64_t seed = 0;
  random_.Fill(std::as_writable_bytes(std::span(&seed, 1)));
  const std::vector<uint64_t> samples = SampleUnchanged(
      plan.changed, (target.capacity_bytes + chunk_size_ - 1) / chunk_size_, kSampleOneIn, kSamplesMin, seed);
  size_t differences = 0;
  uint64_t first = 0;
  // Once also without samples: the base may be unusable.
  for (size_t done = 0; done == 0 || done < samples.size(); done += kCompareMax) {
    const std::vector<uint64_t> chunks(
        samples.begin() + static_cast<ptrdiff_t>(done),
        samples.begin() + static_cast<ptrdiff_t>(std::min(samples.size(), done + kCompareMax)));
    std::vector<repo::ChunkId> ids;
    RETURN_IF_ERROR(Read(reader, allocated, chunks, target.capacity_bytes, ids, plan.sampled_bytes));
    store::v1::CheckBaseRequest request;
    request.set_session_id(target.session_id);
    request.set_vm_uuid(target.vm_uuid);
    request.set_disk(target.disk);
    request.set_recovery_point_id(base);
    request.set_capacity_bytes(static_cast<int64_t>(target.capacity_bytes));
    for (const uint64_t chunk : chunks) request.add_chunks(static_cast<int64_t>(chunk));
    for (const repo::ChunkId& id : ids) request.mutable_chunk_ids()->append(base::AsText(id.bytes));
    ASSIGN_OR_RETURN(const store::v1::CheckBaseResponse answer, store_.CheckBase(request));
    if (differences == 0 && answer.different_size() > 0) first = static_cast<uint64_t>(answer.different(0));
    differences += static_cast<size_t>(answer.different_size());
  }
  base::Log("transfer")
      ->info("unchanged chunks compared vm={} disk={} seed={} chunks={} different={} changed_bytes={}", target.vm_uuid,
             target.disk, seed, samples.size(), differences, plan.read.changed_bytes);
  if (differences == 0) return absl::OkStatus();
  return base::Error(
      absl::StatusCode::kFailedPrecondition, "CBT_MISMATCH",
      "{} of {} chunks that are said to be unchanged since recovery point {} have changed, the first at offset {} "
      "(sample seed {}): the hypervisor's list of changes is wrong",
      differences, samples.size(), base, first * chunk_size_, seed);
}

// `chunks` ascend; their ids come in the same order. What isn't allocated is zero without reading.
absl::Status ReadPlanner::Read(hypervisor::BlockReader& reader, const ReadPlan& allocated,
                               const std::vector<uint64_t>& chunks, uint64_t capacity_bytes,
                               std::vector<repo::ChunkId>& ids, uint64_t& read_bytes) {
  ids.assign(chunks.size(), repo::kZeroChunkId);
  std::vector<hypervisor::Extent> extents;
  for (const uint64_t chunk : chunks) {
    const uint64_t offset = chunk * chunk_size_;
    if (!Holds(allocated.extents, offset)) continue;
    extents.push_back({offset, std::min<uint64_t>(chunk_size_, capacity_bytes - offset), false});
  }
  return reader.ReadExtents(extents, chunk_size_, [&](uint64_t offset, base::Bytes data) -> absl::Status {
    const uint64_t chunk = offset / chunk_size_;
    const auto at = std::lower_bound(chunks.begin(), chunks.end(), chunk);
    if (at == chunks.end() || *at != chunk || data.size() != std::min<uint64_t>(chunk_size_, capacity_bytes - offset)) {
      return base::Error(absl::StatusCode::kInternal, "INTERNAL",
                         "the hypervisor gave {} bytes at {}, which is no chunk", data.size(), offset);
    }
    if (!base::IsZero(data)) ids[static_cast<size_t>(at - chunks.begin())] = hasher_.Id(data);
    read_bytes += data.size();
    meter_.AddRead(data.size());
    return absl::OkStatus();
  });
}

}  // namespace umbra::transfer
