// Folder trees as they lie on a host: reads what one holds, and makes one of which every step stays inside its folder.
//
// A path here is relative, its parts divided by single '/', no part "." or ".." or longer than 255 bytes, 4095 bytes in
// all; "" is the folder itself. Paths are raw bytes. They are ordered part by part, so that a folder comes right before
// what is in it.
#ifndef UMBRA_STORAGE_BASE_FOLDER_TREE_H_
#define UMBRA_STORAGE_BASE_FOLDER_TREE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/base/bytes.h"

namespace umbra::base {

// Without "". Whether it may be one of the paths above.
bool IsTreePath(std::string_view path);
// The order of paths.
bool TreePathLess(std::string_view a, std::string_view b);
// `path` is `folder` or below it. "" is above everything.
bool IsAtOrBelow(std::string_view path, std::string_view folder);
// The path of the folder that holds it; "" for one without '/'.
std::string_view TreeParentOf(std::string_view path);

// What an open folder holds, sorted, without "." and "..". `shown` names it in errors.
absl::StatusOr<std::vector<std::string>> NamesIn(int fd, const std::string& shown);

// An extended attribute; access control lists are some of them.
struct TreeAttribute {
  std::string name;  // with its namespace, such as "user.comment"
  std::string value;

  friend bool operator==(const TreeAttribute&, const TreeAttribute&) = default;
};

// What is kept of a file, folder or link beside its content.
struct TreeMetadata {
  uint32_t mode = 0;  // the low 12 bits of st_mode; means nothing of a symbolic link
  uint32_t uid = 0;
  uint32_t gid = 0;
  int64_t modify_time_ns = 0;              // since 1970 in UTC
  std::vector<TreeAttribute> attributes;  // ordered by name; none of a symbolic link
};

enum class TreeEntryType { kFile, kFolder, kSymlink, kHardLink };

// A stretch of a file that isn't a hole.
struct TreeData {
  uint64_t offset_bytes = 0;
  uint64_t length_bytes = 0;
};

struct TreeEntry {
  std::string path;
  TreeEntryType type = TreeEntryType::kFile;
  TreeMetadata metadata;
  uint64_t size_bytes = 0;     // kFile
  std::vector<TreeData> data;  // kFile: where it isn't a hole, in order
  std::string link_target;     // kSymlink: what it holds; kHardLink: the path of the entry that it is one more name of
};

// Every file, folder and link in the absolute `folder`, itself first, in order. Others (sockets, devices) are left out.
// Nobody may change anything in it meanwhile. Attributes that this process may not read are left out.
// Errors: those of ErrnoError; RESOURCE_EXHAUSTED / FILE_SET_TOO_LARGE beyond `entries_max`, or nested too deeply.
absl::StatusOr<std::vector<TreeEntry>> ScanFolder(const std::string& folder, uint64_t entries_max);

// Makes a folder tree. Links are never followed and no path leads out of the folder, whoever made the paths and the
// links; what a path needs must have been made before.
//
// Errors of all calls: INVALID_ARGUMENT / INVALID_REQUEST for what is no path; those of ErrnoError.
// Threads: WriteAt may be called from several threads at once, the others by one.
class FolderTreeWriter {
 public:
  // Makes the absolute `folder` (mode 0700), which must not be there: ALREADY_EXISTS / FILE_EXISTS.
  static absl::StatusOr<std::unique_ptr<FolderTreeWriter>> Create(const std::string& folder);
  ~FolderTreeWriter();
  FolderTreeWriter(const FolderTreeWriter&) = delete;
  FolderTreeWriter& operator=(const FolderTreeWriter&) = delete;

  // Everything new belongs to this process and can be used by nobody else until SetMetadata.
  absl::Status MakeFolder(const std::string& path);
  // A hole of that size.
  absl::Status MakeFile(const std::string& path, uint64_t size_bytes);
  absl::Status MakeSymlink(const std::string& path, const std::string& target);
  // One more name of the regular file `existing`.
  absl::Status MakeHardLink(const std::string& path, const std::string& existing);
  absl::Status WriteAt(const std::string& path, uint64_t offset_bytes, Bytes data);

  // The last call about an entry, and about a folder after everything in it is made; `path` "" is the folder itself.
  // False when something can't be kept there or may not be given by this process: an owner, an attribute.
  absl::StatusOr<bool> SetMetadata(const std::string& path, TreeEntryType type, const TreeMetadata& metadata);
  // Sets the mode of a folder of which nothing else is known.
  absl::Status OpenFolder(const std::string& path, uint32_t mode);
  // Everything is durable when it returns OK.
  absl::Status Sync();

 private:
  explicit FolderTreeWriter(std::string folder, int root) : folder_(std::move(folder)), root_(root) {}

  std::string Shown(const std::string& path) const { return folder_ + "/" + path; }

  const std::string folder_;
  const int root_;
};

// Whether somebody besides root and this process's user may write the file, or owns it.
absl::StatusOr<bool> OthersMayWrite(const std::string& path);

// Removes a folder with all that is in it, or whatever else has that name; links aren't followed. OK when nothing is there.
absl::Status RemoveTree(const std::string& path);

// The folder `from` takes the name `to` beside it, at one instant and durably. Without `replace`, ALREADY_EXISTS /
// TARGET_EXISTS when there is something; with it that lies at `from` afterwards. True when something was replaced.
absl::StatusOr<bool> TakeFolderName(const std::string& from, const std::string& to, bool replace);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_FOLDER_TREE_H_
