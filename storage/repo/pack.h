// Packs: written as a stream, sealed once, read in ranges (docs/formats/repository.md section 4).
#ifndef UMBRA_STORAGE_REPO_PACK_H_
#define UMBRA_STORAGE_REPO_PACK_H_

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/aligned_buffer.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/format.h"
#include "storage/repo/write_behind.h"

namespace umbra::repo {

// A chunk gets its place in the pack first (Reserve), in the order of the pack, and is encrypted to it then (Fill), by
// as many threads as there are. The store gets about one MiB at a time, in aligned pieces and in order, from a thread
// of its own: so an I/O error may be that of an earlier chunk.
class PackWriter {
 public:
  // The place of one chunk.
  struct Place {
    size_t index = 0;  // among the slots
    PackSlot slot;     // its stored_hash is known only when it is filled
  };

  static absl::StatusOr<std::unique_ptr<PackWriter>> Create(BlobStore& store, const KeyedPack& pack);

  // For a chunk that has `size` bytes in its codec. Every place must be filled; Seal waits for that. Not beside Seal.
  Place Reserve(const ChunkId& id, Codec codec, uint32_t plain_length, size_t size);
  // Encrypts `data` (the chunk in its codec) to its place; the caller vouches that it is that chunk. Blocks while the
  // disk is slower than those who fill. After an error the pack is lost. Thread-safe; `this` lives until it returns.
  absl::Status Fill(const Place& place, base::Bytes data);
  // Both.
  absl::Status Append(const ChunkId& id, Codec codec, uint32_t plain_length, base::Bytes data) {
    return Fill(Reserve(id, codec, plain_length, data.size()), data);
  }

  // Bytes reserved so far, without the footer.
  uint64_t size_bytes() const;
  // Not beside Reserve.
  const std::vector<PackSlot>& slots() const ABSL_NO_THREAD_SAFETY_ANALYSIS { return slots_; }

  // Waits until every place is filled, writes footer and trailer and makes the pack visible and durable. Blocks for the
  // sync of all its bytes.
  absl::StatusOr<IndexPack> Seal();

 private:
  // A piece of the pack on its way to the store.
  struct Buffer {
    base::AlignedBuffer memory;
    size_t filled = 0;  // bytes of it, in any order
  };
  // What one thread needs to encrypt; kept for the next one.
  struct Lane {
    Sealer sealer;
    std::vector<std::byte> sealed;  // for what lies in two buffers
  };
  // Where the bytes of one place go: rarely more than one part, never more than three.
  using Parts = std::vector<base::MutableBytes>;

  PackWriter(const KeyedPack& pack, std::unique_ptr<BlobWriter> blob);
  std::unique_ptr<Lane> TakeLane() ABSL_LOCKS_EXCLUDED(mu_);
  uint64_t ReserveLocked(size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  Parts PartsLocked(uint64_t offset, size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // These bytes have come.
  void CountLocked(uint64_t offset, size_t size) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Hands full buffers on, in order, unless another thread is at it.
  void FlushLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status Add(base::Bytes data) ABSL_LOCKS_EXCLUDED(mu_);

  const PackHeader header_;
  const Key key_;
  const std::unique_ptr<BlobWriter> blob_;
  WriteBehind behind_;  // used by the one thread that flushes

  mutable absl::Mutex mu_;
  std::vector<PackSlot> slots_ ABSL_GUARDED_BY(mu_);
  uint64_t size_ ABSL_GUARDED_BY(mu_) = 0;           // reserved
  int filling_ ABSL_GUARDED_BY(mu_) = 0;             // places that aren't filled, and calls of Fill that aren't through
  std::deque<Buffer> buffers_ ABSL_GUARDED_BY(mu_);  // what is reserved and not handed on, without a gap
  uint64_t flushed_ ABSL_GUARDED_BY(mu_) = 0;        // bytes before the first of them
  bool flushing_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<base::AlignedBuffer> free_ ABSL_GUARDED_BY(mu_);
  std::vector<std::unique_ptr<Lane>> lanes_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

struct PackContents {
  PackHeader header;
  IndexPack pack;
  std::vector<PackSlot> slots;
};

// Reads header and footer; needs no keys. DATA_LOSS / CHUNK_DAMAGED when they are wrong, or of another pack or
// repository.
absl::StatusOr<PackContents> ReadPackContents(BlobReader& blob, const PackId& id, const RawUuid& repository);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_PACK_H_
