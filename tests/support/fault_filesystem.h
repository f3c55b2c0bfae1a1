// A Filesystem that fails on purpose: the N-th call, once or from then on, and power cuts that drop what wasn't synced.
//
// Decorates another Filesystem. Promises: a failed call has no effect, except that a failed WriteAt may have written its
// first half (as a full disk does). Thread-safe.
#ifndef UMBRA_TESTS_SUPPORT_FAULT_FILESYSTEM_H_
#define UMBRA_TESTS_SUPPORT_FAULT_FILESYSTEM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/filesystem.h"

namespace umbra::testing {

enum class Fault {
  kNoSpace,  // RESOURCE_EXHAUSTED / STORAGE_FULL; hits only calls that need space (write, create, rename, sync, folders)
  kIoError,  // UNAVAILABLE / IO_ERROR; hits every call
};

class FaultFilesystem final : public base::Filesystem {
 public:
  explicit FaultFilesystem(base::Filesystem& real) : real_(real) {}

  // Fails the `call`-th call from now on (1 = the next) that `fault` can hit; `for_good`: and every one after it.
  void FailAt(uint64_t call, Fault fault, bool for_good);
  // Whether FailAt has struck.
  bool struck() const;
  // No more faults.
  void Heal();

  // From now on unsynced changes are remembered, so that CutPower can undo them. Call before the files are made.
  void WatchUnsynced();
  // What a power cut may leave at worst: bytes that weren't synced are zero, files end where they were at their last sync,
  // names made or changed since their folder's last sync are as before. No file may be open.
  absl::Status CutPower();

  absl::StatusOr<std::unique_ptr<base::File>> Open(const std::string& path, base::OpenMode mode) override;
  absl::Status Rename(const std::string& from, const std::string& to) override;
  absl::Status Remove(const std::string& path) override;
  absl::Status MakeDirectories(const std::string& path) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& path) override;
  absl::StatusOr<bool> Exists(const std::string& path) override;
  absl::Status SyncDirectory(const std::string& path) override;
  absl::StatusOr<std::unique_ptr<base::File>> Lock(const std::string& path) override;
  absl::StatusOr<uint64_t> FreeSpace(const std::string& path) override;

 private:
  friend class FaultFile;

  // An unsynced file: bytes that are durable, as they were at the last sync.
  struct Unsynced {
    std::string path;  // where it is now; empty when it was removed
    std::string durable;
  };

  // The fault that this call meets, or OK. `needs_space`: kNoSpace can hit it.
  absl::Status Meet(bool needs_space, const std::string& what);
  std::string ReadWhole(const std::string& path);

  base::Filesystem& real_;
  mutable absl::Mutex mu_;
  uint64_t countdown_ ABSL_GUARDED_BY(mu_) = 0;  // 0: no fault is due
  Fault fault_ ABSL_GUARDED_BY(mu_) = Fault::kIoError;
  bool for_good_ ABSL_GUARDED_BY(mu_) = false;
  bool struck_ ABSL_GUARDED_BY(mu_) = false;
  bool watching_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, std::string> unsynced_files_ ABSL_GUARDED_BY(mu_);  // path -> durable bytes
  // Undo for names, newest last: makes a name as it was before.
  struct NameChange {
    std::string folder;
    std::string name;      // path that appeared, or vanished
    std::string was_from;  // for a rename: where it came from
    bool appeared = true;
    std::string content;   // of a vanished file, or of what a rename replaced
    bool replaced = false;
  };
  std::vector<NameChange> unsynced_names_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_FAULT_FILESYSTEM_H_
