#include "storage/repo/pack.h"

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Few enough system calls, and small beside the chunks that are being worked on.
constexpr size_t kBufferSize = base::kMiB;

absl::Status Damaged(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "pack is damaged: {}", what);
}

}  // namespace

PackWriter::PackWriter(const PackHeader& header, std::unique_ptr<BlobWriter> blob)
    : header_(header), blob_(std::move(blob)), buffer_(EncodePackHeader(header)), size_(buffer_.size()) {
  buffer_.reserve(kBufferSize + kMaxChunkSizeBytes);
}

absl::StatusOr<std::unique_ptr<PackWriter>> PackWriter::Create(BlobStore& store, const PackHeader& header) {
  ASSIGN_OR_RETURN(auto blob, store.Create(PackName(header.pack)));
  return std::unique_ptr<PackWriter>(new PackWriter(header, std::move(blob)));
}

absl::Status PackWriter::Append(const ChunkId& id, Codec codec, uint32_t plain_length, base::Bytes stored,
                                const Hash& stored_hash) {
  PackSlot& slot = slots_.emplace_back();
  slot.id = id;
  slot.stored_hash = stored_hash;
  slot.offset = static_cast<uint32_t>(size_);
  slot.stored_length = static_cast<uint32_t>(stored.size());
  slot.plain_length = plain_length;
  slot.codec = codec;
  buffer_.append(base::AsText(stored));
  size_ += stored.size();
  return buffer_.size() >= kBufferSize ? Flush() : absl::OkStatus();
}

absl::Status PackWriter::Flush() {
  const absl::Status written = blob_->Append(base::AsBytes(buffer_));
  buffer_.clear();
  return written;
}

absl::StatusOr<IndexPack> PackWriter::Seal() {
  const std::string end = EncodePackEnd(EncodePackHeader(header_), slots_, size_);
  buffer_ += end;
  RETURN_IF_ERROR(Flush());
  RETURN_IF_ERROR(blob_->Commit());
  return IndexPack{header_.pack, size_ + end.size(), header_.create_time_us};
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
  contents.pack = {id, blob.size(), decoded.create_time_us};
  return contents;
}

}  // namespace umbra::repo
