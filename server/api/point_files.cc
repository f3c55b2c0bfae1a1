#include "server/api/point_files.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "server/api/names.h"
#include "server/api/paging.h"
#include "storage/base/status.h"
#include "storage/base/utf8.h"
#include "storage/filetree/file_tree.h"
#include "storage/filetree/subject.h"

namespace umbra::api {
namespace {

using filetree::Entry;

constexpr uint64_t kReadBytes = 256 * base::kKiB;  // of stored chunks, at a time
constexpr int64_t kNanosecondsPerSecond = 1'000'000'000;

// A window of the tree's bytes that moves forward.
class TreeWindow {
 public:
  TreeWindow(const repo::ChunkHasher& hasher, uint64_t chunk_bytes, std::unique_ptr<repo::DiskReader> reader)
      : hasher_(hasher), chunk_bytes_(chunk_bytes), reader_(std::move(reader)) {}

  uint64_t tree_bytes() const { return reader_->capacity_bytes(); }
  uint64_t begin() const { return begin_; }
  base::Bytes bytes() const { return base::AsBytes(bytes_); }

  // Begins at the chunk that holds `offset`.
  absl::Status Open(uint64_t offset) {
    bytes_.clear();
    begin_ = offset / chunk_bytes_ * chunk_bytes_;
    RETURN_IF_ERROR(reader_->Seek(offset / chunk_bytes_));
    return Extend();
  }

  // Adds more; OUT_OF_RANGE when there is no more.
  absl::Status Extend() {
    const uint64_t end = begin_ + bytes_.size();
    if (end >= tree_bytes()) return absl::OutOfRangeError("the tree ends");
    ASSIGN_OR_RETURN(const std::vector<repo::DiskChunk> chunks, reader_->Next(kReadBytes));
    // Zero chunks aren't returned; the position tells how far it got.
    const uint64_t position = chunks.empty() ? tree_bytes() : reader_->position_bytes();
    bytes_.resize(static_cast<size_t>(std::min(position, tree_bytes()) - begin_), '\0');
    std::vector<std::byte> scratch;
    for (const repo::DiskChunk& at : chunks) {
      base::Bytes plain;
      RETURN_IF_ERROR(repo::OpenChunk(hasher_, at.chunk.id, at.chunk.codec, at.chunk.plain_length,
                                      base::Bytes(at.chunk.data), scratch, plain));
      std::memcpy(bytes_.data() + (at.offset_bytes - begin_), plain.data(), plain.size());
    }
    return absl::OkStatus();
  }

 private:
  const repo::ChunkHasher& hasher_;
  const uint64_t chunk_bytes_;
  const std::unique_ptr<repo::DiskReader> reader_;
  uint64_t begin_ = 0;
  std::string bytes_;
};

v1::RecoveryPointFile::Type TypeOf(const Entry& entry) {
  switch (entry.type()) {
    case Entry::TYPE_FILE:
      return v1::RecoveryPointFile::TYPE_FILE;
    case Entry::TYPE_FOLDER:
      return v1::RecoveryPointFile::TYPE_FOLDER;
    case Entry::TYPE_SYMLINK:
      return v1::RecoveryPointFile::TYPE_SYMLINK;
    case Entry::TYPE_HARD_LINK:
      return v1::RecoveryPointFile::TYPE_HARD_LINK;
    default:
      return v1::RecoveryPointFile::TYPE_UNSPECIFIED;
  }
}

void ToProto(const Entry& entry, v1::RecoveryPointFile* out) {
  out->set_path("/" + base::ValidUtf8(entry.path()));
  out->set_type(TypeOf(entry));
  out->set_size_bytes(static_cast<int64_t>(entry.size_bytes()));
  out->set_mode(entry.mode());
  out->set_uid(entry.uid());
  out->set_gid(entry.gid());
  int64_t seconds = entry.modify_time_ns() / kNanosecondsPerSecond;
  int64_t rest = entry.modify_time_ns() % kNanosecondsPerSecond;
  if (rest < 0) {
    rest += kNanosecondsPerSecond;
    --seconds;
  }
  out->mutable_modify_time()->set_seconds(seconds);
  out->mutable_modify_time()->set_nanos(static_cast<int32_t>(rest));
  const std::string target = base::ValidUtf8(entry.link_target());
  out->set_link_target(entry.type() == Entry::TYPE_HARD_LINK ? "/" + target : target);
}

struct Place {
  uint64_t offset = filetree::kHeaderBytes;
  uint64_t position = 0;
};

std::string KeyOf(const Place& place) { return fmt::format("{} {}", place.offset, place.position); }

std::optional<Place> ParsePlace(std::string_view text) {
  Place place;
  const char* const end = text.data() + text.size();
  const auto offset = std::from_chars(text.data(), end, place.offset);
  if (offset.ec != std::errc() || offset.ptr == end || *offset.ptr != ' ') return std::nullopt;
  const auto position = std::from_chars(offset.ptr + 1, end, place.position);
  if (position.ec != std::errc() || position.ptr != end) return std::nullopt;
  return place;
}

absl::StatusOr<Entry> NextEntry(filetree::ListReader& reader, TreeWindow& window) {
  while (true) {
    absl::StatusOr<Entry> entry = reader.Next(window.bytes(), window.begin());
    if (!absl::IsOutOfRange(entry.status())) return entry;
    if (const absl::Status more = window.Extend(); !more.ok()) {
      if (!absl::IsOutOfRange(more)) return more;
      return base::MakeError(absl::StatusCode::kDataLoss, "FILE_TREE_DAMAGED", "the list of files ends too early");
    }
  }
}

}  // namespace

absl::Status ListPointFiles(const catalog::RecoveryPoint& point, repo::Repository& repository,
                            const v1::ListRecoveryPointFilesRequest& request, v1::ListRecoveryPointFilesResponse& response) {
  if (!filetree::FileSetOf(point.vm.uuid).has_value()) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "NO_FILES",
                       "{} is of the virtual machine {}, and holds disks; only those of file sets list files", NameOf(point.id),
                       point.vm_display_name);
  }
  const std::string list = request.parent() + "/files";
  ASSIGN_OR_RETURN(const int size, PageSize(request.page_size()));
  ASSIGN_OR_RETURN(const std::optional<std::string> token, ReadPageToken(list, request.page_token()));
  const std::optional<Place> place = token.has_value() ? ParsePlace(*token) : Place();
  if (!place.has_value()) return InvalidPageToken();

  ASSIGN_OR_RETURN(std::unique_ptr<repo::DiskReader> disk, repository.OpenDisk(point.id.value, filetree::kFileTreeName));
  TreeWindow window(repository.hasher(), repository.info().chunk_size_bytes, std::move(disk));
  RETURN_IF_ERROR(window.Open(0));
  ASSIGN_OR_RETURN(const filetree::Header header, filetree::ParseHeader(window.bytes(), window.tree_bytes()));
  if (place->position >= header.entry_count) return absl::OkStatus();
  if (place->offset >= header.list_bytes) return InvalidPageToken();
  if (place->offset >= window.begin() + window.bytes().size()) RETURN_IF_ERROR(window.Open(place->offset));
  filetree::ListReader reader(header, place->offset, place->position);
  while (!reader.at_end() && response.files_size() < size) {
    ASSIGN_OR_RETURN(const Entry entry, NextEntry(reader, window));
    ToProto(entry, response.add_files());
  }
  if (!reader.at_end()) response.set_next_page_token(MakePageToken(list, KeyOf({reader.offset(), reader.position()})));
  return absl::OkStatus();
}

}  // namespace umbra::api
