// Where a repository keeps its objects: write once, read in ranges, list, delete.
//
// Only what an object store can give as well: no rename, no append to what is visible, no times. Names are relative paths
// of the characters a-z 0-9 - . / such as "packs/3f/3f00...pack"; below a folder the last part has a dot, the folders have none. Every implementation passes tests/contract/blob_store.
#ifndef UMBRA_STORAGE_REPO_BLOB_STORE_H_
#define UMBRA_STORAGE_REPO_BLOB_STORE_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/bytes.h"

namespace umbra::repo {

// An object on its way. Invisible until Commit; gone when destroyed before. One thread at a time.
class BlobWriter {
 public:
  virtual ~BlobWriter() = default;

  virtual absl::Status Append(base::Bytes data) = 0;

  // Makes the object visible, whole and durable. Nothing may be called after it.
  // ALREADY_EXISTS / FILE_EXISTS when an object of that name is there; it stays as it is.
  // After another error the object is either absent, or whole (durability unknown).
  virtual absl::Status Commit() = 0;
};

// A visible object. ReadAt may be called from several threads.
class BlobReader {
 public:
  virtual ~BlobReader() = default;

  virtual uint64_t size() const = 0;
  // Exactly out.size() bytes; OUT_OF_RANGE / FILE_TOO_SHORT beyond the end.
  virtual absl::Status ReadAt(uint64_t offset, base::MutableBytes out) = 0;
  // A hint, before the first read: read from the medium itself, past caches, where that can be had (base::File::SkipCache).
  virtual void SkipCache() {}
};

// Thread-safe. Readers and writers must not outlive their store.
class BlobStore {
 public:
  virtual ~BlobStore() = default;

  // Starts an object. Costs little memory however large it gets.
  virtual absl::StatusOr<std::unique_ptr<BlobWriter>> Create(const std::string& name) = 0;
  // NOT_FOUND / FILE_NOT_FOUND when there is none.
  virtual absl::StatusOr<std::unique_ptr<BlobReader>> Open(const std::string& name) = 0;
  // Names that begin with `prefix`, which ends with '/', sorted. None is no error.
  virtual absl::StatusOr<std::vector<std::string>> List(const std::string& prefix) = 0;
  // Durable when OK; NOT_FOUND / FILE_NOT_FOUND when there is none: that is durable as well, also when an earlier deletion
  // had an error.
  virtual absl::Status Delete(const std::string& name) = 0;
  // Bytes that can still be written; UINT64_MAX when there is no such limit.
  virtual absl::StatusOr<uint64_t> FreeSpace() = 0;

  // Whole objects. Get: at most `limit_bytes` (RESOURCE_EXHAUSTED / FILE_TOO_LARGE beyond).
  absl::Status PutIfAbsent(const std::string& name, base::Bytes content);
  absl::StatusOr<std::string> Get(const std::string& name, uint64_t limit_bytes);
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_BLOB_STORE_H_
