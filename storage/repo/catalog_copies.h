// Copies of a daemon's catalog in a repository: sealed streams, several generations, each whole or not there.
//
// What is in the stream is the daemon's business. Format: docs/formats/repository.md section 12.
#ifndef UMBRA_STORAGE_REPO_CATALOG_COPIES_H_
#define UMBRA_STORAGE_REPO_CATALOG_COPIES_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/catalog_format.h"

namespace umbra::repo {

// The newest copies stay, and of earlier days (UTC) the newest one each: what went wrong slowly can be undone as well.
inline constexpr size_t kCatalogCopiesKept = 3;
inline constexpr size_t kCatalogDaysKept = 7;

struct CatalogCopyInfo {
  std::string id;
  uint64_t sequence = 0;  // a later copy of this repository has a greater one
  absl::Time create_time = absl::InfinitePast();
  uint64_t stored_bytes = 0;
  bool damaged = false;  // its header is; create_time then isn't known

  bool operator==(const CatalogCopyInfo&) const = default;
};

// A copy on its way. Invisible until Commit, gone when destroyed before. One thread at a time; must not outlive the
// repository. After an error nothing but its destruction is allowed.
class CatalogCopyWriter {
 public:
  CatalogCopyWriter(std::unique_ptr<BlobWriter> blob, CatalogCopyInfo info, const Key& key);
  CatalogCopyWriter(const CatalogCopyWriter&) = delete;

  // Any number of bytes. RESOURCE_EXHAUSTED / STORAGE_FULL, IO_ERROR and the like.
  absl::Status Append(base::Bytes data);
  // The copy is whole and durable when OK; after an error it is not there, or whole.
  absl::StatusOr<CatalogCopyInfo> Commit();

 private:
  friend class CatalogCopies;
  absl::Status WriteHeader(const CatalogHeader& header);
  absl::Status WriteSegment(bool last);

  const std::unique_ptr<BlobWriter> blob_;
  CatalogCopyInfo info_;
  Sealer sealer_;
  uint64_t segments_ = 0;
  std::vector<std::byte> pending_;
  std::vector<std::byte> scratch_;
};

// Reads a copy from its first to its last byte; every byte is authentic. One thread at a time; must not outlive the
// repository.
class CatalogCopyReader {
 public:
  CatalogCopyReader(std::unique_ptr<BlobReader> blob, CatalogCopyInfo info, const Key& key);
  CatalogCopyReader(const CatalogCopyReader&) = delete;

  const CatalogCopyInfo& info() const { return info_; }
  // The next bytes, as many as come; none at the end, which only a whole copy has.
  // DATA_LOSS / CATALOG_COPY_DAMAGED.
  absl::StatusOr<std::string> Next();

 private:
  const std::unique_ptr<BlobReader> blob_;
  const CatalogCopyInfo info_;
  Opener opener_;
  uint64_t position_ = kCatalogHeaderSize;
  uint64_t segments_ = 0;
  bool ended_ = false;
};

// Thread-safe.
class CatalogCopies {
 public:
  CatalogCopies(BlobStore& store, base::Clock& clock, base::Random& random, const DataKeys& keys,
                const RawUuid& repository)
      : store_(store), clock_(clock), random_(random), keys_(keys), repository_(repository) {}

  // Newest first. Copies that can't be read at all are listed as damaged.
  absl::StatusOr<std::vector<CatalogCopyInfo>> List();
  absl::StatusOr<std::unique_ptr<CatalogCopyWriter>> Begin();
  // NOT_FOUND / CATALOG_COPY_NOT_FOUND; DATA_LOSS / CATALOG_COPY_DAMAGED.
  absl::StatusOr<std::unique_ptr<CatalogCopyReader>> Open(const std::string& id);
  // Deletes what isn't kept any more (CopiesToForget).
  absl::Status Thin();

 private:
  BlobStore& store_;
  base::Clock& clock_;
  base::Random& random_;
  const DataKeys& keys_;
  const RawUuid repository_;
};

// Of `copies`, newest first: the ids of those that are neither among the kCatalogCopiesKept newest, nor the newest of
// one of the kCatalogDaysKept last days on which there was one. A damaged one goes when there are enough newer ones.
std::vector<std::string> CopiesToForget(const std::vector<CatalogCopyInfo>& copies);

// Reads the object and checks what can be checked without a key. DATA_LOSS / CATALOG_COPY_DAMAGED.
absl::Status CheckStoredCatalogCopy(BlobStore& store, const std::string& name);

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CATALOG_COPIES_H_
