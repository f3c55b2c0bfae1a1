// A file tree, or a part of one, on its way back into a folder. Contents come like a disk's, in any order.
#ifndef UMBRA_AGENT_FILES_TREE_TARGET_H_
#define UMBRA_AGENT_FILES_TREE_TARGET_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"
#include "storage/base/folder_tree.h"
#include "storage/filetree/file_tree.h"

namespace umbra::files {

// A stretch of the tree.
struct Stretch {
  uint64_t begin = 0;
  uint64_t end = 0;

  friend bool operator==(const Stretch&, const Stretch&) = default;
};

// What is restored of a tree, and as what.
struct Selection {
  struct Item {
    filetree::Entry entry;
    std::string path;  // below the target; "" is the target itself
  };
  std::vector<Item> items;         // in order
  std::vector<Stretch> contents;   // that are needed, in order, apart from each other
  uint64_t file_bytes = 0;         // of all files, holes included
};

// `entries` are those of filetree::ReadList. `path` is that of an entry, or of a folder above some, without the leading
// '/': a folder's content comes right into the target, a file or link into it by its name. Empty: everything, by its
// whole path. NOT_FOUND / PATH_NOT_FOUND.
absl::StatusOr<Selection> Select(std::vector<filetree::Entry> entries, const filetree::Header& header,
                                 const std::string& path);

// WriteAt from several threads at once, as BlockWriter says; the rest one thread. What lies outside of the contents that
// were chosen is let go.
class FileTreeTarget final : public hypervisor::BlockWriter {
 public:
  // Makes `folder`, which must not be there, with all folders and files, the latter as holes. What was made stays when
  // this fails. Errors: those of base::FolderTreeWriter; a full file system is RESOURCE_EXHAUSTED / TARGET_FULL.
  static absl::StatusOr<std::unique_ptr<FileTreeTarget>> Create(const std::string& folder, Selection selection,
                                                                const filetree::Header& header);

  absl::Status WriteAt(uint64_t offset_bytes, base::Bytes data) override;
  // Links, then owners, modes, times and attributes; everything is durable when it returns OK.
  absl::Status Finish() override;

  // After Finish: files and folders of which not everything could be kept.
  uint64_t changed_count() const { return changed_count_; }

 private:
  struct Content {
    uint64_t begin = 0;
    uint64_t end = 0;
    size_t item = 0;
  };

  explicit FileTreeTarget(Selection selection) : selection_(std::move(selection)) {}
  absl::Status Make(const filetree::Header& header);
  absl::Status MakeFoldersAbove(const std::string& path);
  absl::Status MakeLinks();
  absl::Status SetMetadata();

  const Selection selection_;
  std::unique_ptr<base::FolderTreeWriter> writer_;
  std::vector<Content> contents_;  // in order of `begin`
  std::vector<std::string> unlisted_folders_;  // above what is listed, in order
  uint64_t changed_count_ = 0;
};

}  // namespace umbra::files

#endif  // UMBRA_AGENT_FILES_TREE_TARGET_H_
