#include "storage/repo/index_run.h"

#include <algorithm>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

constexpr uint64_t kBlocksPerWrite = 256;
constexpr uint64_t kBlocksPerRead = 256;
// 10 bits and 6 probes inside one cache line: about 1 % of the look-ups of absent ids read a block for nothing.
constexpr uint64_t kFilterBitsPerEntry = 10;
constexpr uint64_t kFilterGroupBits = 512;
constexpr int kFilterProbes = 6;

absl::Status Damaged(const std::string& name) {
  return base::Error(absl::StatusCode::kDataLoss, "INDEX_DAMAGED",
                     "index run {} is damaged; opening the repository again rebuilds it", name);
}

uint64_t PrefixOf(const ChunkId& id) {
  uint64_t prefix = 0;
  for (int i = 0; i < 8; ++i) prefix = prefix << 8 | std::to_integer<uint64_t>(id.bytes[i]);
  return prefix;
}

// Ids are uniform, so that their own bytes serve as independent hashes.
uint64_t Word(const ChunkId& id, size_t position) {
  uint64_t word;
  std::memcpy(&word, id.bytes.data() + position, sizeof word);
  return word;
}

// First word of the filter group of `id`.
size_t GroupOf(const ChunkId& id, size_t words) { return Word(id, 8) % (words / 8) * 8; }

}  // namespace

absl::Status IndexRunWriter::Append(const IndexEntry& entry) {
  block_.push_back(entry);
  ++entry_count_;
  return block_.size() == kIndexBlockEntries ? FlushBlock() : absl::OkStatus();
}

absl::Status IndexRunWriter::FlushBlock() {
  buffer_ += EncodeIndexBlock(block_);
  block_.clear();
  if (buffer_.size() < kBlocksPerWrite * kIndexBlockSize) return absl::OkStatus();
  const absl::Status written = blob_->Append(base::AsBytes(buffer_));
  buffer_.clear();
  return written;
}

absl::Status IndexRunWriter::Finish(const std::vector<IndexPack>& packs) {
  if (!block_.empty()) RETURN_IF_ERROR(FlushBlock());
  buffer_ += EncodeIndexEnd(packs, repository_, {entry_count_, packs.size(), sequence_});
  RETURN_IF_ERROR(blob_->Append(base::AsBytes(buffer_)));
  return blob_->Commit();
}

absl::StatusOr<std::shared_ptr<const IndexRun>> IndexRun::Load(BlobStore& store, const std::string& name,
                                                               const RawUuid& repository) {
  std::shared_ptr<IndexRun> run(new IndexRun);
  run->name_ = name;
  ASSIGN_OR_RETURN(run->blob_, store.Open(name));
  const uint64_t size = run->blob_->size();
  if (size < kIndexTrailerSize) return Damaged(name);
  std::vector<std::byte> trailer(kIndexTrailerSize);
  RETURN_IF_ERROR(run->blob_->ReadAt(size - kIndexTrailerSize, trailer));
  ASSIGN_OR_RETURN(run->trailer_, DecodeIndexTrailer(trailer, repository, size));
  std::vector<std::byte> table(run->trailer_.pack_count * kIndexPackSize);
  RETURN_IF_ERROR(run->blob_->ReadAt(size - kIndexTrailerSize - table.size(), table));
  ASSIGN_OR_RETURN(run->packs_, DecodeIndexPacks(table, trailer));
  RETURN_IF_ERROR(run->LoadEntries());
  return run;
}

absl::Status IndexRun::LoadEntries() {
  const uint64_t groups = trailer_.entry_count * kFilterBitsPerEntry / kFilterGroupBits + 1;
  filter_.resize(groups * kFilterGroupBits / 64);
  const uint64_t blocks = (trailer_.entry_count + kIndexBlockEntries - 1) / kIndexBlockEntries;
  fences_.resize(blocks);
  ChunkId last;
  for (uint64_t block = 0; block < blocks; block += kBlocksPerRead) {
    ASSIGN_OR_RETURN(const auto entries, ReadEntries(block, std::min(kBlocksPerRead, blocks - block)));
    for (size_t i = 0; i < entries.size(); ++i) {
      const IndexEntry& entry = entries[i];
      if (entry.id <= last || entry.pack >= packs_.size() || !ToCodec(static_cast<uint32_t>(entry.codec))) return Damaged(name_);
      if (i % kIndexBlockEntries == 0) fences_[block + i / kIndexBlockEntries] = PrefixOf(entry.id);
      AddToFilter(entry.id);
      plain_bytes_ += entry.plain_length;
      last = entry.id;
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<IndexEntry>> IndexRun::ReadEntries(uint64_t first_block, uint64_t count) const {
  std::vector<std::byte> raw(count * kIndexBlockSize);
  RETURN_IF_ERROR(blob_->ReadAt(first_block * kIndexBlockSize, raw));
  std::vector<IndexEntry> entries;
  entries.reserve(count * kIndexBlockEntries);
  for (uint64_t block = 0; block < count; ++block) {
    const base::Bytes bytes = base::Bytes(raw).subspan(block * kIndexBlockSize, kIndexBlockSize);
    if (!IndexBlockIsIntact(bytes)) return Damaged(name_);
    const uint64_t before = (first_block + block) * kIndexBlockEntries;
    const size_t used = std::min<uint64_t>(kIndexBlockEntries, trailer_.entry_count - before);
    for (size_t i = 0; i < used; ++i) entries.push_back(DecodeIndexEntry(bytes, i));
  }
  return entries;
}

absl::StatusOr<std::optional<IndexEntry>> IndexRun::Find(const ChunkId& id) const {
  if (!MayHave(id)) return std::nullopt;
  const uint64_t prefix = PrefixOf(id);
  // Blocks whose first id has the same 8 bytes, and the one before, may have it: nearly always that is one block.
  auto fence = std::lower_bound(fences_.begin(), fences_.end(), prefix);
  if (fence != fences_.begin()) --fence;
  for (; fence != fences_.end() && *fence <= prefix; ++fence) {
    const auto block = static_cast<uint64_t>(fence - fences_.begin());
    std::array<std::byte, kIndexBlockSize> raw;
    RETURN_IF_ERROR(blob_->ReadAt(block * kIndexBlockSize, raw));
    if (!IndexBlockIsIntact(raw)) return Damaged(name_);
    size_t low = 0;
    size_t high = std::min<uint64_t>(kIndexBlockEntries, trailer_.entry_count - block * kIndexBlockEntries);
    while (low < high) {
      const size_t middle = (low + high) / 2;
      const int order = std::memcmp(raw.data() + middle * kIndexEntrySize, id.bytes.data(), kChunkIdSize);
      if (order == 0) return DecodeIndexEntry(raw, middle);
      (order < 0 ? low : high) = order < 0 ? middle + 1 : middle;
    }
  }
  return std::nullopt;
}

void IndexRun::AddToFilter(const ChunkId& id) {
  uint64_t* group = &filter_[GroupOf(id, filter_.size())];
  uint64_t probes = Word(id, 16);
  for (int i = 0; i < kFilterProbes; ++i, probes >>= 9) group[(probes & 511) / 64] |= uint64_t{1} << (probes & 63);
}

bool IndexRun::MayHave(const ChunkId& id) const {
  const uint64_t* group = &filter_[GroupOf(id, filter_.size())];
  uint64_t probes = Word(id, 16);
  for (int i = 0; i < kFilterProbes; ++i, probes >>= 9) {
    if ((group[(probes & 511) / 64] & uint64_t{1} << (probes & 63)) == 0) return false;
  }
  return true;
}

}  // namespace umbra::repo
