// A BlobStore in memory, as an object store would behave: nothing of an object is visible before its Commit.
#ifndef UMBRA_TESTS_SUPPORT_MEMORY_BLOB_STORE_H_
#define UMBRA_TESTS_SUPPORT_MEMORY_BLOB_STORE_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/blob_store.h"

namespace umbra::testing {

class MemoryBlobStore final : public repo::BlobStore {
 public:
  absl::StatusOr<std::unique_ptr<repo::BlobWriter>> Create(const std::string& name) override;
  absl::StatusOr<std::unique_ptr<repo::BlobReader>> Open(const std::string& name) override;
  absl::StatusOr<std::vector<std::string>> List(const std::string& prefix) override;
  absl::Status Delete(const std::string& name) override;
  absl::StatusOr<uint64_t> FreeSpace() override { return UINT64_MAX; }

 private:
  friend class MemoryBlobWriter;

  absl::Mutex mu_;
  // shared: a reader keeps the bytes of an object that was deleted.
  std::map<std::string, std::shared_ptr<const std::string>> blobs_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_MEMORY_BLOB_STORE_H_
