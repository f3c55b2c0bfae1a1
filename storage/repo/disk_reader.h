// Reads one disk of a recovery point in order, several MiB at a time.
#ifndef UMBRA_STORAGE_REPO_DISK_READER_H_
#define UMBRA_STORAGE_REPO_DISK_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "storage/repo/chunk_reader.h"
#include "storage/repo/disk_map.h"
#include "storage/repo/point_states.h"

namespace umbra::repo {

class StoredDiskReader final : public DiskReader {
 public:
  // `name` says whose disk it is, in errors. `packs`, `index` and `hasher` outlive the reader.
  StoredDiskReader(PackCache& packs, ChunkIndex& index, const ChunkHasher& hasher, const DiskGeometry& geometry,
                   std::vector<ChunkId> pages, std::string name)
      : index_(index), map_reader_(packs, index, hasher), data_reader_(packs, index, hasher), name_(std::move(name)),
        map_(geometry, std::move(pages), map_reader_) {}

  uint64_t capacity_bytes() const override { return map_.geometry().capacity_bytes(); }
  uint64_t position_bytes() const override { return map_.geometry().OffsetOf(next_); }
  uint64_t chunk_count() const override { return map_.geometry().chunk_count(); }
  absl::Status Seek(uint64_t chunk) override;
  absl::StatusOr<std::vector<DiskChunk>> Next(uint64_t limit_bytes) override;

  // The reader's point isn't deleted as long as the reader lives.
  void Keep(PointUse use) { use_ = std::move(use); }

  // The chunk at which the last error happened.
  const ChunkId& failed_chunk() const { return failed_; }

 private:
  // Moves over zero chunks and collects chunks with data from next_ on. An error belongs to the chunk at `end`.
  absl::Status Collect(uint64_t limit_bytes, std::vector<DiskChunk>& chunks, std::vector<ChunkLocation>& locations,
                       uint64_t& end);
  absl::Status CollectPage(std::span<const ChunkId> ids, uint64_t& limit_bytes, std::vector<DiskChunk>& chunks,
                           std::vector<ChunkLocation>& locations, uint64_t& end);
  absl::Status Locate(const ChunkId& id, uint64_t chunk, ChunkLocation& location);
  absl::Status AtPlace(const absl::Status& status, const ChunkId& id, uint64_t chunk);

  ChunkIndex& index_;
  ChunkReader map_reader_;
  ChunkReader data_reader_;
  const std::string name_;
  DiskMapCursor map_;
  uint64_t next_ = 0;
  ChunkId failed_;
  PointUse use_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_DISK_READER_H_
