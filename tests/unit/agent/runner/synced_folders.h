// The real file system, with a note of every folder whose names were synced. Files share their content when it is told so,
// by copies, whatever file system the tests run on.
#ifndef UMBRA_TESTS_UNIT_AGENT_RUNNER_SYNCED_FOLDERS_H_
#define UMBRA_TESTS_UNIT_AGENT_RUNNER_SYNCED_FOLDERS_H_

#include <atomic>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/cloning.h"
#include "storage/base/filesystem.h"
#include "storage/base/status.h"

namespace umbra::runner {

class SyncedFolders final : public base::Filesystem, public base::Cloning {
 public:
  std::set<std::string> synced() {
    absl::MutexLock lock(&mu_);
    return synced_;
  }

  void ShareContents() { shares_ = true; }
  int clones() const { return clones_; }

  absl::StatusOr<bool> Clone(const std::string& from, const std::string& to) override {
    if (!shares_) return false;
    ASSIGN_OR_RETURN(const std::string content, ReadFile(from));
    ASSIGN_OR_RETURN(const auto file, real_.Open(to, base::OpenMode::kCreate));
    RETURN_IF_ERROR(file->WriteAt(0, base::AsBytes(content)));
    ++clones_;
    return true;
  }
  absl::Status MakeHole(const std::string& path, uint64_t offset, uint64_t length) override {
    ASSIGN_OR_RETURN(const auto file, real_.Open(path, base::OpenMode::kReadWrite));
    return file->WriteAt(offset, base::AsBytes(std::string(length, '\0')));
  }

  absl::StatusOr<std::unique_ptr<base::File>> Open(const std::string& path, base::OpenMode mode) override {
    return real_.Open(path, mode);
  }
  absl::Status Rename(const std::string& from, const std::string& to) override { return real_.Rename(from, to); }
  absl::Status Remove(const std::string& path) override { return real_.Remove(path); }
  absl::Status MakeDirectories(const std::string& path) override { return real_.MakeDirectories(path); }
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override { return real_.List(path); }
  absl::StatusOr<std::vector<base::FolderEntry>> ListEntries(const std::string& path) override {
    return real_.ListEntries(path);
  }
  absl::StatusOr<bool> Exists(const std::string& path) override { return real_.Exists(path); }
  absl::Status SyncDirectory(const std::string& path) override {
    absl::MutexLock lock(&mu_);
    synced_.insert(path);
    return real_.SyncDirectory(path);
  }
  absl::StatusOr<std::unique_ptr<base::File>> Lock(const std::string& path) override { return real_.Lock(path); }
  absl::StatusOr<uint64_t> FreeSpace(const std::string& path) override { return real_.FreeSpace(path); }
  absl::Status Symlink(const std::string& target, const std::string& link) override {
    return real_.Symlink(target, link);
  }
  absl::StatusOr<std::string> VolumeOf(const std::string& path) override { return real_.VolumeOf(path); }
  absl::Status AllowTraversal(const std::string& folder) override { return real_.AllowTraversal(folder); }

 private:
  base::PosixFilesystem real_;
  std::atomic<bool> shares_ = false;
  std::atomic<int> clones_ = 0;
  absl::Mutex mu_;
  std::set<std::string> synced_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::runner

#endif  // UMBRA_TESTS_UNIT_AGENT_RUNNER_SYNCED_FOLDERS_H_
