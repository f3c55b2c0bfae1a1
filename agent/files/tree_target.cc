#include "agent/files/tree_target.h"

#include <algorithm>
#include <map>
#include <set>
#include <utility>

#include "agent/files/entry.h"
#include "storage/base/status.h"

namespace umbra::files {
namespace {

using filetree::Entry;

// Of a folder that was above the file set's own, and of which nothing is known.
constexpr uint32_t kUnlistedFolderMode = 0755;

absl::Status AtTarget(const absl::Status& status) {
  if (base::ReasonOf(status) != "STORAGE_FULL") return status;
  return base::MakeError(absl::StatusCode::kResourceExhausted, "TARGET_FULL", base::MessageOf(status));
}

std::string_view NameIn(std::string_view path) {
  const size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

// Where an entry at or below `chosen` goes.
std::string TargetPath(const Entry& entry, const std::string& chosen) {
  const std::string& path = entry.path();
  if (chosen.empty()) return path;
  if (path != chosen) return path.substr(chosen.size() + 1);
  return entry.type() == Entry::TYPE_FOLDER ? std::string() : std::string(NameIn(path));
}

// A hard link whose file stays behind becomes that file; more links to it become links to the first.
class LinkMender {
 public:
  LinkMender(const std::vector<Entry>& entries, const std::string& chosen) : entries_(entries), chosen_(chosen) {}

  void Mend(Selection::Item& item) {
    Entry& entry = item.entry;
    if (entry.type() != Entry::TYPE_HARD_LINK) return;
    const auto file = std::lower_bound(entries_.begin(), entries_.end(), entry.link_target(),
                                       [](const Entry& e, const std::string& path) { return base::TreePathLess(e.path(), path); });
    if (base::IsAtOrBelow(file->path(), chosen_)) {
      entry.set_link_target(TargetPath(*file, chosen_));
      return;
    }
    const auto [first, is_new] = outside_.try_emplace(entry.link_target(), item.path);
    if (is_new) {
      entry = *file;
    } else {
      entry.set_link_target(first->second);
    }
  }

 private:
  const std::vector<Entry>& entries_;
  const std::string& chosen_;
  std::map<std::string, std::string> outside_;
};

std::vector<Stretch> Merged(std::vector<Stretch> stretches) {
  std::sort(stretches.begin(), stretches.end(), [](const Stretch& a, const Stretch& b) { return a.begin < b.begin; });
  std::vector<Stretch> merged;
  for (const Stretch& stretch : stretches) {
    if (!merged.empty() && stretch.begin <= merged.back().end) {
      merged.back().end = std::max(merged.back().end, stretch.end);
    } else {
      merged.push_back(stretch);
    }
  }
  return merged;
}

bool HasContent(const Entry& entry) { return entry.type() == Entry::TYPE_FILE && entry.size_bytes() > 0; }

}  // namespace

absl::StatusOr<Selection> Select(std::vector<Entry> entries, const filetree::Header& header, const std::string& path) {
  Selection selection;
  LinkMender links(entries, path);
  std::vector<Stretch> outside;
  Stretch main{header.tree_bytes, 0};  // contents lie in the order of entries: one stretch holds what is chosen
  for (const Entry& entry : entries) {
    if (!base::IsAtOrBelow(entry.path(), path)) continue;
    Selection::Item item{entry, TargetPath(entry, path)};
    const bool own = item.entry.type() == Entry::TYPE_FILE;
    links.Mend(item);
    if (HasContent(item.entry)) {
      const uint64_t begin = header.data_begin + item.entry.data_offset_bytes();
      const uint64_t end = begin + item.entry.size_bytes();
      selection.file_bytes += item.entry.size_bytes();
      if (own) {
        main = {std::min(main.begin, begin), std::max(main.end, end)};
      } else {
        outside.push_back({begin, end});
      }
    }
    selection.items.push_back(std::move(item));
  }
  if (selection.items.empty()) {
    return base::Error(absl::StatusCode::kNotFound, "PATH_NOT_FOUND", "the recovery point has no /{}", path);
  }
  if (main.begin < main.end) outside.push_back(main);
  selection.contents = Merged(std::move(outside));
  return selection;
}

absl::StatusOr<std::unique_ptr<FileTreeTarget>> FileTreeTarget::Create(const std::string& folder, Selection selection,
                                                                       const filetree::Header& header) {
  std::unique_ptr<FileTreeTarget> target(new FileTreeTarget(std::move(selection)));
  auto writer = base::FolderTreeWriter::Create(folder);
  RETURN_IF_ERROR(AtTarget(writer.status()));
  target->writer_ = *std::move(writer);
  RETURN_IF_ERROR(AtTarget(target->Make(header)));
  return target;
}

absl::Status FileTreeTarget::Make(const filetree::Header& header) {
  std::set<std::string> folders;
  std::string known;  // folder that is there
  for (size_t i = 0; i < selection_.items.size(); ++i) {
    const auto& [entry, path] = selection_.items[i];
    if (path.empty()) continue;
    const std::string above(base::TreeParentOf(path));
    if (!above.empty() && above != known && !folders.contains(above)) RETURN_IF_ERROR(MakeFoldersAbove(above));
    known = above;
    if (entry.type() == Entry::TYPE_FOLDER) {
      RETURN_IF_ERROR(writer_->MakeFolder(path));
      folders.insert(path);
    }
    if (entry.type() != Entry::TYPE_FILE) continue;
    RETURN_IF_ERROR(writer_->MakeFile(path, entry.size_bytes()));
    if (entry.size_bytes() == 0) continue;
    const uint64_t begin = header.data_begin + entry.data_offset_bytes();
    contents_.push_back({begin, begin + entry.size_bytes(), i});
  }
  std::sort(contents_.begin(), contents_.end(), [](const Content& a, const Content& b) { return a.begin < b.begin; });
  return absl::OkStatus();
}

// `path` and what is above it, as far as it isn't there.
absl::Status FileTreeTarget::MakeFoldersAbove(const std::string& path) {
  for (size_t slash = path.find('/');; slash = path.find('/', slash + 1)) {
    const std::string folder = path.substr(0, slash);
    const absl::Status made = writer_->MakeFolder(folder);
    if (made.ok()) unlisted_folders_.push_back(folder);
    if (!made.ok() && !absl::IsAlreadyExists(made)) return made;
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

absl::Status FileTreeTarget::WriteAt(uint64_t offset_bytes, base::Bytes data) {
  const uint64_t end = offset_bytes + data.size();
  auto content = std::upper_bound(contents_.begin(), contents_.end(), offset_bytes,
                                  [](uint64_t at, const Content& c) { return at < c.end; });
  for (; content != contents_.end() && content->begin < end; ++content) {
    const uint64_t from = std::max(content->begin, offset_bytes);
    const uint64_t to = std::min(content->end, end);
    const base::Bytes part = data.subspan(static_cast<size_t>(from - offset_bytes), static_cast<size_t>(to - from));
    RETURN_IF_ERROR(AtTarget(writer_->WriteAt(selection_.items[content->item].path, from - content->begin, part)));
  }
  return absl::OkStatus();
}

absl::Status FileTreeTarget::MakeLinks() {
  for (const auto& [entry, path] : selection_.items) {
    if (entry.type() == Entry::TYPE_SYMLINK) RETURN_IF_ERROR(writer_->MakeSymlink(path, entry.link_target()));
    if (entry.type() == Entry::TYPE_HARD_LINK) RETURN_IF_ERROR(writer_->MakeHardLink(path, entry.link_target()));
  }
  return absl::OkStatus();
}

// What is in a folder comes before the folder itself.
absl::Status FileTreeTarget::SetMetadata() {
  for (auto item = selection_.items.rbegin(); item != selection_.items.rend(); ++item) {
    if (item->entry.type() == Entry::TYPE_HARD_LINK) continue;
    ASSIGN_OR_RETURN(const bool whole, writer_->SetMetadata(item->path, TypeOf(item->entry), MetadataOf(item->entry)));
    if (!whole) ++changed_count_;
  }
  for (auto folder = unlisted_folders_.rbegin(); folder != unlisted_folders_.rend(); ++folder) {
    RETURN_IF_ERROR(writer_->OpenFolder(*folder, kUnlistedFolderMode));
  }
  return absl::OkStatus();
}

absl::Status FileTreeTarget::Finish() {
  absl::Status status = MakeLinks();
  if (status.ok()) status = SetMetadata();
  if (status.ok()) status = writer_->Sync();
  return AtTarget(status);
}

}  // namespace umbra::files
