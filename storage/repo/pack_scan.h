// Reads whole packs once and gives their chunks to as many threads as there are processors.
//
// A few threads read ahead, in large pieces and past the page cache: what counts is what lies on the disk, and a check
// of everything must not push out of memory what others need. Memory is bounded by the buffers, some MiB per thread.
#ifndef UMBRA_STORAGE_REPO_PACK_SCAN_H_
#define UMBRA_STORAGE_REPO_PACK_SCAN_H_

#include <atomic>
#include <deque>
#include <memory>
#include <span>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/aligned_buffer.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/format.h"

namespace umbra::repo {

// A pack on its way through a scan.
struct ScannedPack {
  uint32_t number = 0;  // as it was given to Run
  PackId id{};
  uint64_t size_bytes = 0;
  std::unique_ptr<BlobReader> blob;  // null when `slots` is empty
  std::vector<PackSlot> slots;       // to be read; sorted by offset by the scan
  bool from_footer = true;           // false: by the index, since the footer is damaged
  absl::Status footer_status;

  // Filled in by the scan.
  absl::Mutex mu;
  std::vector<std::pair<PackSlot, absl::Status>> bad ABSL_GUARDED_BY(mu);
  std::atomic<size_t> pending{1};  // pieces that are being worked on, and the reading itself
  std::atomic<bool> cut{false};    // not everything was looked at
};

// What is done with the packs. Every call may come from several threads at once.
class PackVisitor {
 public:
  virtual ~PackVisitor() = default;

  // False: no more packs, and what is under way is cut short when `at_once`.
  virtual bool GoesOn(bool at_once) = 0;
  // Opens and lists the pack. Null: leave it out.
  virtual std::shared_ptr<ScannedPack> Open(uint32_t number) = 0;
  // Whether these are the right stored bytes. `scratch` is the thread's own.
  virtual absl::Status Check(const ScannedPack& pack, const PackSlot& slot, base::Bytes stored,
                             std::vector<std::byte>& scratch) = 0;
  // Every chunk was checked, unless `pack.cut`.
  virtual void Done(ScannedPack& pack) = 0;
};

// Use once.
class PackScan {
 public:
  explicit PackScan(PackVisitor& visitor) : visitor_(visitor) {}

  // Blocks until all packs are done, in about this order, or the visitor doesn't go on.
  void Run(std::span<const uint32_t> packs);

 private:
  // Neighbours in one buffer.
  struct Piece {
    std::shared_ptr<ScannedPack> pack;
    std::span<const PackSlot> slots;
    uint64_t begin = 0;  // offset in the pack of the buffer's first byte
    base::AlignedBuffer buffer;
    std::vector<absl::Status> reads;  // of each slot; empty when all is well
  };

  void ReadLoop(std::span<const uint32_t> packs);
  void ReadPack(const std::shared_ptr<ScannedPack>& pack);
  void ReadPiece(Piece& piece);
  void CheckLoop();
  void CheckPiece(const Piece& piece, std::vector<std::byte>& scratch);
  void Release(const std::shared_ptr<ScannedPack>& pack);
  base::AlignedBuffer TakeBuffer();

  PackVisitor& visitor_;
  std::atomic<size_t> next_{0};

  absl::Mutex mu_;
  std::vector<base::AlignedBuffer> free_ ABSL_GUARDED_BY(mu_);
  std::deque<Piece> pieces_ ABSL_GUARDED_BY(mu_);
  int readers_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_PACK_SCAN_H_
