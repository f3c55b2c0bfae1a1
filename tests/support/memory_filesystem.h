// A Filesystem in memory whose power can be cut.
//
// Keeps, beside what programs see, what is durable: a file's bytes as of its last Sync, a folder's names as of its last
// SyncDirectory. CutPower goes back to that. Passes the same rules as PosixFilesystem where storage/repo relies on them;
// paths are absolute, "/" exists. Thread-safe.
#ifndef UMBRA_TESTS_SUPPORT_MEMORY_FILESYSTEM_H_
#define UMBRA_TESTS_SUPPORT_MEMORY_FILESYSTEM_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::testing {

class MemoryFilesystem final : public base::Filesystem {
 public:
  MemoryFilesystem();
  ~MemoryFilesystem() override;

  // What wasn't synced is lost: all of it when `luck` is null, else each change with even odds (a file may keep a part).
  // Files that are still open belong to the time before and change nothing any more.
  void CutPower(base::Random* luck = nullptr);

  // For tests that damage files. The file must exist.
  void FlipBit(const std::string& path, uint64_t bit);
  // Paths of all files below `folder`, sorted.
  std::vector<std::string> AllFiles(const std::string& folder);

  absl::StatusOr<std::unique_ptr<base::File>> Open(const std::string& path, base::OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status MakeDirectories(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::StatusOr<std::vector<base::FolderEntry>> ListEntries(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<base::File>> Lock(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeSpace(const std::string& path) override;

 private:
  friend class MemoryFile;
  struct Node;  // shared: names, and the files that are open
  using Names = std::map<std::string, std::shared_ptr<Node>>;

  absl::StatusOr<std::shared_ptr<Node>> FindLocked(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status RequireFolderLocked(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  Names names_ ABSL_GUARDED_BY(mu_);    // path -> what programs see
  Names durable_ ABSL_GUARDED_BY(mu_);  // path -> what a power cut leaves
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_MEMORY_FILESYSTEM_H_
