#include "storage/repo/pack_scan.h"

#include <algorithm>
#include <thread>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Decompression and hashing are the work. On a large machine more threads than this would only wait for the disk.
constexpr unsigned kCheckersMax = 16;
// One waits for the disk while the other hands over; more would make a spinning disk's heads travel.
constexpr unsigned kReaders = 2;
// Large enough that a spinning disk spends its time reading, small enough that many fit in memory.
constexpr uint64_t kPieceBytes = 4 * base::kMiB;
// No chunk is stored in more bytes: what is encrypted is a little longer than the chunk itself.
constexpr uint64_t kStoredLengthMax = kMaxChunkSizeBytes + 64 * base::kKiB;
static_assert(kStoredLengthMax <= kPieceBytes);

uint64_t EndOf(const PackSlot& slot) {
  return uint64_t{slot.offset} + slot.stored_length;
}

constexpr uint64_t AlignDown(uint64_t offset) {
  return offset / base::kDirectAlignment * base::kDirectAlignment;
}
constexpr uint64_t AlignUp(uint64_t offset) {
  return AlignDown(offset + base::kDirectAlignment - 1);
}

// What went wrong with a read, in words of chunks.
absl::Status ReadFailure(const absl::Status& status) {
  if (status.code() != absl::StatusCode::kOutOfRange) return status;
  return base::MakeError(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "the pack is cut short");
}

}  // namespace

void PackScan::Run(std::span<const uint32_t> packs) {
  const unsigned checkers = std::clamp(std::thread::hardware_concurrency(), 1u, kCheckersMax);
  {
    absl::MutexLock lock(&mu_);
    for (unsigned i = 0; i < 2 * kReaders + checkers; ++i) free_.emplace_back(kPieceBytes + 2 * base::kDirectAlignment);
    readers_ = kReaders;
  }
  std::vector<std::jthread> threads;
  for (unsigned i = 0; i < kReaders; ++i) threads.emplace_back([this, packs] { ReadLoop(packs); });
  for (unsigned i = 0; i < checkers; ++i) threads.emplace_back([this] { CheckLoop(); });
}

base::AlignedBuffer PackScan::TakeBuffer() {
  absl::MutexLock lock(&mu_);
  const auto there_is = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !free_.empty(); };
  mu_.Await(absl::Condition(&there_is));
  base::AlignedBuffer buffer = std::move(free_.back());
  free_.pop_back();
  return buffer;
}

void PackScan::ReadLoop(std::span<const uint32_t> packs) {
  for (size_t i = next_++; i < packs.size() && visitor_.GoesOn(false); i = next_++) {
    const std::shared_ptr<ScannedPack> pack = visitor_.Open(packs[i]);
    if (pack == nullptr) continue;
    std::sort(pack->slots.begin(), pack->slots.end(),
              [](const PackSlot& a, const PackSlot& b) { return a.offset < b.offset; });
    ReadPack(pack);
    Release(pack);
  }
  absl::MutexLock lock(&mu_);
  --readers_;
}

void PackScan::ReadPack(const std::shared_ptr<ScannedPack>& pack) {
  const std::span<const PackSlot> slots = pack->slots;
  for (size_t first = 0; first < slots.size();) {
    if (!visitor_.GoesOn(true)) {
      pack->cut = true;
      return;
    }
    Piece piece;
    piece.begin = AlignDown(slots[first].offset);
    size_t last = first + 1;
    while (last < slots.size() && EndOf(slots[last]) - slots[first].offset <= kPieceBytes) ++last;
    piece.slots = slots.subspan(first, last - first);
    piece.pack = pack;
    piece.buffer = TakeBuffer();
    ReadPiece(piece);
    ++pack->pending;
    first = last;
    absl::MutexLock lock(&mu_);
    pieces_.push_back(std::move(piece));
  }
}

void PackScan::ReadPiece(Piece& piece) {
  uint64_t end = 0;
  for (const PackSlot& slot : piece.slots) end = std::max(end, EndOf(slot));
  if (end - piece.slots.front().offset > kPieceBytes) {
    piece.reads.assign(piece.slots.size(), base::MakeError(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED",
                                                           "it claims to be larger than any chunk"));
    return;
  }
  BlobReader& blob = *piece.pack->blob;
  const uint64_t aligned_end = std::max(end, std::min(AlignUp(end), blob.size()));
  if (blob.ReadAt(piece.begin, {piece.buffer.data(), aligned_end - piece.begin}).ok()) return;
  // A read that failed as a whole is tried again chunk by chunk, so that one bad sector costs one chunk.
  for (const PackSlot& slot : piece.slots) {
    piece.reads.push_back(
        ReadFailure(blob.ReadAt(slot.offset, {piece.buffer.data() + (slot.offset - piece.begin), slot.stored_length})));
  }
}

void PackScan::CheckLoop() {
  std::vector<std::byte> scratch;
  while (true) {
    Piece piece;
    {
      absl::MutexLock lock(&mu_);
      const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !pieces_.empty() || readers_ == 0; };
      mu_.Await(absl::Condition(&ready));
      if (pieces_.empty()) return;
      piece = std::move(pieces_.front());
      pieces_.pop_front();
    }
    CheckPiece(piece, scratch);
    {
      absl::MutexLock lock(&mu_);
      free_.push_back(std::move(piece.buffer));
    }
    Release(piece.pack);
  }
}

void PackScan::CheckPiece(const Piece& piece, std::vector<std::byte>& scratch) {
  ScannedPack& pack = *piece.pack;
  if (!visitor_.GoesOn(true)) {
    pack.cut = true;
    return;
  }
  for (size_t i = 0; i < piece.slots.size(); ++i) {
    const PackSlot& slot = piece.slots[i];
    absl::Status status = piece.reads.empty() ? absl::OkStatus() : piece.reads[i];
    if (status.ok()) {
      status =
          visitor_.Check(pack, slot, {piece.buffer.data() + (slot.offset - piece.begin), slot.stored_length}, scratch);
    }
    if (status.ok()) continue;
    absl::MutexLock lock(&pack.mu);
    pack.bad.emplace_back(slot, std::move(status));
  }
}

void PackScan::Release(const std::shared_ptr<ScannedPack>& pack) {
  if (--pack->pending > 0) return;
  pack->blob.reset();
  visitor_.Done(*pack);
}

}  // namespace umbra::repo
