#include "storage/repo/chunk_ordinals.h"

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

constexpr uint64_t kBucketSize = 16;
// Ids whose memory is on its way at the same time.
constexpr size_t kAhead = 16;

// Big-endian, so that it rises with the id.
uint64_t PrefixOf(const ChunkId& id) {
  uint64_t raw;
  std::memcpy(&raw, id.bytes.data(), sizeof raw);
  return __builtin_bswap64(raw);
}

// Bits that have no part in the choice of the bucket.
uint16_t PrintOf(const ChunkId& id) {
  uint16_t print;
  std::memcpy(&print, id.bytes.data() + 16, sizeof print);
  return print;
}

}  // namespace

ChunkOrdinals::ChunkOrdinals(uint64_t count_max) : starts_(count_max / kBucketSize + 2) {
  UMBRA_CHECK(count_max < kNone);
  prints_.reserve(count_max);
}

size_t ChunkOrdinals::BucketOf(const ChunkId& id) const {
  const uint64_t buckets = starts_.size() - 1;
  return static_cast<size_t>(static_cast<unsigned __int128>(PrefixOf(id)) * buckets >> 64);
}

void ChunkOrdinals::Append(const ChunkId& id) {
  CloseBucket(BucketOf(id));
  prints_.push_back(PrintOf(id));
  open_.push_back(id);
}

void ChunkOrdinals::Finish() {
  CloseBucket(starts_.size() - 1);
  prints_.shrink_to_fit();
}

void ChunkOrdinals::CloseBucket(size_t bucket) {
  if (bucket == closed_) return;
  const auto first = static_cast<uint32_t>(prints_.size() - open_.size());
  for (size_t i = 0; i < open_.size(); ++i) {
    const auto same =
        std::ranges::count_if(open_, [&](const ChunkId& other) { return PrintOf(other) == PrintOf(open_[i]); });
    if (same > 1) equal_[open_[i]] = first + static_cast<uint32_t>(i);
  }
  open_.clear();
  while (closed_ < bucket) starts_[++closed_] = size();
}

uint32_t ChunkOrdinals::Find(const ChunkId& id) const {
  const size_t bucket = BucketOf(id);
  const uint16_t print = PrintOf(id);
  uint32_t found = kNone;
  for (uint32_t i = starts_[bucket]; i < starts_[bucket + 1]; ++i) {
    if (prints_[i] != print) continue;
    if (found == kNone) {
      found = i;
      continue;
    }
    const auto whole = equal_.find(id);
    return whole == equal_.end() ? kNone : whole->second;
  }
  return found;
}

void ChunkOrdinals::FindAll(std::span<const ChunkId> ids, std::span<uint32_t> ordinals) const {
  for (size_t first = 0; first < ids.size(); first += kAhead) {
    const auto some = ids.subspan(first, std::min(kAhead, ids.size() - first));
    for (const ChunkId& id : some) __builtin_prefetch(&starts_[BucketOf(id)]);
    for (const ChunkId& id : some) __builtin_prefetch(prints_.data() + starts_[BucketOf(id)]);
    for (size_t i = 0; i < some.size(); ++i) ordinals[first + i] = Find(some[i]);
  }
}

uint64_t ChunkOrdinals::memory_bytes() const {
  return starts_.capacity() * sizeof starts_[0] + prints_.capacity() * sizeof prints_[0] +
         equal_.size() * (sizeof(ChunkId) + sizeof(uint32_t));
}

}  // namespace umbra::repo
