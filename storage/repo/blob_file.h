// Objects as files of a folder, over base::Filesystem.
//
// An object is written to tmp/, synced, renamed to its name, and its folder synced. Nothing else may use the folder at
// the same time (Repository holds its lock).
#ifndef UMBRA_STORAGE_REPO_BLOB_FILE_H_
#define UMBRA_STORAGE_REPO_BLOB_FILE_H_

#include <atomic>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/filesystem.h"
#include "storage/repo/blob_store.h"

namespace umbra::repo {

class FileBlobStore final : public BlobStore {
 public:
  // Opens the existing folder `root` and removes what writers of an earlier process left in its tmp/.
  static absl::StatusOr<std::unique_ptr<FileBlobStore>> Open(base::Filesystem& fs, const std::string& root);

  absl::StatusOr<std::unique_ptr<BlobWriter>> Create(const std::string& name) override;
  absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& name) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& prefix) override;
  absl::Status Delete(const std::string& name) override;
  absl::StatusOr<uint64_t> FreeSpace() override;

 private:
  friend class FileBlobWriter;

  FileBlobStore(base::Filesystem& fs, std::string root) : fs_(fs), root_(std::move(root)) {}

  std::string PathOf(const std::string& name) const { return root_ + "/" + name; }
  // Makes the folder of `path`, durably, unless this was done before.
  absl::Status EnsureFolder(const std::string& path);
  absl::Status Publish(const std::string& temporary, const std::string& name);

  base::Filesystem& fs_;
  const std::string root_;
  std::atomic<uint64_t> next_temporary_{0};

  // Makes "is there one? then rename" one step, since rename replaces.
  absl::Mutex publish_mu_;
  absl::Mutex folders_mu_;
  std::set<std::string> folders_ ABSL_GUARDED_BY(folders_mu_);
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_BLOB_FILE_H_
