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

bool SamePlace(const ChunkLocation& a, const ChunkLocation& b) {
  return a.pack == b.pack && a.offset == b.offset && a.stored_length == b.stored_length &&
         a.plain_length == b.plain_length && a.codec == b.codec;
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
  return absl::IsDataLoss(status) ? base::Annotate(status, "{}", pack) : status;
}

absl::Status BytesWrong(const ChunkLocation& at, const ChunkIndex& index) {
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "the bytes at {} of {} are wrong", at.offset,
                     PackName(index.pack(at.pack).id));
}

}  // namespace

absl::Status ChunkMissing(const ChunkId& id) {
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_MISSING", "chunk {} isn't in the repository", id.ToHex());
}

// One bad sector at the beginning must not cost 32 MiB: the copy will do.
absl::StatusOr<Key> PackCache::ReadKey(BlobReader& blob, const PackId& id) const {
  auto key = ReadKeyAt(0, blob, id);
  if (key.ok() || blob.size() < 2 * kPackHeaderSize + kPackTrailerSize) return key;
  auto from_copy = ReadKeyAt(blob.size() - kPackTrailerSize - kPackHeaderSize, blob, id);
  return from_copy.ok() ? from_copy : key;
}

absl::StatusOr<Key> PackCache::ReadKeyAt(uint64_t offset, BlobReader& blob, const PackId& id) const {
  std::array<std::byte, kPackHeaderSize> bytes;
  RETURN_IF_ERROR(blob.ReadAt(offset, bytes));
  ASSIGN_OR_RETURN(const PackHeader header, DecodePackHeader(bytes));
  if (header.pack != id || header.repository != repository_) {
    return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "it is another pack than its name says");
  }
  return KeyOfPack(keys_, header);
}

absl::StatusOr<std::shared_ptr<BlobReader>> PackCache::Open(uint32_t pack) {
  ASSIGN_OR_RETURN(auto open, OpenKeyed(pack));
  return std::shared_ptr<BlobReader>(open, open->blob.get());
}

absl::StatusOr<std::shared_ptr<const OpenPack>> PackCache::OpenKeyed(uint32_t pack) {
  {
    absl::MutexLock lock(&mu_);
    for (Entry& entry : entries_) {
      if (entry.pack != pack) continue;
      entry.last_use = ++uses_;
      return entry.open;
    }
  }
  const PackId id = index_.pack(pack).id;
  ASSIGN_OR_RETURN(auto blob, store_.Open(PackName(id)));
  absl::StatusOr<Key> key = ReadKey(*blob, id);
  // A read that failed may work the next time; so might the rest of the pack already.
  const bool keep = key.ok() || absl::IsDataLoss(key.status());
  const auto open = std::make_shared<const OpenPack>(OpenPack{std::move(blob), std::move(key)});
  if (!keep) return open;
  absl::MutexLock lock(&mu_);
  if (index_.StateOf(pack) == PackState::kSwept) return open;  // Forget was here already
  if (entries_.size() == kOpenPacksMax) {
    entries_.erase(std::ranges::min_element(entries_, {}, &Entry::last_use));
  }
  entries_.push_back({pack, ++uses_, open});
  return open;
}

void PackCache::Forget(uint32_t pack) {
  absl::MutexLock lock(&mu_);
  std::erase_if(entries_, [&](const Entry& entry) { return entry.pack == pack; });
}

bool WasMoved(const ChunkIndex& index, const ChunkLocation& location, const absl::Status& status) {
  return base::ReasonOf(status) == "CHUNK_MISSING" && index.StateOf(location.pack) == PackState::kSwept;
}

const std::vector<FetchedChunk>& ChunkReader::Fetch(std::span<const ChunkId> ids,
                                                    std::span<const ChunkLocation> locations) {
  UMBRA_CHECK(ids.size() == locations.size());
  results_.assign(locations.size(), {});
  order_.resize(locations.size());
  std::iota(order_.begin(), order_.end(), 0);
  std::sort(order_.begin(), order_.end(), [&](uint32_t a, uint32_t b) {
    return std::pair(locations[a].pack, locations[a].offset) < std::pair(locations[b].pack, locations[b].offset);
  });
  std::vector<Range> ranges;
  uint64_t total = 0;
  for (size_t first = 0; first < order_.size();) {
    size_t last = first + 1;
    uint64_t end = EndOf(locations[order_[first]]);  // of all: a footer that lies may let one chunk reach over others
    for (; last < order_.size() && Joins(locations[order_[last - 1]], locations[order_[last]]); ++last) {
      end = std::max(end, EndOf(locations[order_[last]]));
    }
    ranges.push_back({first, last, end - locations[order_[first]].offset});
    total += ranges.back().length;
    first = last;
  }
  if (buffer_.size() < total) buffer_.resize(total);
  uint64_t used = 0;
  for (const Range& range : ranges) {
    FetchRange(ids, locations, range, buffer_.data() + used);
    used += range.length;
  }
  return results_;
}

void ChunkReader::FetchRange(std::span<const ChunkId> ids, std::span<const ChunkLocation> locations, const Range& range,
                             std::byte* buffer) {
  const ChunkLocation& start = locations[order_[range.first]];
  const auto pack = packs_.OpenKeyed(start.pack);
  BlobReader* const blob = pack.ok() ? (*pack)->blob.get() : nullptr;
  const bool keyed = pack.ok() && (*pack)->key.ok();
  // Without the key the bytes are of no use.
  const bool whole = keyed && blob->ReadAt(start.offset, {buffer, range.length}).ok();
  if (keyed) opener_.SetKey(*(*pack)->key);
  uint64_t end = 0;  // of what was decrypted, in place, so far
  for (size_t i = range.first; i < range.last; ++i) {
    const ChunkLocation& at = locations[order_[i]];
    FetchedChunk& result = results_[order_[i]];
    const base::MutableBytes bytes(buffer + (at.offset - start.offset), at.stored_length);
    if (keyed && at.offset < end) {
      // The same chunk again, or the lie of a footer.
      const bool again = SamePlace(locations[order_[i - 1]], at) && ids[order_[i - 1]] == ids[order_[i]];
      if (again) result = results_[order_[i - 1]];
      if (!again) result.status = BytesWrong(at, index_);
      continue;
    }
    // A read that failed as a whole is tried again chunk by chunk, so that one bad sector costs one chunk.
    absl::Status read = pack.status();
    if (read.ok() && !keyed) read = (*pack)->key.status();
    if (keyed && !whole) read = blob->ReadAt(at.offset, bytes);
    if (!read.ok()) {
      result.status = ReadFailure(read, at.pack, index_);
    } else if (opener_.Open(at.offset, AadOf(ids[order_[i]], at.plain_length, at.codec), bytes, bytes.data())) {
      result.stored = bytes.first(bytes.size() - kTagSize);
    } else {
      result.status = BytesWrong(at, index_);
    }
    end = EndOf(at);
  }
}

absl::StatusOr<base::Bytes> ChunkReader::FetchPlain(const ChunkId& id, uint32_t plain_length) {
  ASSIGN_OR_RETURN(const auto location, index_.Find(id));
  if (!location.has_value()) return ChunkMissing(id);
  const FetchedChunk& fetched = Fetch({&id, 1}, {&*location, 1})[0];
  if (WasMoved(index_, *location, fetched.status)) return FetchPlain(id, plain_length);
  base::Bytes plain;
  absl::Status status = fetched.status;
  if (status.ok()) status = OpenChunk(hasher_, id, location->codec, plain_length, fetched.stored, plain_, plain);
  if (status.ok()) return plain;
  if (base::ReasonOf(status) != "CHUNK_DAMAGED") return base::Annotate(status, "chunk {}", id.ToHex());
  index_.MarkDamaged(id, *location);
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "chunk {}: {}", id.ToHex(), base::MessageOf(status));
}

absl::Status CopyChunk(ChunkReader& reader, const ChunkId& id, const ChunkLocation& from, const ChunkHasher* hasher,
                       PackWriter& to) {
  const FetchedChunk& fetched = reader.Fetch({&id, 1}, {&from, 1})[0];
  RETURN_IF_ERROR(fetched.status);
  if (hasher != nullptr) {
    thread_local std::vector<std::byte> scratch;
    base::Bytes plain;
    const absl::Status opened = OpenChunk(*hasher, id, from.codec, from.plain_length, fetched.stored, scratch, plain);
    if (!opened.ok()) return base::MakeError(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", base::MessageOf(opened));
  }
  return to.Append(id, from.codec, from.plain_length, fetched.stored);
}

}  // namespace umbra::repo
