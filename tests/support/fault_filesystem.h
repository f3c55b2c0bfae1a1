// A Filesystem that fails on purpose: the N-th call, once or from then on, or calls at random.
//
// Decorates another Filesystem and counts the calls on it and on its files. A failed call has no effect, but for a
// failed WriteAt, which has written its first half, as on a disk that gets full. Thread-safe.
#ifndef UMBRA_TESTS_SUPPORT_FAULT_FILESYSTEM_H_
#define UMBRA_TESTS_SUPPORT_FAULT_FILESYSTEM_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/cloning.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::testing {

enum class Fault {
  kNoSpace,  // RESOURCE_EXHAUSTED / STORAGE_FULL, on calls that need space: making, growing, renaming, syncing
  kIoError,  // UNAVAILABLE / IO_ERROR, on every call
};

class FaultFilesystem final : public base::Filesystem, public base::Cloning {
 public:
  // `real` outlives this and its files.
  explicit FaultFilesystem(base::Filesystem& real) : real_(real) {}

  // Fails the `call`-th call from now on (1 = the next) of those that `fault` can hit; `for_good`: and all after it.
  void FailAt(uint64_t call, Fault fault, bool for_good);
  // Fails each call that `fault` can hit with these odds. `luck` outlives this.
  void FailOften(base::Random& luck, double odds, Fault fault);
  // Whether a call has failed since FailAt or FailOften.
  bool struck() const;

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
  friend class FaultFile;

  enum class Needs { kNothing, kSpace };
  // The error that this call meets, or OK.
  absl::Status Meet(Needs needs, const std::string& what);

  base::Filesystem& real_;
  mutable absl::Mutex mu_;
  uint64_t countdown_ ABSL_GUARDED_BY(mu_) = 0;  // 0: no fault is due
  Fault fault_ ABSL_GUARDED_BY(mu_) = Fault::kIoError;
  bool for_good_ ABSL_GUARDED_BY(mu_) = false;
  base::Random* luck_ ABSL_GUARDED_BY(mu_) = nullptr;
  double odds_ ABSL_GUARDED_BY(mu_) = 0;
  bool struck_ ABSL_GUARDED_BY(mu_) = false;
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_FAULT_FILESYSTEM_H_
