// An index run: an immutable, sorted table of where chunks are (docs/formats/repository.md section 5).
#ifndef UMBRA_STORAGE_REPO_INDEX_RUN_H_
#define UMBRA_STORAGE_REPO_INDEX_RUN_H_

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/format.h"

namespace umbra::repo {

// Writes a run. One thread at a time.
class IndexRunWriter {
 public:
  IndexRunWriter(std::unique_ptr<BlobWriter> blob, const RawUuid& repository, uint64_t sequence)
      : blob_(std::move(blob)), repository_(repository), sequence_(sequence) {}

  // Ids in ascending order, each once.
  absl::Status Append(const IndexEntry& entry);
  // Durable when OK.
  absl::Status Finish(const std::vector<IndexPack>& packs);

 private:
  absl::Status FlushBlock();

  const std::unique_ptr<BlobWriter> blob_;
  const RawUuid repository_;
  const uint64_t sequence_;
  std::vector<IndexEntry> block_;
  std::string buffer_;  // blocks on their way: one write per 256 of them
  uint64_t entry_count_ = 0;
};

// A run that can be asked. Thread-safe. In memory: 10 bits per entry and 8 bytes per block of 73.
class IndexRun {
 public:
  // Reads and checks all of it. DATA_LOSS / INDEX_DAMAGED when any byte is wrong.
  static absl::StatusOr<std::shared_ptr<const IndexRun>> Load(BlobStore& store, const std::string& name,
                                                              const RawUuid& repository);

  // Empty when the run doesn't have `id`. DATA_LOSS / INDEX_DAMAGED when the block that should have it is damaged.
  absl::StatusOr<std::optional<IndexEntry>> Find(const ChunkId& id) const;

  // Reads `count` blocks' entries in order, for merging and checking.
  absl::StatusOr<std::vector<IndexEntry>> ReadEntries(uint64_t first_block, uint64_t count) const;

  const std::string& name() const { return name_; }
  uint64_t sequence() const { return trailer_.sequence; }
  uint64_t entry_count() const { return trailer_.entry_count; }
  uint64_t block_count() const { return fences_.size(); }
  uint64_t plain_bytes() const { return plain_bytes_; }
  uint64_t size_bytes() const { return blob_->size(); }
  const std::vector<IndexPack>& packs() const { return packs_; }

 private:
  IndexRun() = default;
  absl::Status LoadEntries();
  void AddToFilter(const ChunkId& id);
  bool MayHave(const ChunkId& id) const;

  std::string name_;
  std::unique_ptr<BlobReader> blob_;
  IndexTrailer trailer_;
  std::vector<IndexPack> packs_;
  std::vector<uint64_t> fences_;  // the first 8 bytes, big-endian, of each block's first id
  std::vector<uint64_t> filter_;  // Bloom filter in groups of 512 bits
  uint64_t plain_bytes_ = 0;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_INDEX_RUN_H_
