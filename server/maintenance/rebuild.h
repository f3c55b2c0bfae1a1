// Brings the catalog's recovery points in line with what a repository holds. The repository is the truth: a commit
// writes the manifest first and the row second, so a row can be missing after a crash, or all of them with a lost
// catalog.
#ifndef UMBRA_SERVER_MAINTENANCE_REBUILD_H_
#define UMBRA_SERVER_MAINTENANCE_REBUILD_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

// The catalog's row of a recovery point that `repository` holds.
catalog::RecoveryPoint ToRecord(const repo::Manifest& manifest, const catalog::RepositoryId& repository);

// The catalog's copy of what the repository says may be done with a point.
catalog::RecoveryPointProtection ToRecord(const repo::PointProtection& protection);

// What repositories hold of jobs, for jobs::RecoverJobs: each repository is read once, when it is first asked about. One thread at a
// time.
class PointsOfJobs {
 public:
  // `repositories` outlives it.
  explicit PointsOfJobs(const RepositorySet& repositories) : repositories_(repositories) {}

  // What `job`'s repository held of it when it was read. Empty when there is nothing, or when the configuration doesn't have the
  // repository any more. Errors: those of the repository, which is then read again the next time.
  absl::StatusOr<std::vector<catalog::RecoveryPoint>> Of(const catalog::Job& job);

 private:
  const RepositorySet& repositories_;
  std::map<catalog::RepositoryId, std::multimap<std::string, repo::Manifest>> known_;  // by job
};

enum class RebuildMode {
  kAddOnly,  // at a start: a repository that isn't quite there must not empty the catalog
  kFull,     // a person asked: also removes rows whose point the repository doesn't hold
};

struct RebuildReport {
  int64_t found_count = 0;
  int64_t added_count = 0;
  int64_t removed_count = 0;
  int64_t changed_count = 0;          // rows whose protection (removed, held, locked) was another
  std::vector<std::string> problems;  // manifests that can't be read; their rows stay
};

// Safe beside running jobs: points of a job that hasn't ended are left to it. Each row is durable when OK returns, and
// one event tells of the changes. Reads every manifest. Errors: those of the repository and of the catalog.
absl::StatusOr<RebuildReport> RebuildCatalog(catalog::Catalog& catalog, const OpenRepository& repository,
                                             base::Clock& clock, RebuildMode mode);

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_REBUILD_H_
