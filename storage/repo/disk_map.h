// The map of a disk: its chunk ids in order, in content-addressed pages (docs/formats/repository.md section 6).
#ifndef UMBRA_STORAGE_REPO_DISK_MAP_H_
#define UMBRA_STORAGE_REPO_DISK_MAP_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/repo/chunk_reader.h"
#include "storage/repo/format.h"

namespace umbra::repo {

// How a disk of `capacity_bytes` is cut.
class DiskGeometry {
 public:
  DiskGeometry(const RepositoryInfo& info, uint64_t capacity_bytes)
      : chunk_size_(info.chunk_size_bytes), page_entries_(info.map_page_entries), capacity_(capacity_bytes) {}

  uint64_t capacity_bytes() const { return capacity_; }
  uint64_t chunk_size_bytes() const { return chunk_size_; }
  uint64_t chunk_count() const { return (capacity_ + chunk_size_ - 1) / chunk_size_; }
  uint64_t page_count() const { return (chunk_count() + page_entries_ - 1) / page_entries_; }
  uint64_t page_entries() const { return page_entries_; }
  uint64_t OffsetOf(uint64_t chunk) const { return std::min(chunk * chunk_size_, capacity_); }
  // Bytes of the disk in this chunk: the chunk size, but for the last.
  uint32_t LengthOf(uint64_t chunk) const { return static_cast<uint32_t>(OffsetOf(chunk + 1) - OffsetOf(chunk)); }
  // Ids in this page: all but the last have page_entries().
  uint64_t EntriesOf(uint64_t page) const { return std::min(page_entries_, chunk_count() - page * page_entries_); }

 private:
  uint64_t chunk_size_;
  uint64_t page_entries_;
  uint64_t capacity_;
};

// Walks the ids of a stored map. One thread at a time.
class DiskMapCursor {
 public:
  DiskMapCursor(const DiskGeometry& geometry, std::vector<ChunkId> pages, ChunkReader& reader)
      : geometry_(geometry), pages_(std::move(pages)), reader_(reader) {}

  const DiskGeometry& geometry() const { return geometry_; }

  // The ids of this page, valid until the next call; empty for a page of zero chunks only.
  // DATA_LOSS / CHUNK_DAMAGED, CHUNK_MISSING: the page itself is damaged or gone.
  absl::StatusOr<std::span<const ChunkId>> Page(uint64_t page);

  const ChunkId& page_id(uint64_t page) const { return pages_[page]; }

 private:
  const DiskGeometry geometry_;
  const std::vector<ChunkId> pages_;
  ChunkReader& reader_;
  std::optional<uint64_t> loaded_;
  std::vector<ChunkId> ids_;
};

// The hash over all ids of a map, as manifests keep it (map_hash).
class MapHasher {
 public:
  explicit MapHasher(IdSuite suite);
  ~MapHasher();
  MapHasher(const MapHasher&) = delete;
  MapHasher& operator=(const MapHasher&) = delete;

  void Add(std::span<const ChunkId> ids);
  std::string Finish();

 private:
  struct State;
  const std::unique_ptr<State> state_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_DISK_MAP_H_
