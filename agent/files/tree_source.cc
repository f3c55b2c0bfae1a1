#include "agent/files/tree_source.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "agent/files/entry.h"
#include "storage/base/status.h"

namespace umbra::files {
namespace {

struct Scanned {
  filetree::Entry entry;
  std::string file;  // of a file: where it lies
  std::vector<base::TreeData> data;
};

// "/srv/mail/" and what is in it -> "srv/mail/...", as trees name it.
std::string InTree(const std::string& folder, const std::string& below) {
  const std::string root = folder.substr(folder.find_first_not_of('/'));
  return below.empty() ? root : root + "/" + below;
}

absl::Status ScanInto(const SourceFolder& folder, std::vector<Scanned>& scanned) {
  ASSIGN_OR_RETURN(std::vector<base::TreeEntry> entries, base::ScanFolder(folder.copy, filetree::kEntriesMax));
  for (base::TreeEntry& from : entries) {
    Scanned& to = scanned.emplace_back();
    if (from.type == base::TreeEntryType::kHardLink) from.link_target = InTree(folder.path, from.link_target);
    if (from.type == base::TreeEntryType::kFile) to.file = folder.copy + "/" + from.path;
    to.data = std::move(from.data);
    from.path = InTree(folder.path, from.path);
    if (!base::IsTreePath(from.path)) {
      return base::Error(absl::StatusCode::kResourceExhausted, "FILE_SET_TOO_LARGE", "/{} is too long a path", from.path);
    }
    to.entry = ToProto(from);
  }
  return absl::OkStatus();
}

void AddExtent(uint64_t begin, uint64_t end, bool zero, std::vector<hypervisor::Extent>& extents) {
  if (begin >= end) return;
  if (!extents.empty() && extents.back().zero == zero) {
    extents.back().length_bytes += end - begin;
  } else {
    extents.push_back({begin, end - begin, zero});
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<FileTreeSource>> FileTreeSource::Open(base::Filesystem& files,
                                                                     std::vector<SourceFolder> folders,
                                                                     uint64_t chunk_bytes) {
  std::unique_ptr<FileTreeSource> source(new FileTreeSource(files));
  RETURN_IF_ERROR(source->Plan(folders, chunk_bytes));
  return source;
}

absl::Status FileTreeSource::Plan(const std::vector<SourceFolder>& folders, uint64_t chunk_bytes) {
  std::vector<Scanned> scanned;
  for (const SourceFolder& folder : folders) RETURN_IF_ERROR(ScanInto(folder, scanned));
  std::sort(scanned.begin(), scanned.end(), [](const Scanned& a, const Scanned& b) {
    return base::TreePathLess(a.entry.path(), b.entry.path());
  });
  std::vector<filetree::Entry> entries;
  for (Scanned& one : scanned) entries.push_back(std::move(one.entry));
  ASSIGN_OR_RETURN(plan_, filetree::MakePlan(entries, chunk_bytes));
  entry_count_ = entries.size();
  for (size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].type() != filetree::Entry::TYPE_FILE || entries[i].size_bytes() == 0) continue;
    const uint64_t begin = plan_.header.data_begin + entries[i].data_offset_bytes();
    for (const base::TreeData& data : scanned[i].data) data_bytes_ += data.length_bytes;
    contents_.push_back({begin, begin + entries[i].size_bytes(), std::move(scanned[i].file), std::move(scanned[i].data)});
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<hypervisor::Extent>> FileTreeSource::Extents() {
  std::vector<hypervisor::Extent> extents;
  uint64_t at = plan_.list.size();
  AddExtent(0, at, false, extents);
  for (const Content& content : contents_) {
    for (const base::TreeData& data : content.data) {
      const uint64_t begin = content.begin + data.offset_bytes;
      AddExtent(at, begin, true, extents);
      AddExtent(begin, begin + data.length_bytes, false, extents);
      at = begin + data.length_bytes;
    }
  }
  AddExtent(at, capacity_bytes(), true, extents);
  return extents;
}

absl::Status FileTreeSource::ReadExtents(const std::vector<hypervisor::Extent>& extents, uint32_t piece_bytes,
                                         const hypervisor::BlockSink& sink) {
  std::vector<std::byte> piece(piece_bytes);
  for (const hypervisor::Extent& extent : extents) {
    const uint64_t end = extent.zero ? extent.offset_bytes : extent.offset_bytes + extent.length_bytes;
    for (uint64_t at = extent.offset_bytes; at < end;) {
      const uint64_t border = (at / piece_bytes + 1) * piece_bytes;
      const base::MutableBytes out(piece.data(), static_cast<size_t>(std::min(border, end) - at));
      RETURN_IF_ERROR(ReadAt(at, out));
      RETURN_IF_ERROR(sink(at, out));
      at += out.size();
    }
  }
  return absl::OkStatus();
}

absl::Status FileTreeSource::ReadAt(uint64_t offset_bytes, base::MutableBytes out) {
  std::memset(out.data(), 0, out.size());
  const uint64_t end = offset_bytes + out.size();
  if (offset_bytes < plan_.list.size()) {
    const size_t length = static_cast<size_t>(std::min<uint64_t>(end, plan_.list.size()) - offset_bytes);
    std::memcpy(out.data(), plan_.list.data() + offset_bytes, length);
  }
  auto content = std::upper_bound(contents_.begin(), contents_.end(), offset_bytes,
                                  [](uint64_t at, const Content& c) { return at < c.end; });
  for (; content != contents_.end() && content->begin < end; ++content) {
    RETURN_IF_ERROR(ReadContent(*content, offset_bytes, out));
  }
  return absl::OkStatus();
}

// The part of `content` that lies in `out`, which begins at `offset_bytes` of the tree and is zero. Holes aren't read.
absl::Status FileTreeSource::ReadContent(const Content& content, uint64_t offset_bytes, base::MutableBytes out) {
  if (open_path_ != content.file) {
    open_.reset();
    open_path_.clear();
    ASSIGN_OR_RETURN(open_, files_.Open(content.file, base::OpenMode::kRead));
    open_path_ = content.file;
  }
  for (const base::TreeData& data : content.data) {
    const uint64_t begin = std::max(content.begin + data.offset_bytes, offset_bytes);
    const uint64_t end = std::min(content.begin + data.offset_bytes + data.length_bytes, offset_bytes + out.size());
    if (begin >= end) continue;
    RETURN_IF_ERROR(open_->ReadAt(begin - content.begin,
                                  out.subspan(static_cast<size_t>(begin - offset_bytes), static_cast<size_t>(end - begin))));
  }
  return absl::OkStatus();
}

}  // namespace umbra::files
