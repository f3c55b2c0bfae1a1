// The copies of a file set's folders as one file tree (storage/filetree/file_tree.h), read like a disk.
#ifndef UMBRA_AGENT_FILES_TREE_SOURCE_H_
#define UMBRA_AGENT_FILES_TREE_SOURCE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"
#include "storage/base/filesystem.h"
#include "storage/base/folder_tree.h"
#include "storage/filetree/file_tree.h"

namespace umbra::files {

struct SourceFolder {
  std::string path;  // absolute: where it was at the point in time
  std::string copy;  // absolute: where it lies now; nobody changes it meanwhile
};

// One thread at a time. Files are opened when they are read, one at a time.
class FileTreeSource final : public hypervisor::BlockReader {
 public:
  // Reads what the folders hold, and lays it out. `files` outlives the source. `chunk_bytes`: of the repository.
  // Errors: those of base::ScanFolder; RESOURCE_EXHAUSTED / FILE_SET_TOO_LARGE; INVALID_ARGUMENT / INVALID_REQUEST when a
  // file is in two of the folders.
  static absl::StatusOr<std::unique_ptr<FileTreeSource>> Open(base::Filesystem& files, std::vector<SourceFolder> folders,
                                                              uint64_t chunk_bytes);

  uint64_t entry_count() const { return entry_count_; }
  // Of files, without holes.
  uint64_t data_bytes() const { return data_bytes_; }

  uint64_t capacity_bytes() const override { return plan_.header.tree_bytes; }
  absl::StatusOr<std::vector<hypervisor::Extent>> Extents() override;
  absl::Status ReadExtents(const std::vector<hypervisor::Extent>& extents, uint32_t piece_bytes,
                           const hypervisor::BlockSink& sink) override;
  absl::Status ReadAt(uint64_t offset_bytes, base::MutableBytes out) override;

 private:
  struct Content {
    uint64_t begin = 0;  // in the tree
    uint64_t end = 0;
    std::string file;  // where to read it
    std::vector<base::TreeData> data;
  };

  explicit FileTreeSource(base::Filesystem& files) : files_(files) {}
  absl::Status Plan(const std::vector<SourceFolder>& folders, uint64_t chunk_bytes);
  absl::Status ReadContent(const Content& content, uint64_t offset_bytes, base::MutableBytes out);

  base::Filesystem& files_;
  filetree::Plan plan_;
  std::vector<Content> contents_;  // in order
  uint64_t entry_count_ = 0;
  uint64_t data_bytes_ = 0;
  std::string open_path_;
  std::unique_ptr<base::File> open_;
};

}  // namespace umbra::files

#endif  // UMBRA_AGENT_FILES_TREE_SOURCE_H_
