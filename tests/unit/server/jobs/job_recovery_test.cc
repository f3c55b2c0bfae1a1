// Proves what a start of the daemon makes of every job that had not ended, with and without its recovery points in the
// repository, and that a start that fails can be repeated.
#include "server/jobs/job_recovery.h"

#include <map>

#include "tests/unit/server/jobs/fixture.h"

namespace umbra::jobs {
namespace {

class JobRecoveryTest : public EngineTest {
 protected:
  // The repository holds the points of these jobs.
  void InRepository(const Job& job) { held_[job.id] = PointsOf(job); }

  absl::StatusOr<RecoveryReport> Recover() {
    Restart();
    clock_.Advance(absl::Seconds(1));
    return RecoverJobs(*catalog_, *engine_, [&](const Job& job) -> absl::StatusOr<std::vector<RecoveryPoint>> {
      if (broken_) return absl::UnavailableError("repository is away");
      auto it = held_.find(job.id);
      return it == held_.end() ? std::vector<RecoveryPoint>() : it->second;
    });
  }

  std::map<JobId, std::vector<RecoveryPoint>> held_;
  bool broken_ = false;
};

TEST_F(JobRecoveryTest, QueuedStaysAndDispatchingIsQueuedAgain) {
  const Job queued = Submit(Backup({"u1"}));
  const Job sent = Submit(Backup({"u2"}));
  Do(sent.id, JobEvent::kAssign);
  const auto report = Recover();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->requeued, 1);
  EXPECT_EQ(Get(queued.id).state, JobState::kQueued);
  EXPECT_EQ(Get(queued.id).revision, queued.revision);
  EXPECT_EQ(Get(sent.id).state, JobState::kQueued);
  EXPECT_EQ(Do(sent.id, JobEvent::kAssign).job.attempt, 2);
}

TEST_F(JobRecoveryTest, RunningJobsOfAllKindsFail) {
  const Job backup = Running(Backup({"u1"}));
  const Job restore = Running(RestoreInPlace("u2"));
  const Job verify = Running(Verify());
  EXPECT_EQ(Recover()->failed, 3);
  for (const Job& job : {backup, restore, verify}) {
    EXPECT_EQ(Get(job.id).state, JobState::kFailed);
    EXPECT_EQ(Get(job.id).error.reason, "DAEMON_RESTARTED");
    EXPECT_EQ(base::ReasonOf(engine_->CheckWorker(job.id, 1, catalog::HostOf(job.spec)).status()), "SESSION_NOT_FOUND");
  }
  EXPECT_TRUE(AssignAll().empty());
}

TEST_F(JobRecoveryTest, ARunningJobWithAttemptsLeftIsQueuedForTheNextOne) {
  const auto submitted = engine_->Submit({.spec = Backup({"u1"}), .terms = {.retries_max = 1}});
  ASSERT_TRUE(submitted.ok());
  const JobId id = submitted->id;
  Do(id, JobEvent::kAssign);
  Do(id, JobEvent::kAccept);
  EXPECT_EQ(Recover()->requeued, 1);
  EXPECT_EQ(Get(id).state, JobState::kQueued);
  EXPECT_EQ(Get(id).last_attempt_error.reason, "DAEMON_RESTARTED");
  EXPECT_FALSE(engine_->Apply(id, 1, JobEvent::kAgentDone)->changed);
  clock_.Advance(absl::Minutes(1));
  EXPECT_EQ(AssignAll(), std::vector<JobId>{id});
  EXPECT_EQ(Get(id).attempt, 2);
}

TEST_F(JobRecoveryTest, CancellingBecomesCancelled) {
  const Job job = Running(Backup({"u1"}));
  ASSERT_TRUE(engine_->Cancel(job.id).ok());
  EXPECT_EQ(Recover()->cancelled, 1);
  EXPECT_EQ(Get(job.id).state, JobState::kCancelled);
}

TEST_F(JobRecoveryTest, ACommittedBackupIsFinished) {
  const Job job = Commit(Running(Backup({"u1"})));
  InRepository(job);
  EXPECT_EQ(Recover()->finished, 1);
  EXPECT_EQ(Get(job.id).state, JobState::kSucceeded);
  EXPECT_EQ(Get(job.id).warnings.at(0).reason, "DAEMON_RESTARTED");
  EXPECT_EQ(PointsInCatalog().size(), 1u);
}

// The daemon died between the repository's commit and the catalog's.
TEST_F(JobRecoveryTest, PointsThatOnlyTheRepositoryHasAreEntered) {
  const Job running = Running(Backup({"u1", "u2"}));
  const Job stopping = Running(Backup({"u3"}));
  ASSERT_TRUE(engine_->Cancel(stopping.id).ok());
  InRepository(running);
  InRepository(stopping);
  EXPECT_EQ(Recover()->finished, 2);
  EXPECT_EQ(Get(running.id).state, JobState::kSucceeded);
  EXPECT_EQ(Get(running.id).recovery_points.size(), 2u);
  EXPECT_EQ(Get(stopping.id).state, JobState::kSucceeded);
  EXPECT_EQ(PointsInCatalog().size(), 3u);
}

TEST_F(JobRecoveryTest, PointsThatTheRepositoryLostGoFromTheCatalog) {
  const Job job = Commit(Running(Backup({"u1"})));
  EXPECT_EQ(Recover()->failed, 1);
  EXPECT_EQ(Get(job.id).state, JobState::kFailed);
  EXPECT_EQ(Get(job.id).error.reason, "RECOVERY_POINT_NOT_FOUND");
  EXPECT_TRUE(PointsInCatalog().empty());
}

TEST_F(JobRecoveryTest, AStartWithoutRepositoryFailsAndIsRepeated) {
  const Job job = Running(Backup({"u1"}));
  broken_ = true;
  EXPECT_EQ(Recover().status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(Get(job.id).state, JobState::kRunning);
  broken_ = false;
  InRepository(job);
  EXPECT_EQ(Recover()->finished, 1);
}

TEST_F(JobRecoveryTest, ASecondRecoveryFindsNothing) {
  Running(Backup({"u1"}));
  ASSERT_TRUE(Recover().ok());
  const size_t events = Events().size();
  const auto report = Recover();
  ASSERT_TRUE(report.ok());
  EXPECT_EQ(report->failed + report->finished + report->requeued + report->cancelled, 0);
  EXPECT_EQ(Events().size(), events);
}

}  // namespace
}  // namespace umbra::jobs
