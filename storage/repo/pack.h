// Packs: written as a stream, sealed once, read in ranges (docs/formats/repository.md section 4).
#ifndef UMBRA_STORAGE_REPO_PACK_H_
#define UMBRA_STORAGE_REPO_PACK_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/aligned_buffer.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/format.h"
#include "storage/repo/write_behind.h"

namespace umbra::repo {

// One thread at a time.
class PackWriter {
 public:
  static absl::StatusOr<std::unique_ptr<PackWriter>> Create(BlobStore& store, const KeyedPack& pack);

  // Encrypts `data` (the chunk in its codec); the store gets about one MiB at a time, in aligned pieces, from a thread
  // of its own. So an I/O error may be that of an earlier chunk. The caller vouches that `data` is chunk `id`.
  absl::Status Append(const ChunkId& id, Codec codec, uint32_t plain_length, base::Bytes data);

  // Bytes so far, without the footer.
  uint64_t size_bytes() const { return size_; }
  const std::vector<PackSlot>& slots() const { return slots_; }

  // Writes footer and trailer and makes the pack visible and durable. Blocks for the sync of all its bytes.
  absl::StatusOr<IndexPack> Seal();

 private:
  PackWriter(const KeyedPack& pack, std::unique_ptr<BlobWriter> blob);
  absl::Status Add(base::Bytes data);

  const PackHeader header_;
  const std::unique_ptr<BlobWriter> blob_;
  Sealer sealer_;
  std::vector<std::byte> sealed_;
  std::vector<PackSlot> slots_;
  WriteBehind behind_;
  base::AlignedBuffer buffer_;
  size_t buffered_ = 0;
  uint64_t size_ = 0;
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
