#include "storage/repo/chunk_reader.h"

#include <algorithm>
#include <numeric>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// File descriptors of one repository; a restore touches few packs at a time.
constexpr size_t kOpenPacksMax = 64;
// Reading over a gap this small is cheaper than another read; and never more than the chunk behind it is worth.
constexpr uint64_t kGapMax = 128 * base::kKiB;

uint64_t EndOf(const ChunkLocation& location) { return uint64_t{location.offset} + location.stored_length; }

// One read for both? `a` lies before `b` or equals it.
bool Joins(const ChunkLocation& a, const ChunkLocation& b) {
  if (a.pack != b.pack) return false;
  return b.offset <= EndOf(a) + std::min<uint64_t>(kGapMax, b.stored_length);
}

// The read of a pack failed: what that means for the chunk.
absl::Status ReadFailure(const absl::Status& status, uint32_t pack_number, const ChunkIndex& index) {
  const std::string pack = PackName(index.pack(pack_number).id);
  if (status.code() == absl::StatusCode::kNotFound) {
    return base::Error(absl::StatusCode::kDataLoss, "CHUNK_MISSING", "{} is gone", pack);
  }
  if (status.code() == absl::StatusCode::kOutOfRange) {
    return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "{} is cut short", pack);
  }
  return status;
}

}  // namespace

absl::Status ChunkMissing(const ChunkId& id) {
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_MISSING", "chunk {} isn't in the repository", id.ToHex());
}

absl::StatusOr<std::shared_ptr<BlobReader>> PackCache::Open(uint32_t pack) {
  {
    absl::MutexLock lock(&mu_);
    for (Entry& entry : entries_) {
      if (entry.pack != pack) continue;
      entry.last_use = ++uses_;
      return entry.blob;
    }
  }
  ASSIGN_OR_RETURN(auto opened, store_.Open(PackName(index_.pack(pack).id)));
  std::shared_ptr<BlobReader> blob = std::move(opened);
  absl::MutexLock lock(&mu_);
  if (entries_.size() == kOpenPacksMax) {
    entries_.erase(std::ranges::min_element(entries_, {}, &Entry::last_use));
  }
  entries_.push_back({pack, ++uses_, blob});
  return blob;
}

const std::vector<FetchedChunk>& ChunkReader::Fetch(std::span<const ChunkLocation> locations) {
  results_.assign(locations.size(), {});
  order_.resize(locations.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(locations[a].pack, locations[a].offset) < std::pair(locations[b].pack, locations[b].offset);
  });
  std::vector<std::pair<size_t, size_t>> ranges;
  uint64_t total = 0;
  for (size_t first = 0; first < order_.size();) {
    size_t last = first + 1;
    while (last < order_.size() && Joins(locations[order_[last - 1]], locations[order_[last]])) ++last;
    ranges.emplace_back(first, last);
    total += EndOf(locations[order_[last - 1]]) - locations[order_[first]].offset;
    first = last;
  }
  if (buffer_.size() < total) buffer_.resize(total);
  uint64_t used = 0;
  for (const auto& [first, last] : ranges) {
    FetchRange(locations, first, last, buffer_.data() + used);
    used += EndOf(locations[order_[last - 1]]) - locations[order_[first]].offset;
  }
  return results_;
}

void ChunkReader::FetchRange(std::span<const ChunkLocation> locations, size_t first, size_t last, std::byte* buffer) {
  const ChunkLocation& start = locations[order_[first]];
  const uint64_t length = EndOf(locations[order_[last - 1]]) - start.offset;
  auto blob = packs_.Open(start.pack);
  const bool whole = blob.ok() && (*blob)->ReadAt(start.offset, {buffer, length}).ok();
  for (size_t i = first; i < last; ++i) {
    const ChunkLocation& at = locations[order_[i]];
    FetchedChunk& result = results_[order_[i]];
    const base::MutableBytes bytes(buffer + (at.offset - start.offset), at.stored_length);
    // A read that failed as a whole is tried again chunk by chunk, so that one bad sector costs one chunk.
    absl::Status read = blob.status();
    if (blob.ok() && !whole) read = (*blob)->ReadAt(at.offset, bytes);
    if (!read.ok()) {
      result.status = ReadFailure(read, at.pack, index_);
    } else if (CheckOf(HashOf(bytes)) != at.check) {
      result.status = base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "the bytes at {} of {} are wrong", at.offset,
                                  PackName(index_.pack(at.pack).id));
    } else {
      result.stored = bytes;
    }
  }
}

absl::StatusOr<base::Bytes> ChunkReader::FetchPlain(const ChunkId& id, uint32_t plain_length) {
  ASSIGN_OR_RETURN(const auto location, index_.Find(id));
  if (!location.has_value()) return ChunkMissing(id);
  const FetchedChunk& fetched = Fetch({&*location, 1})[0];
  base::Bytes plain;
  absl::Status status = fetched.status;
  if (status.ok()) status = OpenChunk(hasher_, id, location->codec, plain_length, fetched.stored, plain_, plain);
  if (status.ok()) return plain;
  if (base::ReasonOf(status) != "CHUNK_DAMAGED") return base::Annotate(status, "chunk {}", id.ToHex());
  index_.MarkDamaged(id, *location);
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "chunk {}: {}", id.ToHex(), base::MessageOf(status));
}

}  // namespace umbra::repo
