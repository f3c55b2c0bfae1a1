// The first half of a prune: which chunks do recovery points need?
#ifndef UMBRA_STORAGE_REPO_MARK_H_
#define UMBRA_STORAGE_REPO_MARK_H_

#include <atomic>
#include <deque>
#include <set>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/chunk_ordinals.h"
#include "storage/repo/core.h"
#include "storage/repo/disk_map.h"

namespace umbra::repo {

// A set of ordinals. Thread-safe.
class OrdinalSet {
 public:
  explicit OrdinalSet(uint32_t size) : words_(size / 64 + 1) {}

  // True when it wasn't there.
  bool Add(uint32_t ordinal) {
    std::atomic<uint64_t>& word = words_[ordinal / 64];
    const uint64_t bit = uint64_t{1} << (ordinal % 64);
    // Most are there already: reading shares the cache line, writing takes it from the others.
    if ((word.load(std::memory_order_relaxed) & bit) != 0) return false;
    return (word.fetch_or(bit, std::memory_order_relaxed) & bit) == 0;
  }
  bool Has(uint32_t ordinal) const {
    return (words_[ordinal / 64].load(std::memory_order_relaxed) >> (ordinal % 64) & 1) != 0;
  }

 private:
  std::vector<std::atomic<uint64_t>> words_;
};

// Marks what points refer to: pages, and the chunks in them. A page that several points share is read once. Use once.
//
// Everything that is referred to is marked, or the result is an error: a map that can't be read leaves the question
// open, and then nothing may be deleted.
class Marker {
 public:
  // `ordinals` outlives the marker.
  Marker(Core& core, const ChunkOrdinals& ordinals, std::stop_token stop);

  // Marks everything that the points of the repository need: visible and removed ones, and those of unfinished commits,
  // but for `left_out`. DATA_LOSS with the point's name when a point or a map page can't be read; CANCELLED /
  // CANCELLED.
  absl::Status MarkEverything(const std::set<std::string>& left_out);

  bool IsMarked(const ChunkId& id) const {
    const uint32_t ordinal = ordinals_.Find(id);
    return ordinal != ChunkOrdinals::kNone && marked_.Has(ordinal);
  }
  bool IsMarked(uint32_t ordinal) const { return marked_.Has(ordinal); }

  // Entries of all maps, those of shared pages as often as they are shared; and those that were really read.
  uint64_t reference_count() const { return reference_count_; }
  uint64_t read_count() const { return read_count_.load(); }
  uint64_t point_count() const { return point_count_; }

 private:
  struct Page {
    ChunkId id;
    uint64_t entries = 0;
    std::string owner;  // point and disk, for errors
  };
  using Batch = std::vector<Page>;

  absl::Status MarkPoint(const Point& point);
  void QueuePage(const ChunkId& id, uint64_t entries, const std::string& owner);
  void QueueBatch();
  void Work();
  // What one worker keeps from batch to batch.
  struct Lane {
    explicit Lane(Core& core) : reader(core.packs, core.index, core.hasher) {}

    ChunkReader reader;
    std::vector<ChunkId> ids;
    std::vector<ChunkLocation> locations;
    std::vector<std::byte> plain;
    std::vector<uint32_t> ordinals;
  };
  absl::Status ReadPages(const Batch& batch, Lane& lane);
  static base::Bytes Decode(const Page& page, const FetchedChunk& fetched, Codec codec, Lane& lane);
  void MarkPage(const Page& page, base::Bytes bytes, Lane& lane);
  absl::Status MarkPoints(const std::set<std::string>& left_out);
  absl::Status Stopped() const;

  Core& core_;
  const ChunkOrdinals& ordinals_;
  const std::stop_token stop_;
  OrdinalSet marked_;
  // Pages that were queued, by half of their ids. Not by ordinals: a page that is younger than these may be given that
  // of another, which then would never be read; and a page's bytes may be a chunk of some disk as well. 16 bytes for
  // 1,024 chunks.
  absl::flat_hash_set<std::pair<uint64_t, uint64_t>> queued_;
  uint64_t reference_count_ = 0;
  uint64_t point_count_ = 0;
  std::atomic<uint64_t> read_count_{0};
  Batch open_;

  absl::Mutex mu_;
  std::deque<Batch> queue_ ABSL_GUARDED_BY(mu_);
  bool complete_ ABSL_GUARDED_BY(mu_) = false;  // no batch will come any more
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_MARK_H_
