#include "storage/repo/disk_reader.h"

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Chunks in one batch, however small they are.
constexpr size_t kBatchChunksMax = 4096;

}  // namespace

absl::Status StoredDiskReader::Seek(uint64_t chunk) {
  if (chunk > chunk_count()) {
    return base::Error(absl::StatusCode::kOutOfRange, "INVALID_REQUEST", "{} has {} chunks, not {}", name_, chunk_count(), chunk);
  }
  next_ = chunk;
  return absl::OkStatus();
}

absl::Status StoredDiskReader::AtPlace(const absl::Status& status, const ChunkId& id, uint64_t chunk) {
  failed_ = id;
  return base::Annotate(status, "chunk {} of {} at offset {}", id.ToHex(), name_, map_.geometry().OffsetOf(chunk));
}

absl::Status StoredDiskReader::Locate(const ChunkId& id, uint64_t chunk, ChunkLocation& location) {
  ASSIGN_OR_RETURN(const auto found, index_.Find(id));
  if (!found.has_value()) return ChunkMissing(id);
  location = *found;
  if (location.plain_length != map_.geometry().LengthOf(chunk)) {
    return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "it has {} plain bytes, its place {}",
                       location.plain_length, map_.geometry().LengthOf(chunk));
  }
  return absl::OkStatus();
}

absl::Status StoredDiskReader::CollectPage(std::span<const ChunkId> ids, uint64_t& limit_bytes,
                                           std::vector<DiskChunk>& chunks, std::vector<ChunkLocation>& locations,
                                           uint64_t& end) {
  const uint64_t base = end / map_.geometry().page_entries() * map_.geometry().page_entries();
  for (uint64_t i = end - base; i < ids.size(); ++i, ++end) {
    if (ids[i].IsZero()) continue;
    ChunkLocation location;
    if (const auto found = Locate(ids[i], end, location); !found.ok()) return AtPlace(found, ids[i], end);
    if (!chunks.empty() && (location.stored_length > limit_bytes || chunks.size() == kBatchChunksMax)) {
      limit_bytes = 0;
      return absl::OkStatus();
    }
    limit_bytes -= std::min<uint64_t>(limit_bytes, location.stored_length);
    locations.push_back(location);
    chunks.push_back({map_.geometry().OffsetOf(end), {ids[i], location.plain_length, location.codec, {}}});
  }
  return absl::OkStatus();
}

absl::Status StoredDiskReader::Collect(uint64_t limit_bytes, std::vector<DiskChunk>& chunks,
                                       std::vector<ChunkLocation>& locations, uint64_t& end) {
  const DiskGeometry& geometry = map_.geometry();
  limit_bytes = std::max<uint64_t>(limit_bytes, 1);
  while (end < geometry.chunk_count() && limit_bytes > 0) {
    const uint64_t page = end / geometry.page_entries();
    const auto ids = map_.Page(page);
    if (!ids.ok()) return AtPlace(base::Annotate(ids.status(), "map page"), map_.page_id(page), end);
    if (ids->empty()) {
      end = page * geometry.page_entries() + geometry.EntriesOf(page);
    } else {
      RETURN_IF_ERROR(CollectPage(*ids, limit_bytes, chunks, locations, end));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<DiskChunk>> StoredDiskReader::Next(uint64_t limit_bytes) {
  std::vector<DiskChunk> chunks;
  std::vector<ChunkLocation> locations;
  uint64_t end = next_;
  absl::Status status = Collect(limit_bytes, chunks, locations, end);
  std::vector<ChunkId> ids;
  for (const DiskChunk& chunk : chunks) ids.push_back(chunk.chunk.id);
  const auto& fetched = data_reader_.Fetch(ids, locations);
  for (size_t i = 0; i < chunks.size(); ++i) {
    chunks[i].chunk.data = fetched[i].stored;
    if (fetched[i].status.ok()) continue;
    if (WasMoved(index_, locations[i], fetched[i].status)) {
      // What lies before goes out, and the rest is located again.
      next_ = chunks[i].offset_bytes / map_.geometry().LengthOf(0);
      if (i == 0) return Next(limit_bytes);
      chunks.resize(i);
      return chunks;
    }
    const ChunkId id = chunks[i].chunk.id;
    if (base::ReasonOf(fetched[i].status) == "CHUNK_DAMAGED") index_.MarkDamaged(id, locations[i]);
    end = chunks[i].offset_bytes / map_.geometry().LengthOf(0);
    status = AtPlace(fetched[i].status, id, end);
    chunks.resize(i);
  }
  // What lies before a bad chunk is given out first; the error comes with the next call.
  next_ = end;
  if (!status.ok() && chunks.empty()) return status;
  return chunks;
}

}  // namespace umbra::repo
