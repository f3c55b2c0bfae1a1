// A Filesystem in memory whose power can be cut.
//
// Keeps, beside what programs see, everything that a disk could still show instead: each version of a sector since the
// file's last Sync, each size, and each entry of a folder since its last SyncDirectory. CutPower chooses among them.
// Passes tests/contract/filesystem as PosixFilesystem does; paths are absolute, "/" exists. Thread-safe.
#ifndef UMBRA_TESTS_SUPPORT_MEMORY_FILESYSTEM_H_
#define UMBRA_TESTS_SUPPORT_MEMORY_FILESYSTEM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/cloning.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::testing {

class MemoryFilesystem final : public base::Filesystem, public base::Cloning {
 public:
  // What a disk writes whole or not at all.
  static constexpr uint64_t kSectorBytes = 512;

  MemoryFilesystem();
  ~MemoryFilesystem() override;

  // What wasn't synced is lost: all of it when `luck` is null, else what `luck` decides, among all that real disks and
  // file systems do:
  //   file data   lost, kept, cut off somewhere (torn), or each sector in one of its versions (reordered); the size as
  //   it
  //               was at some time, or between; what was never written reads as zero
  //   names       in a journal's order, up to some moment; or each for itself, so that a file that was moved may be
  //   under
  //               both names, or under none
  // What a program removed but didn't sync may be back. Folders that were lost take along what is in them.
  // Files that are still open belong to the time before and change nothing any more.
  void CutPower(base::Random* luck = nullptr);
  // The file system that a power cut now would leave; this one goes on. Many cuts at one moment, for little.
  std::unique_ptr<MemoryFilesystem> AfterPowerCut(base::Random* luck = nullptr) const;

  // For tests that damage files. The file must exist.
  void FlipBit(const std::string& path, uint64_t bit);
  // Paths of all files below `folder`, sorted.
  std::vector<std::string> AllFiles(const std::string& folder);

  absl::StatusOr<std::unique_ptr<base::File>> Open(const std::string& path, base::OpenMode mode) override;
  absl::StatusOr<bool> Clone(const std::string& from, const std::string& to) override;
  absl::Status MakeHole(const std::string& path, uint64_t offset, uint64_t length) override;
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
  struct Node;  // shared: names, now and before, and the files that are open
  class PowerCut;

  // Null when there is nothing under that path.
  std::shared_ptr<Node> FindLocked(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::StatusOr<std::shared_ptr<Node>> FolderLocked(const std::string& path) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // Lets `name` in `folder` stand for `node`, or for nothing.
  void SetNameLocked(Node& folder, const std::string& name, std::shared_ptr<Node> node)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void CollectFilesLocked(const Node& folder, const std::string& path, std::vector<std::string>& paths) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  mutable absl::Mutex mu_;
  std::shared_ptr<Node> root_ ABSL_GUARDED_BY(mu_);
  // Changes of names are numbered; a journal keeps those up to the last SyncDirectory.
  uint64_t last_change_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t journaled_change_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_MEMORY_FILESYSTEM_H_
