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
#include "storage/repo/pack.h"

namespace umbra::repo {

// A pack that is open, and its key.
struct OpenPack {
  std::unique_ptr<BlobReader> blob;
  absl::StatusOr<Key> key;  // or why its header doesn't give it: DATA_LOSS / CHUNK_DAMAGED, or an I/O error
};

// Packs that were read lately stay open. Thread-safe.
class PackCache {
 public:
  PackCache(BlobStore& store, const ChunkIndex& index, const DataKeys& keys, const RawUuid& repository)
      : store_(store), index_(index), keys_(keys), repository_(repository) {}

  // shared: a reader may still use a pack that the cache has let go. NOT_FOUND / FILE_NOT_FOUND when the file is gone.
  absl::StatusOr<std::shared_ptr<const OpenPack>> OpenKeyed(uint32_t pack);
  // Only its bytes, for which no key is needed.
  absl::StatusOr<std::shared_ptr<BlobReader>> Open(uint32_t pack);
  // The pack's file was deleted: lets go of it, so that its space is free.
  void Forget(uint32_t pack);

 private:
  struct Entry {
    uint32_t pack;
    uint64_t last_use;
    std::shared_ptr<const OpenPack> open;
  };

  absl::StatusOr<Key> ReadKey(BlobReader& blob, const PackId& id) const;
  absl::StatusOr<Key> ReadKeyAt(uint64_t offset, BlobReader& blob, const PackId& id) const;

  BlobStore& store_;
  const ChunkIndex& index_;
  const DataKeys& keys_;
  const RawUuid repository_;
  absl::Mutex mu_;
  std::vector<Entry> entries_ ABSL_GUARDED_BY(mu_);  // few: searched one by one
  uint64_t uses_ ABSL_GUARDED_BY(mu_) = 0;
};

// What became of one chunk of a batch.
struct FetchedChunk {
  absl::Status status;
  base::Bytes stored;  // decrypted, in its codec; in the reader's buffer
};

// One thread at a time. Keeps a buffer of the size of the largest batch.
class ChunkReader {
 public:
  ChunkReader(PackCache& packs, ChunkIndex& index, const ChunkHasher& hasher)
      : packs_(packs), index_(index), hasher_(hasher) {}

  // Reads chunks ids[i] at locations[i], in order of place on disk, and decrypts each, by which place, id, lengths and
  // codec are proven to be what the pack's writer meant. One result per location, valid until the next call. Errors:
  // DATA_LOSS / CHUNK_DAMAGED, CHUNK_MISSING (pack gone), I/O.
  const std::vector<FetchedChunk>& Fetch(std::span<const ChunkId> ids, std::span<const ChunkLocation> locations);

  // The plain bytes of one chunk, found, fetched and with its id computed; valid until the next call.
  // DATA_LOSS / CHUNK_MISSING, CHUNK_DAMAGED: the message says what is wrong with `id`.
  absl::StatusOr<base::Bytes> FetchPlain(const ChunkId& id, uint32_t plain_length);

 private:
  // Locations order_[first, last), which lie close together in one pack, and the bytes from the first to the end of all.
  struct Range {
    size_t first;
    size_t last;
    uint64_t length;
  };
  // Reads them to `buffer` and decrypts, in place.
  void FetchRange(std::span<const ChunkId> ids, std::span<const ChunkLocation> locations, const Range& range,
                  std::byte* buffer);

  PackCache& packs_;
  ChunkIndex& index_;
  const ChunkHasher& hasher_;
  Opener opener_;
  std::vector<uint32_t> order_;
  std::vector<FetchedChunk> results_;
  std::vector<std::byte> buffer_;
  std::vector<std::byte> plain_;
};

// Copies the chunk `id` at `from` to the pack that `to` writes: decrypted, and encrypted again under the new pack's
// key; its codec stays. The tag proves what is copied; with `hasher` it is decompressed and its id computed as well.
// Errors are those of Fetch, and of writing.
absl::Status CopyChunk(ChunkReader& reader, const ChunkId& id, const ChunkLocation& from, const ChunkHasher* hasher,
                       PackWriter& to);

// Whether `status`, of a fetch from `location`, only says that a prune took the pack away since the chunk was located there. It is
// somewhere else now, or nobody needs it any more: locate it again.
bool WasMoved(const ChunkIndex& index, const ChunkLocation& location, const absl::Status& status);

// The error of a chunk that the index doesn't know.
absl::Status ChunkMissing(const ChunkId& id);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CHUNK_READER_H_
