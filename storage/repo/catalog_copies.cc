#include "storage/repo/catalog_copies.h"

#include <algorithm>
#include <array>
#include <set>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::repo {
namespace {

constexpr size_t kSuffixBytes = 4;

absl::Status Damaged(std::string_view what) {
  return base::Error(absl::StatusCode::kDataLoss, "CATALOG_COPY_DAMAGED", "the copy of the catalog is damaged: {}",
                     what);
}

absl::StatusOr<CatalogHeader> ReadHeader(BlobReader& blob) {
  if (blob.size() < kCatalogHeaderSize) return Damaged("it is too short");
  std::array<std::byte, kCatalogHeaderSize> bytes;
  RETURN_IF_ERROR(blob.ReadAt(0, bytes));
  return DecodeCatalogHeader(bytes);
}

// The segment at `position`, head and hash included. After the last one nothing may follow.
absl::StatusOr<std::string> ReadSegment(BlobReader& blob, uint64_t position, bool& last) {
  if (position + kCatalogSegmentHeadSize > blob.size()) return Damaged("it is cut short");
  std::array<std::byte, kCatalogSegmentHeadSize> bytes;
  RETURN_IF_ERROR(blob.ReadAt(position, bytes));
  ASSIGN_OR_RETURN(const SegmentHead head, DecodeSegmentHead(bytes));
  const uint64_t length = kCatalogSegmentHeadSize + head.stored_length + kCatalogSegmentHashSize;
  if (position + length > blob.size()) return Damaged("it is cut short");
  if (head.last && position + length != blob.size()) return Damaged("something follows its end");
  last = head.last;
  std::string segment(length, '\0');
  RETURN_IF_ERROR(blob.ReadAt(position, std::as_writable_bytes(std::span(segment.data(), segment.size()))));
  return segment;
}

int64_t DayOf(absl::Time time) {
  return absl::ToUnixSeconds(time) / absl::ToInt64Seconds(absl::Hours(24));
}

}  // namespace

// ---- Writing ----

CatalogCopyWriter::CatalogCopyWriter(std::unique_ptr<BlobWriter> blob, CatalogCopyInfo info, const Key& key)
    : blob_(std::move(blob)), info_(std::move(info)) {
  sealer_.SetKey(key);
  pending_.reserve(kCatalogSegmentSize);
}

absl::Status CatalogCopyWriter::WriteHeader(const CatalogHeader& header) {
  const std::string bytes = EncodeCatalogHeader(header);
  info_.stored_bytes += bytes.size();
  return blob_->Append(base::AsBytes(bytes));
}

absl::Status CatalogCopyWriter::WriteSegment(bool last) {
  const std::string segment = EncodeSegment(sealer_, segments_++, pending_, last, scratch_);
  pending_.clear();
  info_.stored_bytes += segment.size();
  return blob_->Append(base::AsBytes(segment));
}

absl::Status CatalogCopyWriter::Append(base::Bytes data) {
  while (!data.empty()) {
    if (pending_.size() == kCatalogSegmentSize) RETURN_IF_ERROR(WriteSegment(false));
    const base::Bytes part = data.first(std::min<size_t>(data.size(), kCatalogSegmentSize - pending_.size()));
    pending_.insert(pending_.end(), part.begin(), part.end());
    data = data.subspan(part.size());
  }
  return absl::OkStatus();
}

absl::StatusOr<CatalogCopyInfo> CatalogCopyWriter::Commit() {
  RETURN_IF_ERROR(WriteSegment(true));
  RETURN_IF_ERROR(blob_->Commit());
  return info_;
}

// ---- Reading ----

CatalogCopyReader::CatalogCopyReader(std::unique_ptr<BlobReader> blob, CatalogCopyInfo info, const Key& key)
    : blob_(std::move(blob)), info_(std::move(info)) {
  opener_.SetKey(key);
}

absl::StatusOr<std::string> CatalogCopyReader::Next() {
  std::string plain;
  while (plain.empty() && !ended_) {
    bool last = false;
    ASSIGN_OR_RETURN(const std::string segment, ReadSegment(*blob_, position_, last));
    ASSIGN_OR_RETURN(plain, OpenSegment(opener_, segments_, base::AsBytes(segment)));
    position_ += segment.size();
    ++segments_;
    ended_ = last;
  }
  return plain;
}

// ---- All of them ----

absl::StatusOr<std::vector<CatalogCopyInfo>> CatalogCopies::List() {
  ASSIGN_OR_RETURN(const auto names, store_.List(kCatalogPrefix));
  std::vector<CatalogCopyInfo> copies;
  for (const std::string& name : names) {
    CatalogCopyInfo info;
    info.id = CatalogCopyIdOf(name);
    if (!ParseCatalogCopyId(info.id, info.sequence)) continue;
    const auto blob = store_.Open(name);
    if (absl::IsNotFound(blob.status())) continue;  // forgotten meanwhile
    info.damaged = true;
    if (blob.ok()) {
      info.stored_bytes = (*blob)->size();
      const auto header = ReadHeader(**blob);
      info.damaged = !header.ok();
      if (header.ok()) info.create_time = absl::FromUnixMicros(header->create_time_us);
    }
    copies.push_back(std::move(info));
  }
  std::ranges::sort(copies, [](const auto& a, const auto& b) { return a.id > b.id; });
  return copies;
}

absl::StatusOr<std::unique_ptr<CatalogCopyWriter>> CatalogCopies::Begin() {
  ASSIGN_OR_RETURN(const auto copies, List());
  CatalogCopyInfo info;
  info.sequence = copies.empty() ? 1 : copies.front().sequence + 1;
  info.id = CatalogCopyId(info.sequence, random_.Hex(kSuffixBytes));
  const int64_t now_us = absl::ToUnixMicros(clock_.Now());
  info.create_time = absl::FromUnixMicros(now_us);
  const KeyedCatalog copy = NewCatalogCopy(keys_, random_, repository_, info.sequence, now_us);
  ASSIGN_OR_RETURN(auto blob, store_.Create(CatalogName(info.id)));
  auto writer = std::make_unique<CatalogCopyWriter>(std::move(blob), std::move(info), copy.key);
  RETURN_IF_ERROR(writer->WriteHeader(copy.header));
  return writer;
}

absl::StatusOr<std::unique_ptr<CatalogCopyReader>> CatalogCopies::Open(const std::string& id) {
  CatalogCopyInfo info;
  info.id = id;
  const auto none = [&] {
    return base::Error(absl::StatusCode::kNotFound, "CATALOG_COPY_NOT_FOUND", "there is no copy {} of the catalog", id);
  };
  if (!ParseCatalogCopyId(id, info.sequence)) return none();
  auto blob = store_.Open(CatalogName(id));
  if (absl::IsNotFound(blob.status())) return none();
  RETURN_IF_ERROR(blob.status());
  ASSIGN_OR_RETURN(const CatalogHeader header, ReadHeader(**blob));
  if (header.repository != repository_ || header.sequence != info.sequence) return Damaged("it is another one");
  ASSIGN_OR_RETURN(const Key key, KeyOfCatalog(keys_, header));
  info.stored_bytes = (*blob)->size();
  info.create_time = absl::FromUnixMicros(header.create_time_us);
  return std::make_unique<CatalogCopyReader>(*std::move(blob), std::move(info), key);
}

absl::Status CatalogCopies::Thin() {
  ASSIGN_OR_RETURN(const auto copies, List());
  absl::Status status;
  for (const std::string& id : CopiesToForget(copies)) {
    const absl::Status deleted = store_.Delete(CatalogName(id));
    if (!absl::IsNotFound(deleted)) status.Update(deleted);
  }
  return status;
}

std::vector<std::string> CopiesToForget(const std::vector<CatalogCopyInfo>& copies) {
  std::vector<std::string> forget;
  std::set<int64_t> days;
  size_t sound = 0;
  for (const CatalogCopyInfo& copy : copies) {
    const bool new_day = !copy.damaged && !days.contains(DayOf(copy.create_time)) && days.size() < kCatalogDaysKept;
    if (sound >= kCatalogCopiesKept && !new_day) forget.push_back(copy.id);
    if (copy.damaged) continue;
    ++sound;
    if (new_day) days.insert(DayOf(copy.create_time));
  }
  return forget;
}

absl::Status CheckStoredCatalogCopy(BlobStore& store, const std::string& name) {
  ASSIGN_OR_RETURN(const auto blob, store.Open(name));
  RETURN_IF_ERROR(ReadHeader(*blob).status());
  bool last = false;
  for (uint64_t position = kCatalogHeaderSize; !last;) {
    ASSIGN_OR_RETURN(const std::string segment, ReadSegment(*blob, position, last));
    RETURN_IF_ERROR(CheckSegment(base::AsBytes(segment)));
    position += segment.size();
  }
  return absl::OkStatus();
}

}  // namespace umbra::repo
