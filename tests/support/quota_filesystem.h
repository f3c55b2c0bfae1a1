// A Filesystem on a disk of a certain size: writing beyond it gives STORAGE_FULL, removing makes room.
//
// Decorates another Filesystem and counts the bytes of the files that were written through it, and one block for each
// file, as its directory entry and inode would take. Thread-safe.
#ifndef UMBRA_TESTS_SUPPORT_QUOTA_FILESYSTEM_H_
#define UMBRA_TESTS_SUPPORT_QUOTA_FILESYSTEM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/filesystem.h"

namespace umbra::testing {

class QuotaFilesystem final : public base::Filesystem {
 public:
  static constexpr uint64_t kBlockSize = 4096;

  // `real` outlives this and its files.
  QuotaFilesystem(base::Filesystem& real, uint64_t capacity_bytes) : real_(real), capacity_(capacity_bytes) {}

  void SetCapacity(uint64_t capacity_bytes);
  uint64_t used_bytes() const;

  absl::StatusOr<std::unique_ptr<base::File>> Open(const std::string& path, base::OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status MakeDirectories(const std::string& path) override { return real_.MakeDirectories(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return real_.List(path); }
  absl::StatusOr<std::vector<base::FolderEntry>> ListEntries(const std::string& path) override {
    return real_.ListEntries(path);
  }
  absl::StatusOr<bool> Exists(const std::string& path) override { return real_.Exists(path); }
  absl::Status SyncDirectory(const std::string& path) override { return real_.SyncDirectory(path); }
  absl::StatusOr<std::unique_ptr<base::File>> Lock(const std::string& path) override { return real_.Lock(path); }
  absl::StatusOr<uint64_t> FreeSpace(const std::string& path) override;

 private:
  friend class QuotaFile;
  // The file `path` gets `size_bytes`, if there is room.
  absl::Status Grow(const std::string& path, uint64_t size_bytes);
  uint64_t UsedLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);

  base::Filesystem& real_;
  mutable absl::Mutex mu_;
  uint64_t capacity_ ABSL_GUARDED_BY(mu_);
  std::map<std::string, uint64_t> sizes_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_QUOTA_FILESYSTEM_H_
