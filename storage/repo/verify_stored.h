// Checks a repository of which nobody has the keys: whether every stored byte is the one that was written.
//
// It reads packs (header, footer, hash of each chunk's stored bytes), index runs, recovery points, commits and marks, each
// against the hash that it carries, and changes nothing. What needs keys (that the bytes are the right ones) is verify.h's.
#ifndef UMBRA_STORAGE_REPO_VERIFY_STORED_H_
#define UMBRA_STORAGE_REPO_VERIFY_STORED_H_

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/filesystem.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/repository.h"

namespace umbra::repo {

struct StoredReport {
  std::string repository_id;
  uint64_t pack_count = 0;
  uint64_t chunk_count = 0;
  uint64_t stored_bytes = 0;  // of chunks
  uint64_t run_count = 0;
  uint64_t point_count = 0;
  uint64_t damaged_chunks = 0;
  std::vector<std::string> problems;  // with the file; one for each pack, run, point, commit or mark
  bool ok() const { return problems.empty(); }
};

// `progress` (may be empty) is called after each pack, from one thread at a time, with bytes of pack files.
// The repository should not be in use: packs that come and go meanwhile are taken for damage.
// FAILED_PRECONDITION / REPOSITORY_INCOMPATIBLE when there is no intact header. CANCELLED / CANCELLED.
absl::StatusOr<StoredReport> VerifyStored(BlobStore& store, std::function<void(const VerifyProgress&)> progress,
                                          std::stop_token stop);

// The same of the repository in the folder `path`, which is locked meanwhile.
// FAILED_PRECONDITION / REPOSITORY_LOCKED while somebody uses it.
absl::StatusOr<StoredReport> VerifyStoredFolder(base::Filesystem& fs, const std::string& path,
                                                std::function<void(const VerifyProgress&)> progress, std::stop_token stop);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_VERIFY_STORED_H_
