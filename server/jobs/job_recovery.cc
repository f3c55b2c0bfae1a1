#include "server/jobs/job_recovery.h"

#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::jobs {
namespace {

// The repository's word counts: what it holds is entered, and the job is done.
absl::StatusOr<Job> Finish(JobEngine& engine, const JobId& id, std::vector<catalog::RecoveryPoint> points) {
  RETURN_IF_ERROR(
      engine.Apply(id, kCurrentAttempt, JobEvent::kRepoCommitted, {.recovery_points = std::move(points)}).status());
  RETURN_IF_ERROR(
      engine.AddWarning(id, kCurrentAttempt, {"DAEMON_RESTARTED", "the daemon restarted while the agent cleaned up"}));
  ASSIGN_OR_RETURN(Applied applied, engine.Apply(id, kCurrentAttempt, JobEvent::kAgentDone));
  return std::move(applied.job);
}

// A COMMITTING job whose points the repository lost: what the catalog shows of them is wrong.
absl::Status ForgetPoints(catalog::Catalog& catalog, const JobId& id) {
  return catalog.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const std::vector<catalog::RecoveryPointId> ids, stores.recovery_points.IdsOfJob(id));
    for (const catalog::RecoveryPointId& point : ids) RETURN_IF_ERROR(stores.recovery_points.Delete(point));
    return absl::OkStatus();
  });
}

absl::StatusOr<Job> Recover(catalog::Catalog& catalog, JobEngine& engine, const Job& job, PointsInRepository points) {
  EventFacts facts;
  if (catalog::KindOf(job.spec) == catalog::JobKind::kBackup) {
    ASSIGN_OR_RETURN(std::vector<catalog::RecoveryPoint> held, points(job));
    if (!held.empty()) return Finish(engine, job.id, std::move(held));
    if (job.state == JobState::kCommitting) {
      RETURN_IF_ERROR(ForgetPoints(catalog, job.id));
      facts.error = {"RECOVERY_POINT_NOT_FOUND", "the repository doesn't hold the committed recovery points any more"};
    }
  }
  ASSIGN_OR_RETURN(Applied applied, engine.Apply(job.id, kCurrentAttempt, JobEvent::kServerRestarted, facts));
  return std::move(applied.job);
}

void Count(RecoveryReport& report, JobState state) {
  report.requeued += state == JobState::kQueued;
  report.finished += state == JobState::kSucceeded;
  report.failed += state == JobState::kFailed;
  report.cancelled += state == JobState::kCancelled;
}

}  // namespace

absl::StatusOr<RecoveryReport> RecoverJobs(catalog::Catalog& catalog, JobEngine& engine, PointsInRepository points) {
  RecoveryReport report;
  ASSIGN_OR_RETURN(const std::vector<ActiveJob> active, engine.Active());
  for (const ActiveJob& entry : active) {
    if (entry.state == JobState::kQueued) continue;
    ASSIGN_OR_RETURN(const Job before, engine.Get(entry.id));
    absl::StatusOr<Job> after = Recover(catalog, engine, before, points);
    if (!after.ok()) return base::Annotate(after.status(), "recover job {}", entry.id);
    base::Log("jobs")->info("job recovered job={} was={} is={}", entry.id, catalog::NameOf(entry.state),
                            catalog::NameOf(after->state));
    Count(report, after->state);
  }
  return report;
}

}  // namespace umbra::jobs
