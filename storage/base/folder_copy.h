// Copies a folder as it is now, by sharing blocks where the file system can do that (reflink), else byte by byte within
// limits. For quick copies of data that stands still meanwhile.
//
// Kept: folders, regular files with their holes and hard links, symbolic links (as links, never followed), mode, owner,
// times, extended attributes with access control lists. Not kept: sockets, pipes and devices.
#ifndef UMBRA_STORAGE_BASE_FOLDER_COPY_H_
#define UMBRA_STORAGE_BASE_FOLDER_COPY_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"

namespace umbra::base {

// Which files of a folder. Patterns have * and ?, and * doesn't stand for '/'.
struct FolderSelection {
  std::string folder;          // absolute, not a symbolic link
  std::string filespec = "*";  // of files' names
  bool recursive = true;
  // Files and folders (with all that is in them) to leave out. A pattern with '/' is compared with the path below
  // `folder`, one without with the name.
  std::vector<std::string> excludes;

  friend bool operator==(const FolderSelection&, const FolderSelection&) = default;
};

struct FolderCopyLimits {
  uint64_t bytes_max = 4 * kGiB;  // that have to be copied; shared blocks don't count
  uint64_t entries_max = 1'000'000;
  absl::Duration time_max = absl::Seconds(8);
};

struct FolderSize {
  uint64_t entry_count = 0;  // files, folders and links
  uint64_t bytes = 0;        // allocated
  bool can_share = false;    // with the place asked about
};

struct FolderCopyReport {
  uint64_t entry_count = 0;
  uint64_t bytes_copied = 0;
  uint64_t bytes_shared = 0;
  uint64_t entries_changed = 0;  // of which an owner or an attribute can't be kept there, or by this process
};

// Thread-safe.
class FolderCopier {
 public:
  virtual ~FolderCopier() = default;

  // What a copy to the folder `to`, which is made when needed, would take. Errors: NOT_FOUND / FILE_NOT_FOUND,
  // PERMISSION_DENIED, those of ErrnoError; RESOURCE_EXHAUSTED / FILE_SET_TOO_LARGE beyond `limits.entries_max`.
  virtual absl::StatusOr<FolderSize> Measure(const FolderSelection& from, const std::string& to,
                                             const FolderCopyLimits& limits) = 0;
  // Copies the content into the folder `to` (made, mode 0700). Not durable. A file that disappears meanwhile is left
  // out. Errors: those of Measure, RESOURCE_EXHAUSTED / FILE_SET_TOO_LARGE at any limit, STORAGE_FULL. What was copied
  // stays.
  virtual absl::StatusOr<FolderCopyReport> Copy(const FolderSelection& from, const std::string& to,
                                                const FolderCopyLimits& limits) = 0;
  // Removes a folder with all that is in it. OK when it isn't there.
  virtual absl::Status RemoveTree(const std::string& folder) = 0;
};

// The operating system's.
class SystemFolderCopier final : public FolderCopier {
 public:
  explicit SystemFolderCopier(Clock& clock) : clock_(clock) {}

  absl::StatusOr<FolderSize> Measure(const FolderSelection& from, const std::string& to,
                                     const FolderCopyLimits& limits) override;
  absl::StatusOr<FolderCopyReport> Copy(const FolderSelection& from, const std::string& to,
                                        const FolderCopyLimits& limits) override;
  absl::Status RemoveTree(const std::string& folder) override;

 private:
  Clock& clock_;
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_FOLDER_COPY_H_
