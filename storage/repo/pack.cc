#include "storage/repo/pack.h"

#include <algorithm>
#include <cstring>

#include "storage/base/status.h"

namespace umbra::repo {
namespace {

// Few enough system calls, and small beside the chunks that are being worked on. A multiple of base::kDirectAlignment,
// so that every flush but the last is aligned.
constexpr size_t kBufferSize = base::kMiB;

absl::Status Damaged(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "CHUNK_DAMAGED", "pack is damaged: {}", what);
}

}  // namespace

PackWriter::PackWriter(const KeyedPack& pack, std::unique_ptr<BlobWriter> blob)
    : header_(pack.header), blob_(std::move(blob)), behind_(*blob_), buffer_(kBufferSize) {
  sealer_.SetKey(pack.key);
}

absl::StatusOr<std::unique_ptr<PackWriter>> PackWriter::Create(BlobStore& store, const KeyedPack& pack) {
  ASSIGN_OR_RETURN(auto blob, store.Create(PackName(pack.header.pack)));
  std::unique_ptr<PackWriter> writer(new PackWriter(pack, std::move(blob)));
  RETURN_IF_ERROR(writer->Add(base::AsBytes(EncodePackHeader(pack.header))));
  return writer;
}

absl::Status PackWriter::Append(const ChunkId& id, Codec codec, uint32_t plain_length, base::Bytes data) {
  sealed_.resize(data.size() + kTagSize);
  sealer_.Seal(size_, AadOf(id, plain_length, codec), data, sealed_.data());
  PackSlot& slot = slots_.emplace_back();
  slot.id = id;
  slot.stored_hash = HashOf(sealed_);
  slot.offset = static_cast<uint32_t>(size_);
  slot.stored_length = static_cast<uint32_t>(sealed_.size());
  slot.plain_length = plain_length;
  slot.codec = codec;
  return Add(sealed_);
}

absl::Status PackWriter::Add(base::Bytes data) {
  size_ += data.size();
  while (!data.empty()) {
    const base::Bytes part = data.first(std::min(data.size(), buffer_.size() - buffered_));
    std::memcpy(buffer_.data() + buffered_, part.data(), part.size());
    buffered_ += part.size();
    data = data.subspan(part.size());
    if (buffered_ < buffer_.size()) break;
    buffered_ = 0;  // also after an error, with which the pack is lost anyway: there must be room to add to
    RETURN_IF_ERROR(behind_.Write(buffer_));
  }
  return absl::OkStatus();
}

absl::StatusOr<IndexPack> PackWriter::Seal() {
  RETURN_IF_ERROR(Add(base::AsBytes(EncodePackEnd(EncodePackHeader(header_), slots_, size_))));
  // What is aligned goes as the rest of the pack went, the last bytes alone.
  RETURN_IF_ERROR(behind_.Drain());
  const size_t aligned = buffered_ / base::kDirectAlignment * base::kDirectAlignment;
  const base::Bytes rest{buffer_.data(), buffered_};
  if (aligned > 0) RETURN_IF_ERROR(blob_->Append(rest.first(aligned)));
  if (aligned < rest.size()) RETURN_IF_ERROR(blob_->Append(rest.subspan(aligned)));
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
