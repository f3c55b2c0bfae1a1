// Recovery points as objects: published whole, all of a commit or none (docs/formats/repository.md sections 6 and 7).
#ifndef UMBRA_STORAGE_REPO_POINT_STORE_H_
#define UMBRA_STORAGE_REPO_POINT_STORE_H_

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/base/random.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/format.h"

namespace umbra::repo {

// Thread-safe.
class PointStore {
 public:
  PointStore(BlobStore& store, base::Random& random, const DataKeys& keys, const RawUuid& repository)
      : store_(store), random_(random), keys_(keys), repository_(repository) {}

  // Finishes commits that a crash cut short. Call once, first.
  absl::Status FinishCommits();

  // Visible and durable, all of them, when OK; on error none, unless taking them back failed as well.
  absl::Status Publish(const std::vector<Point>& points);

  // Ids of the visible points, sorted.
  absl::StatusOr<std::vector<std::string>> List();
  // NOT_FOUND / RECOVERY_POINT_NOT_FOUND; DATA_LOSS / MANIFEST_DAMAGED.
  absl::StatusOr<Point> Read(const std::string& id);
  // Bytes of the point's object; errors as Read.
  absl::StatusOr<uint64_t> SizeOf(const std::string& id);
  absl::Status Remove(const std::string& id);

 private:
  absl::Status PutAll(const std::vector<EncodedPoint>& points);
  void TakeBack(const std::vector<EncodedPoint>& points, const std::string& commit);

  BlobStore& store_;
  base::Random& random_;
  const DataKeys& keys_;
  const RawUuid repository_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_POINT_STORE_H_
