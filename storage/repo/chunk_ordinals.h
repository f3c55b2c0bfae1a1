// Numbers the chunks of a repository, so that a set of them is a bitmap: the ordinal of a chunk is its rank among all
// ids.
//
// Small: 16 bits of each id, in buckets of about 16 ids, 2.3 bytes per chunk in all (19 MB per TiB of unique chunks of
// 128 KiB). Exact for every id that was appended: the few that share their 16 bits with another of their bucket are
// kept whole.
#ifndef UMBRA_STORAGE_REPO_CHUNK_ORDINALS_H_
#define UMBRA_STORAGE_REPO_CHUNK_ORDINALS_H_

#include <cstdint>
#include <span>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "storage/repo/chunk.h"

namespace umbra::repo {

class ChunkOrdinals {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  // For at most `count_max` ids, fewer than kNone.
  explicit ChunkOrdinals(uint64_t count_max);

  // In ascending order, each once; then Finish. The first gets ordinal 0.
  void Append(const ChunkId& id);
  void Finish();

  uint32_t size() const { return count_; }

  // The ordinal of `id`. For an id that was not appended: kNone, or (one in 4,000) that of another. Thread-safe after
  // Finish.
  uint32_t Find(const ChunkId& id) const;
  // The same for many, several times as fast: memory is fetched ahead. `ordinals` has the size of `ids`.
  void FindAll(std::span<const ChunkId> ids, std::span<uint32_t> ordinals) const;

  uint64_t memory_bytes() const;

 private:
  size_t BucketOf(const ChunkId& id) const;
  uint32_t FindIn(size_t bucket, const ChunkId& id) const;
  // Fills starts_ up to `bucket` and looks for equal prints in the bucket that ends.
  void CloseBucket(size_t bucket);

  std::vector<uint32_t> starts_;  // of each bucket, and at the end the number of ids
  uint32_t count_ = 0;
  std::vector<uint16_t> prints_;  // and, after Finish, as many zeros as are compared at a time
  absl::flat_hash_map<ChunkId, uint32_t, ChunkIdHash> equal_;
  std::vector<ChunkId> open_;  // ids of the last bucket, until it is closed
  size_t closed_ = 0;          // buckets
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CHUNK_ORDINALS_H_
