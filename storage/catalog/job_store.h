// Jobs as rows. Only server/jobs writes here: it keeps the rules of the states. Used inside Catalog::Read and Write.
#ifndef UMBRA_STORAGE_CATALOG_JOB_STORE_H_
#define UMBRA_STORAGE_CATALOG_JOB_STORE_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "storage/catalog/records.h"
#include "storage/sqlite/database.h"

namespace umbra::catalog {

// Most warnings, and most damaged chunks, that one job keeps: enough to see what is wrong, and a job stays a small row.
inline constexpr int kJobWarningsMax = 100;
inline constexpr int kJobDamageMax = 1000;
// Most phases that one attempt keeps; who writes them puts neighbours together.
inline constexpr size_t kJobPhasesMax = 64;
inline constexpr size_t kJobWritersMax = 512;  // of 64 machines with eight writers each

class JobStore {
 public:
  struct Filter {
    bool active_only = false;
    std::optional<JobKind> kind;
    PolicyId policy;  // empty: all
  };

  explicit JobStore(sqlite::Database& db) : db_(db) {}

  // Writes the job and returns its number. `warnings`, `damage`, `phases` and `recovery_points` are not read.
  absl::StatusOr<int64_t> Insert(const Job& job);
  // Writes what may change: everything but id, number, spec, terms, create_time, and the lists that have calls of their
  // own. NOT_FOUND / JOB_NOT_FOUND.
  absl::Status Update(const Job& job);
  // Appends; beyond kJobWarningsMax (kJobDamageMax) it is dropped.
  absl::Status AddWarning(const JobId& id, const JobMessage& warning);
  absl::Status AddDamage(const JobId& id, const DamagedChunk& chunk);
  // All phases of the job, in place of what is there; at most kJobPhasesMax.
  absl::Status SetPhases(const JobId& id, const std::vector<JobPhaseTime>& phases);
  // All writers of the job, in place of what is there; at most kJobWritersMax.
  absl::Status SetWriters(const JobId& id, const std::vector<JobWriter>& writers);
  // How many recovery points a backup made.
  absl::Status SetPointCount(const JobId& id, int64_t count);
  // A backup that went well or failed becomes the newest one of what it was of.
  absl::Status SetOutcome(const Job& job);
  // What a prune did; the first word counts.
  absl::Status SetPruneResult(const JobId& id, const PruneResult& result);

  // NOT_FOUND / JOB_NOT_FOUND.
  absl::StatusOr<Job> Get(const JobId& id) const;
  // Newest first. The key is the job's number.
  absl::StatusOr<Page<Job, int64_t>> List(const Filter& filter, const ListOptions<int64_t>& options) const;
  // All jobs that have not ended, in order of submission.
  absl::StatusOr<std::vector<ActiveJob>> Active() const;
  absl::StatusOr<int64_t> CountQueued() const;
  // How the backups that ended in [start, end) went, of what is kept of jobs. Some 100 ns for each of them.
  absl::StatusOr<BackupSummary> SummarizeBackups(absl::Time start, absl::Time end) const;
  // Why a job failed; empty when it is gone.
  absl::StatusOr<JobMessage> ErrorOf(const JobId& id) const;
  // Deletes at most `count_max` jobs that ended before `before`, but for those that a recovery point in the catalog
  // came from. Returns how many went; fewer than count_max: no more are to go.
  absl::StatusOr<int64_t> Prune(absl::Time before, int count_max);
  // The newest full verification of a whole repository, by when it was submitted; absent when there was none.
  struct Submitted {
    absl::Time create_time;
    JobState state = JobState::kQueued;
  };
  absl::StatusOr<std::optional<Submitted>> LastVerification(const RepositoryId& repository) const;
  // The newest prune of a repository that was no dry run.
  absl::StatusOr<std::optional<Submitted>> LastPrune(const RepositoryId& repository) const;

 private:
  absl::StatusOr<std::optional<Submitted>> LastOf(const RepositoryId& repository, int prune) const;
  absl::Status WriteDisks(const Job& job);
  absl::Status ReadChildren(Job& job) const;
  absl::Status ReadPhases(Job& job) const;
  absl::Status ReadWriters(Job& job) const;

  sqlite::Database& db_;
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_JOB_STORE_H_
