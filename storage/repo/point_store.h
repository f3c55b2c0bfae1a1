// Recovery points as objects: published whole, all of a commit or none (docs/formats/repository.md sections 6 and 7).
#ifndef UMBRA_STORAGE_REPO_POINT_STORE_H_
#define UMBRA_STORAGE_REPO_POINT_STORE_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/random.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/format.h"
#include "storage/repo/point_figures.h"

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
  // NOT_FOUND / RECOVERY_POINT_NOT_FOUND. Doesn't read it.
  absl::Status RequireThere(const std::string& id);
  // Of all visible points, and of those among `some`. Reads every point that nobody has read yet: once all of them. What
  // can't be read counts as a point without bytes.
  absl::StatusOr<PointFiguresTable::Sums> Sum(const std::vector<std::string>& some);
  // Durable. UNAVAILABLE / RECOVERY_POINT_BUSY while a commit that names the point isn't over.
  absl::Status Remove(const std::string& id);

  // Points of commits that aren't finished: they are not visible yet, but will be at the next opening. Call it before List: a
  // commit that disappears meanwhile has made its points visible.
  absl::StatusOr<std::vector<Point>> ReadCommits();
  // What was deleted before can't come back with a power cut.
  absl::Status MakeDeletionsDurable();

 private:
  absl::Status PutAll(const std::vector<EncodedPoint>& points);
  void ForgetCommit(const std::string& commit);
  void TakeBack(const std::vector<EncodedPoint>& points, const std::string& commit);

  BlobStore& store_;
  base::Random& random_;
  const DataKeys& keys_;
  const RawUuid repository_;
  PointFiguresTable figures_;

  absl::Mutex mu_;
  // Commits whose object may be there, with the points that they name.
  std::map<std::string, std::set<std::string>> open_commits_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_POINT_STORE_H_
