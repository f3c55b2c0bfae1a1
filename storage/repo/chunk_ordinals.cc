#include "storage/repo/chunk_ordinals.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

#include <algorithm>
#include <array>
#include <bit>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

constexpr uint64_t kBucketSize = 16;
// How many ids ahead memory is asked for: the place of a bucket first, its prints when that has come.
constexpr size_t kStartsAhead = 32;
constexpr size_t kPrintsAhead = 16;
// Prints that are compared at a time: those of nearly every bucket, so that how many it has is nothing to guess (a bucket
// of more than 16 is as likely as not, one of more than 32 is one in 10,000).
constexpr uint32_t kBlock = 32;

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

// Bit i: prints[i] equals `print`, for kBlock of them.
uint32_t Matches(const uint16_t* prints, uint16_t print) {
#ifdef __SSE2__
  const __m128i wanted = _mm_set1_epi16(static_cast<int16_t>(print));
  const auto equal = [&](int at) {
    return _mm_cmpeq_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(prints + at)), wanted);
  };
  const int low = _mm_movemask_epi8(_mm_packs_epi16(equal(0), equal(8)));
  const int high = _mm_movemask_epi8(_mm_packs_epi16(equal(16), equal(24)));
  return static_cast<uint32_t>(low) | static_cast<uint32_t>(high) << 16;
#else
  uint32_t matches = 0;
  for (uint32_t i = 0; i < kBlock; ++i) matches |= static_cast<uint32_t>(prints[i] == print) << i;
  return matches;
#endif
}

}  // namespace

ChunkOrdinals::ChunkOrdinals(uint64_t count_max) : starts_(count_max / kBucketSize + 2) {
  UMBRA_CHECK(count_max < kNone);
  prints_.reserve(count_max + kBlock);
}

size_t ChunkOrdinals::BucketOf(const ChunkId& id) const {
  const uint64_t buckets = starts_.size() - 1;
  return static_cast<size_t>(static_cast<unsigned __int128>(PrefixOf(id)) * buckets >> 64);
}

void ChunkOrdinals::Append(const ChunkId& id) {
  CloseBucket(BucketOf(id));
  prints_.push_back(PrintOf(id));
  ++count_;
  open_.push_back(id);
}

void ChunkOrdinals::Finish() {
  CloseBucket(starts_.size() - 1);
  prints_.resize(count_ + kBlock);
  prints_.shrink_to_fit();
}

void ChunkOrdinals::CloseBucket(size_t bucket) {
  if (bucket == closed_) return;
  const auto first = count_ - static_cast<uint32_t>(open_.size());
  for (size_t i = 0; i < open_.size(); ++i) {
    const auto same =
        std::ranges::count_if(open_, [&](const ChunkId& other) { return PrintOf(other) == PrintOf(open_[i]); });
    if (same > 1) equal_[open_[i]] = first + static_cast<uint32_t>(i);
  }
  open_.clear();
  while (closed_ < bucket) starts_[++closed_] = size();
}

uint32_t ChunkOrdinals::Find(const ChunkId& id) const {
  return FindIn(BucketOf(id), id);
}

uint32_t ChunkOrdinals::FindIn(size_t bucket, const ChunkId& id) const {
  const uint16_t print = PrintOf(id);
  uint32_t found = kNone;
  for (uint32_t first = starts_[bucket], end = starts_[bucket + 1]; first < end; first += kBlock) {
    uint32_t matches = Matches(prints_.data() + first, print);
    matches &= static_cast<uint32_t>((uint64_t{1} << std::min(end - first, kBlock)) - 1);
    if (matches == 0) continue;
    if (found == kNone && std::has_single_bit(matches)) {
      found = first + static_cast<uint32_t>(std::countr_zero(matches));
      continue;
    }
    const auto whole = equal_.find(id);
    return whole == equal_.end() ? kNone : whole->second;
  }
  return found;
}

void ChunkOrdinals::FindAll(std::span<const ChunkId> ids, std::span<uint32_t> ordinals) const {
  std::array<size_t, kStartsAhead> buckets;  // of the ids on their way
  const size_t count = ids.size();
  for (size_t i = 0; i < count + kStartsAhead; ++i) {
    // Last first: its place in `buckets` is the one that the next id takes.
    if (i >= kStartsAhead) {
      const size_t at = i - kStartsAhead;
      ordinals[at] = FindIn(buckets[at % kStartsAhead], ids[at]);
    }
    if (i < count) {
      buckets[i % kStartsAhead] = BucketOf(ids[i]);
      __builtin_prefetch(&starts_[buckets[i % kStartsAhead]]);
    }
    if (const size_t at = i - (kStartsAhead - kPrintsAhead); i >= kStartsAhead - kPrintsAhead && at < count) {
      // Most buckets lie across the end of a cache line.
      const uint16_t* const prints = prints_.data() + starts_[buckets[at % kStartsAhead]];
      __builtin_prefetch(prints);
      __builtin_prefetch(prints + kBlock - 1);
    }
  }
}

uint64_t ChunkOrdinals::memory_bytes() const {
  return starts_.capacity() * sizeof starts_[0] + prints_.capacity() * sizeof prints_[0] +
         equal_.size() * (sizeof(ChunkId) + sizeof(uint32_t));
}

}  // namespace umbra::repo
