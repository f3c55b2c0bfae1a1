// After a start of the daemon: what each job that had not ended becomes.
//
//   QUEUED                              stays.
//   DISPATCHING                         QUEUED again; the next Assign starts a new attempt.
//   any later state of a backup, when the repository holds its recovery points (the daemon died between the
//   repository's commit and the catalog's, or later): the points are entered and the job SUCCEEDED, with the warning
//   DAEMON_RESTARTED. RUNNING                             FAILED / DAEMON_RESTARTED: its data session is lost; or
//   QUEUED for another attempt, when it may have one.
//   COMMITTING                          FAILED / RECOVERY_POINT_NOT_FOUND when the repository lost the points; their
//   rows go. CANCELLING                          CANCELLED.
// Agents that still work on such a job list it in their Hello and are told to cancel (server/dispatch).
#ifndef UMBRA_SERVER_JOBS_JOB_RECOVERY_H_
#define UMBRA_SERVER_JOBS_JOB_RECOVERY_H_

#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "server/jobs/job_engine.h"
#include "storage/catalog/catalog.h"

namespace umbra::jobs {

// The recovery points of a job that the repository holds durably; empty when none. All or none: the repository never
// shows a part of a job's points.
using PointsInRepository = absl::FunctionRef<absl::StatusOr<std::vector<catalog::RecoveryPoint>>(const Job&)>;

struct RecoveryReport {
  int requeued = 0;
  int finished = 0;
  int failed = 0;
  int cancelled = 0;
};

// Call once, before agents and callers are let in. When it fails (the repository can't be read) the remaining jobs are
// as they were, and it may be called again.
absl::StatusOr<RecoveryReport> RecoverJobs(catalog::Catalog& catalog, JobEngine& engine, PointsInRepository points);

}  // namespace umbra::jobs

#endif  // UMBRA_SERVER_JOBS_JOB_RECOVERY_H_
