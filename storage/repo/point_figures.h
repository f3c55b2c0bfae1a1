// What the points of a repository hold together, kept up to date as they come and go: with a million of them nobody can
// look at all to tell.
#ifndef UMBRA_STORAGE_REPO_POINT_FIGURES_H_
#define UMBRA_STORAGE_REPO_POINT_FIGURES_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace umbra::repo {

// A point never changes, so neither do its figures.
struct PointFigures {
  uint64_t logical_bytes = 0;  // data of its disks
  uint64_t size_bytes = 0;     // of its object
};

struct PointTotals {
  uint64_t count = 0;  // also of points that can't be read
  uint64_t logical_bytes = 0;
  uint64_t size_bytes = 0;
};

// Counted once, from a list of all points; from then on it is told of every change. Thread-safe.
class PointFiguresTable {
 public:
  // A point was published.
  void Came(const std::string& id, const PointFigures& figures);
  // A point was deleted, or its publication taken back.
  void Went(const std::string& id);
  // A point was read. Doesn't say that it is still there.
  void Learn(const std::string& id, const PointFigures& figures);

  bool counted() const;
  // `ids`: a list of all points, made after this object; what came and went meanwhile is known here.
  void Count(const std::vector<std::string>& ids);
  // Those of the counted points that nobody has read yet.
  std::vector<std::string> Unread() const;

  struct Sums {
    PointTotals all;
    PointTotals some;  // of those asked for that are there
  };
  Sums Sum(const std::vector<std::string>& some) const;

 private:
  struct Entry {
    PointFigures figures;
    bool there = false;
    bool read = false;
  };

  void UpdateLocked(const std::string& id, bool there, const PointFigures* figures) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  static void Add(PointTotals& to, const Entry& entry, int sign);

  mutable absl::Mutex mu_;
  bool counted_ ABSL_GUARDED_BY(mu_) = false;
  std::map<std::string, Entry> entries_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> unread_ ABSL_GUARDED_BY(mu_);
  std::set<std::string> gone_ ABSL_GUARDED_BY(mu_);  // until it is counted: a list may still name them
  PointTotals totals_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_POINT_FIGURES_H_
