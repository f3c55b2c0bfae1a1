// Reads one disk of a recovery point anywhere, from several threads, with a small cache of decoded chunks and
// read-ahead.
//
// A read takes what the cache has, claims the chunks that are missing, fetches and decodes those in its own thread, and
// waits for those that another thread has claimed. Nobody waits while holding a claim of its own, so nobody waits for
// each other. Reads that follow one another are noticed, and chunks behind them are decoded by threads of the view.
#ifndef UMBRA_STORAGE_REPO_DISK_VIEW_H_
#define UMBRA_STORAGE_REPO_DISK_VIEW_H_

#include <array>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/aligned_buffer.h"
#include "storage/repo/chunk_reader.h"
#include "storage/repo/disk_map.h"
#include "storage/repo/point_states.h"

namespace umbra::repo {

class StoredDiskView final : public DiskView {
 public:
  // `name` says whose disk it is, in errors. `packs`, `index` and `hasher` outlive the view.
  StoredDiskView(PackCache& packs, ChunkIndex& index, const ChunkHasher& hasher, const DiskGeometry& geometry,
                 std::vector<ChunkId> pages, std::string name, const DiskViewOptions& options);
  ~StoredDiskView() override;

  // The view's point isn't deleted as long as the view lives.
  void Keep(PointUse use) { use_ = std::move(use); }

  uint64_t capacity_bytes() const override { return geometry_.capacity_bytes(); }
  absl::Status ReadAt(uint64_t offset_bytes, base::MutableBytes out) override;
  absl::StatusOr<DiskStretch> StretchAt(uint64_t offset_bytes) override;

 private:
  using MapPage = std::vector<ChunkId>;  // empty: zero chunks only

  // A place for one decoded chunk.
  struct Slot {
    enum class State { kFree, kLoading, kReady, kFailed };
    State state = State::kFree;
    int users =
        0;  // threads that load it, wait for it or copy from it; only with none it may be taken for another chunk
    uint64_t chunk = 0;
    uint64_t last_use = 0;
    absl::Status error;         // kFailed
    base::AlignedBuffer plain;  // made when the slot is used for the first time
  };

  // A part of a read that lies in one chunk.
  struct Piece {
    uint64_t chunk = 0;
    uint32_t begin = 0;  // within the chunk
    base::MutableBytes out;
    ChunkId id;
    Slot* slot = nullptr;      // null: decoded without the cache, or zero
    bool mine = false;         // this thread decodes it
    base::MutableBytes plain;  // where to decode it, when `mine`
  };

  // What one thread needs to fetch and decode. Kept for the next one.
  struct Lane {
    Lane(PackCache& packs, ChunkIndex& index, const ChunkHasher& hasher) : reader(packs, index, hasher) {}
    ChunkReader reader;
    std::vector<base::AlignedBuffer> spare;  // for parts of chunks that found no slot
  };

  // Reads that follow one another.
  struct Stream {
    uint64_t next_bytes = 0;   // where the next read is expected
    uint64_t ahead_chunk = 0;  // everything before this chunk was read, or asked for ahead
    uint64_t window_chunks = 0;
    uint64_t last_use = 0;
  };

  struct Ahead {
    uint64_t first = 0;
    uint64_t count = 0;
  };

  std::unique_ptr<Lane> TakeLane();
  void GiveBack(std::unique_ptr<Lane> lane);

  absl::StatusOr<std::shared_ptr<const MapPage>> PageOf(uint64_t page, Lane& lane);
  absl::Status FindIds(std::vector<Piece>& pieces, Lane& lane);
  // One stretch of a read, few enough chunks to be fetched at once.
  absl::Status ReadPieces(std::vector<Piece>& pieces, Lane& lane);
  void Claim(std::vector<Piece>& pieces, Lane& lane, bool ahead);
  Slot* SlotForLocked(uint64_t chunk) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Decodes what is `mine`; every claimed slot is kReady or kFailed afterwards. The first error.
  absl::Status Load(std::vector<Piece>& pieces, Lane& lane);
  absl::Status Locate(const Piece& piece, ChunkLocation& location);
  absl::Status AtPlace(const absl::Status& status, const ChunkId& id, uint64_t chunk) const;
  void Settle(Piece& piece, const absl::Status& status);
  absl::Status CopyOut(std::vector<Piece>& pieces, const absl::Status& loaded);
  void Unpin(Slot* slot) ABSL_LOCKS_EXCLUDED(mu_);

  void NoteRead(uint64_t offset_bytes, uint64_t length_bytes);
  void RunAhead();

  PackCache& packs_;
  ChunkIndex& index_;
  const ChunkHasher& hasher_;
  const DiskGeometry geometry_;
  const std::vector<ChunkId> pages_;
  const std::string name_;
  const uint64_t chunk_size_;
  const uint64_t window_max_;  // chunks

  absl::Mutex lanes_mu_;
  std::vector<std::unique_ptr<Lane>> lanes_ ABSL_GUARDED_BY(lanes_mu_);

  struct CachedPage {
    std::shared_ptr<const MapPage> ids;  // shared with the reads that look at it while it is replaced
    uint64_t last_use = 0;
  };
  absl::Mutex map_mu_;
  absl::flat_hash_map<uint64_t, CachedPage> map_ ABSL_GUARDED_BY(map_mu_);
  uint64_t map_uses_ ABSL_GUARDED_BY(map_mu_) = 0;

  // A slot that isn't kFree is in by_chunk_, unless it is kFailed.
  absl::Mutex mu_;
  std::vector<Slot> slots_;  // their users are guarded; a slot's bytes belong to who loads it, then to all its users
  absl::flat_hash_map<uint64_t, Slot*> by_chunk_ ABSL_GUARDED_BY(mu_);
  uint64_t uses_ ABSL_GUARDED_BY(mu_) = 0;

  absl::Mutex ahead_mu_;
  std::array<Stream, 4> streams_ ABSL_GUARDED_BY(ahead_mu_);
  uint64_t reads_ ABSL_GUARDED_BY(ahead_mu_) = 0;
  std::deque<Ahead> ahead_ ABSL_GUARDED_BY(ahead_mu_);
  bool stop_ ABSL_GUARDED_BY(ahead_mu_) = false;
  std::vector<std::jthread> threads_;
  PointUse use_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_DISK_VIEW_H_
