// Reads chunks out of packs: many at a time, in few and large reads.
#ifndef UMBRA_STORAGE_REPO_CHUNK_READER_H_
#define UMBRA_STORAGE_REPO_CHUNK_READER_H_

#include <memory>
#include <span>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/chunk_index.h"

namespace umbra::repo {

// Packs that were read lately stay open. Thread-safe.
class PackCache {
 public:
  PackCache(BlobStore& store, const ChunkIndex& index) : store_(store), index_(index) {}

  // shared: a reader may still use a pack that the cache has let go. NOT_FOUND / FILE_NOT_FOUND when the file is gone.
  absl::StatusOr<std::shared_ptr<BlobReader>> Open(uint32_t pack);

 private:
  struct Entry {
    uint32_t pack;
    uint64_t last_use;
    std::shared_ptr<BlobReader> blob;
  };

  BlobStore& store_;
  const ChunkIndex& index_;
  absl::Mutex mu_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mu_);  // few: searched one by one
  uint64_t uses_ ABSL_GUARDED_BY(mu_) = 0;
};

// What became of one chunk of a batch.
struct FetchedChunk {
  absl::Status status;
  base::Bytes stored;  // in the reader's buffer
};

// One thread at a time. Keeps a buffer of the size of the largest batch.
class ChunkReader {
 public:
  ChunkReader(PackCache& packs, ChunkIndex& index, const ChunkHasher& hasher)
      : packs_(packs), index_(index), hasher_(hasher) {}

  // Reads the stored bytes of all `locations`, in order of place on disk, and checks each against its hash (8 bytes of it).
  // One result per location, valid until the next call. Errors: DATA_LOSS / CHUNK_DAMAGED, CHUNK_MISSING (pack gone), I/O.
  const std::vector<FetchedChunk>& Fetch(std::span<const ChunkLocation> locations);

  // The plain bytes of one chunk, found, fetched and with its id computed; valid until the next call.
  // DATA_LOSS / CHUNK_MISSING, CHUNK_DAMAGED: the message says what is wrong with `id`.
  absl::StatusOr<base::Bytes> FetchPlain(const ChunkId& id, uint32_t plain_length);

 private:
  // Reads locations order_[first, last), which lie close together in one pack, to `buffer`.
  void FetchRange(std::span<const ChunkLocation> locations, size_t first, size_t last, std::byte* buffer);

  PackCache& packs_;
  ChunkIndex& index_;
  const ChunkHasher& hasher_;
  std::vector<uint32_t> order_;
  std::vector<FetchedChunk> results_;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> plain_;
};

// The error of a chunk that the index doesn't know.
absl::Status ChunkMissing(const ChunkId& id);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CHUNK_READER_H_
