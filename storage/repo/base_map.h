// The map of one disk in an earlier recovery point, as something that a new map can be built on; and the holds that
// keep such a recovery point from being deleted meanwhile.
#ifndef UMBRA_STORAGE_REPO_BASE_MAP_H_
#define UMBRA_STORAGE_REPO_BASE_MAP_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/repository.h"

namespace umbra::repo {

struct Core;

// Recovery points that sessions build on. Whoever deletes a point for good asks here first, so that everything its maps
// name stays needed, and so stored, until the new point is published and names it itself. Thread-safe.
class BaseHolds {
 public:
  // One hold; ends with it.
  class Hold {
   public:
    Hold(BaseHolds& owner, std::string point);
    ~Hold();
    Hold(const Hold&) = delete;
    Hold& operator=(const Hold&) = delete;

   private:
    BaseHolds& owner_;
    const std::string point_;
  };

  // Runs `remove` unless somebody holds the point; nobody gets a hold meanwhile. False when it is held and nothing was
  // done.
  absl::StatusOr<bool> RemoveUnlessHeld(const std::string& point, const std::function<absl::Status()>& remove);

 private:
  absl::Mutex mu_;  // held across a removal, which is rare and short
  std::map<std::string, int> holds_ ABSL_GUARDED_BY(mu_);
};

// Constant after Open; its pages are read by Ids, one thread at a time for each reader.
class BaseMap {
 public:
  // Holds the point. FAILED_PRECONDITION / CBT_BASE_UNUSABLE when it is gone, has no such disk of this size, or when a
  // chunk or page that it needs is missing or damaged. Looks at every page, and at every chunk only when some chunk or
  // pack of the repository is known to be bad.
  static absl::StatusOr<std::shared_ptr<const BaseMap>> Open(Core& core, const BaseDisk& base);
  ~BaseMap();

  const std::vector<ChunkId>& pages() const { return pages_; }

 private:
  BaseMap(Core& core, const BaseDisk& base);
  absl::Status Load(Core& core, const BaseDisk& base);
  absl::Status CheckHealth(Core& core, const BaseDisk& base) const;

  const BaseHolds::Hold hold_;
  std::vector<ChunkId> pages_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_BASE_MAP_H_
