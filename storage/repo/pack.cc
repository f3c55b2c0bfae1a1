#include "storage/repo/pack.h"

#include <algorithm>
#include <cstring>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Few enough system calls, and small beside the chunks that are being worked on. A multiple of base::kDirectAlignment,
// so that every flush but the last is aligned.
constexpr size_t kBufferSize = base::kMiB;
// Buffers that aren't handed on before those who fill them wait. One that somebody is slow to fill holds up all behind
// it; these go on meanwhile.
constexpr size_t kBuffersMax = 4;

absl::Status Damaged(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "pack is damaged: {}", what);
}

}  // namespace

PackWriter::PackWriter(const KeyedPack& pack, std::unique_ptr<BlobWriter> blob)
    : header_(pack.header), key_(pack.key), blob_(std::move(blob)), behind_(*blob_) {}

absl::StatusOr<std::unique_ptr<PackWriter>> PackWriter::Create(BlobStore& store, const KeyedPack& pack) {
  ASSIGN_OR_RETURN(auto blob, store.Create(PackName(pack.header.pack)));
  std::unique_ptr<PackWriter> writer(new PackWriter(pack, std::move(blob)));
  RETURN_IF_ERROR(writer->Add(base::AsBytes(EncodePackHeader(pack.header))));
  return writer;
}

uint64_t PackWriter::size_bytes() const {
  absl::MutexLock lock(&mu_);
  return size_;
}

PackWriter::Place PackWriter::Reserve(const ChunkId& id, Codec codec, uint32_t plain_length, size_t size) {
  absl::MutexLock lock(&mu_);
  PackSlot& slot = slots_.emplace_back();
  slot.id = id;
  slot.stored_length = static_cast<uint32_t>(size + kTagSize);
  slot.offset = static_cast<uint32_t>(ReserveLocked(slot.stored_length));
  slot.plain_length = plain_length;
  slot.codec = codec;
  ++filling_;
  return {slots_.size() - 1, slot};
}

absl::Status PackWriter::Fill(const Place& place, base::Bytes data) {
  const PackSlot& slot = place.slot;
  UMBRA_CHECK(data.size() + kTagSize == slot.stored_length);
  std::unique_ptr<Lane> lane = TakeLane();
  Parts parts;
  {
    absl::MutexLock lock(&mu_);
    parts = PartsLocked(slot.offset, slot.stored_length);
  }
  if (parts.size() > 1) lane->sealed.resize(slot.stored_length);
  std::byte* const out = parts.size() > 1 ? lane->sealed.data() : parts[0].data();
  lane->sealer.Seal(slot.offset, AadOf(slot.id, slot.plain_length, slot.codec), data, out);
  const base::Bytes sealed(out, slot.stored_length);
  const Hash hash = HashOf(sealed);
  if (parts.size() > 1) {
    const std::byte* from = out;
    for (const base::MutableBytes part : parts) {
      std::memcpy(part.data(), from, part.size());
      from += part.size();
    }
  }

  absl::MutexLock lock(&mu_);
  lanes_.push_back(std::move(lane));
  slots_[place.index].stored_hash = hash;
  CountLocked(slot.offset, slot.stored_length);
  FlushLocked();
  const auto has_room = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return buffers_.size() <= kBuffersMax || !failure_.ok();
  };
  mu_.Await(absl::Condition(&has_room));
  --filling_;
  return failure_;
}

std::unique_ptr<PackWriter::Lane> PackWriter::TakeLane() {
  {
    absl::MutexLock lock(&mu_);
    if (!lanes_.empty()) {
      std::unique_ptr<Lane> lane = std::move(lanes_.back());
      lanes_.pop_back();
      return lane;
    }
  }
  auto lane = std::make_unique<Lane>();
  lane->sealer.SetKey(key_);
  return lane;
}

uint64_t PackWriter::ReserveLocked(size_t size) {
  const uint64_t offset = size_;
  size_ += size;
  while (flushed_ + buffers_.size() * kBufferSize < size_) {
    Buffer& buffer = buffers_.emplace_back();
    if (free_.empty()) {
      buffer.memory = base::AlignedBuffer(kBufferSize);
    } else {
      buffer.memory = std::move(free_.back());
      free_.pop_back();
    }
  }
  return offset;
}

PackWriter::Parts PackWriter::PartsLocked(uint64_t offset, size_t size) {
  Parts parts;
  for (const uint64_t end = offset + size; offset < end;) {
    const uint64_t in_buffers = offset - flushed_;
    const base::MutableBytes memory = buffers_[in_buffers / kBufferSize].memory.bytes();
    const size_t begin = in_buffers % kBufferSize;
    parts.push_back(memory.subspan(begin, std::min<uint64_t>(kBufferSize - begin, end - offset)));
    offset += parts.back().size();
  }
  return parts;
}

void PackWriter::CountLocked(uint64_t offset, size_t size) {
  for (const uint64_t end = offset + size; offset < end;) {
    const uint64_t in_buffers = offset - flushed_;
    const size_t part = std::min<uint64_t>(kBufferSize - in_buffers % kBufferSize, end - offset);
    buffers_[in_buffers / kBufferSize].filled += part;
    offset += part;
  }
}

void PackWriter::FlushLocked() {
  if (flushing_) return;
  flushing_ = true;
  while (!buffers_.empty() && buffers_.front().filled == kBufferSize) {
    base::AlignedBuffer memory = std::move(buffers_.front().memory);
    buffers_.pop_front();
    flushed_ += kBufferSize;
    if (failure_.ok()) {
      mu_.Unlock();
      const absl::Status written = behind_.Write(memory);
      mu_.Lock();
      if (!written.ok() && failure_.ok()) failure_ = written;
    }
    free_.push_back(std::move(memory));
  }
  flushing_ = false;
}

absl::Status PackWriter::Add(base::Bytes data) {
  absl::MutexLock lock(&mu_);
  const uint64_t offset = ReserveLocked(data.size());
  for (const base::MutableBytes part : PartsLocked(offset, data.size())) {
    std::memcpy(part.data(), data.data(), part.size());
    data = data.subspan(part.size());
  }
  CountLocked(offset, size_ - offset);
  FlushLocked();
  return failure_;
}

absl::StatusOr<IndexPack> PackWriter::Seal() {
  std::string end;
  {
    absl::MutexLock lock(&mu_);
    const auto filled = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return filling_ == 0; };
    mu_.Await(absl::Condition(&filled));
    RETURN_IF_ERROR(failure_);
    free_.clear();  // the sync takes a while, and the next pack has buffers of its own
    end = EncodePackEnd(EncodePackHeader(header_), slots_, size_);
  }
  RETURN_IF_ERROR(Add(base::AsBytes(end)));
  RETURN_IF_ERROR(behind_.Drain());
  absl::MutexLock lock(&mu_);
  // What is aligned goes as the rest of the pack went, the last bytes alone.
  if (!buffers_.empty()) {
    const base::Bytes rest = base::Bytes(buffers_.front().memory.bytes()).first(buffers_.front().filled);
    const size_t aligned = rest.size() / base::kDirectAlignment * base::kDirectAlignment;
    if (aligned > 0) RETURN_IF_ERROR(blob_->Append(rest.first(aligned)));
    if (aligned < rest.size()) RETURN_IF_ERROR(blob_->Append(rest.subspan(aligned)));
  }
  RETURN_IF_ERROR(blob_->Commit());
  return IndexPack{header_.pack, size_, header_.create_time_us};
}

absl::StatusOr<PackContents> ReadPackContents(BlobReader& blob, const PackId& id, const RawUuid& repository) {
  if (blob.size() < kPackHeaderSize + kPackTrailerSize) return Damaged("it is shorter than a header and a trailer");
  std::vector<std::byte> header(kPackHeaderSize);
  RETURN_IF_ERROR(blob.ReadAt(0, header));
  ASSIGN_OR_RETURN(const PackHeader decoded, DecodePackHeader(header));
  if (decoded.pack != id || decoded.repository != repository) return Damaged("it is another pack than its name says");
  std::vector<std::byte> trailer(kPackTrailerSize);
  RETURN_IF_ERROR(blob.ReadAt(blob.size() - kPackTrailerSize, trailer));
  ASSIGN_OR_RETURN(const PackTrailer end, DecodePackTrailer(trailer, blob.size()));
  std::vector<std::byte> footer(end.footer_length);
  RETURN_IF_ERROR(blob.ReadAt(end.footer_offset, footer));
  PackContents contents;
  ASSIGN_OR_RETURN(contents.slots, DecodePackFooter(header, footer, trailer));
  contents.header = decoded;
  contents.pack = {id, blob.size(), decoded.create_time_us};
  return contents;
}

}  // namespace umbra::repo
