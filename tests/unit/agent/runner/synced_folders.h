// The real file system, with a note of every folder whose names were synced.
#ifndef UMBRA_TESTS_UNIT_AGENT_RUNNER_SYNCED_FOLDERS_H_
#define UMBRA_TESTS_UNIT_AGENT_RUNNER_SYNCED_FOLDERS_H_

#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/filesystem.h"

namespace umbra::runner {

class SyncedFolders final : public base::Filesystem {
 public:
  std::set<std::string> synced() {
    absl::MutexLock lock(&mu_);
    return synced_;
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
  absl::Mutex mu_;
  std::set<std::string> synced_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::runner

#endif  // UMBRA_TESTS_UNIT_AGENT_RUNNER_SYNCED_FOLDERS_H_
