// Proves what the engine adds to the table: idempotent requests, attempts that fence late messages, one working job per
// virtual machine, rows with their events, progress that is cheap and never goes back, and watchers that are told.
#include "server/jobs/job_engine.h"

#include <atomic>
#include <thread>

#include "absl/time/clock.h"
#include "server/jobs/retry.h"
#include "tests/unit/server/jobs/fixture.h"

namespace umbra::jobs {
namespace {

using ::testing::ElementsAre;

EventFacts Progress(int64_t done, int64_t total = 100) {
  return {.phase = catalog::JobPhase::kTransferring,
          .progress = catalog::JobProgress{
              .done_bytes = done, .total_bytes = total, .disks = {{{HostId("h1"), "u1"}, "vda", done, total}}}};
}

// The row as it is on disk, without what is only in memory.
class JobEngineTest : public EngineTest {
 protected:
  Job Row(const JobId& id) {
    return *catalog_->Read([&](const catalog::Stores& s) { return s.jobs.Get(id); });
  }
};

// ---- Submit ----

TEST_F(JobEngineTest, SubmitQueuesAndWritesAnEvent) {
  const Job job = Submit(Backup({"u1"}));
  EXPECT_EQ(job.state, JobState::kQueued);
  EXPECT_EQ(job.number, 1);
  EXPECT_EQ(job.attempt, 0);
  EXPECT_EQ(Get(job.id).spec, JobSpec(Backup({"u1"})));
  ASSERT_EQ(Events().size(), 1u);
  EXPECT_EQ(Events()[0].type, "JOB_STATE_CHANGED");
  EXPECT_EQ(Events()[0].resource, "jobs/" + job.id.value);
  EXPECT_EQ(Events()[0].message, "backup queued");
}

TEST_F(JobEngineTest, ARepeatedRequestGetsTheFirstJobAsItIsNow) {
  const RequestKey key{"r1", "hash"};
  EXPECT_EQ(*engine_->FindRequest(key), std::nullopt);
  const Job first = *engine_->Submit(Verify(), key);
  Do(first.id, JobEvent::kAssign);
  const Job second = *engine_->Submit(Verify(), key);
  EXPECT_EQ(second.id, first.id);
  EXPECT_EQ(second.state, JobState::kDispatching);
  EXPECT_EQ((*engine_->FindRequest(key))->id, first.id);
  EXPECT_EQ(engine_->Active()->size(), 1u);
  Restart();
  EXPECT_EQ(engine_->Submit(Verify(), key)->id, first.id);
}

TEST_F(JobEngineTest, ARequestIdBelongsToOneRequest) {
  ASSERT_TRUE(engine_->Submit(Verify(), {"r1", "hash"}).ok());
  const absl::Status status = engine_->Submit(Verify(), {"r1", "other"}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(base::ReasonOf(status), "REQUEST_ID_REUSED");
  EXPECT_EQ(base::ReasonOf(engine_->FindRequest({"r1", "other"}).status()), "REQUEST_ID_REUSED");
  EXPECT_EQ(base::ReasonOf(engine_->Submit(Verify(), {std::string(65, 'x'), ""}).status()), "INVALID_REQUEST");
}

TEST_F(JobEngineTest, OfEqualRequestsAtOnceOneMakesAJob) {
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { EXPECT_TRUE(engine_->Submit(Verify(), {"r1", "hash"}).ok()); });
    }
  }
  EXPECT_EQ(engine_->Active()->size(), 1u);
}

TEST_F(JobEngineTest, OldRequestIdsAreForgotten) {
  ASSERT_TRUE(engine_->Submit(Verify(), {"r1", "hash"}).ok());
  clock_.Advance(kRequestsKeptFor + absl::Seconds(1));
  ASSERT_TRUE(engine_->Prune(absl::Hours(24 * 365)).ok());
  EXPECT_EQ(*engine_->FindRequest({"r1", "hash"}), std::nullopt);
}

TEST_F(JobEngineTest, SpecsWithHolesAreRefused) {
  BackupSpec two_hosts = Backup({"u1"});
  two_hosts.vms.push_back({HostId("h2"), "u2"});
  RestoreSpec no_mode = RestoreInPlace("u1");
  no_mode.mode = catalog::RestoreMode::kUnspecified;
  RestoreSpec nothing_replaced = RestoreInPlace("");
  RestoreSpec new_replaces = RestoreInPlace("u1");
  new_replaces.mode = catalog::RestoreMode::kNew;
  for (const JobSpec& spec :
       {JobSpec(Backup({})), JobSpec(Backup({"u1", "u1"})), JobSpec(Backup({""})), JobSpec(two_hosts), JobSpec(no_mode),
        JobSpec(nothing_replaced), JobSpec(new_replaces), JobSpec(VerifySpec{}), JobSpec(RestoreSpec{})}) {
    const absl::Status status = engine_->Submit(spec).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_EQ(base::ReasonOf(status), "INVALID_REQUEST");
  }
  EXPECT_TRUE(Events().empty());
}

// ---- Life cycle ----

TEST_F(JobEngineTest, ABackupGoesItsWay) {
  Job job = Submit(Backup({"u1", "u2"}));
  job = Do(job.id, JobEvent::kAssign).job;
  EXPECT_EQ(job.state, JobState::kDispatching);
  EXPECT_EQ(job.attempt, 1);
  EXPECT_EQ(job.start_time, std::nullopt);
  clock_.Advance(absl::Seconds(1));
  job = Do(job.id, JobEvent::kAccept).job;
  EXPECT_EQ(job.state, JobState::kRunning);
  EXPECT_EQ(job.start_time, clock_.Now());
  EXPECT_TRUE(PointsInCatalog().empty());
  job = Commit(job);
  EXPECT_EQ(job.state, JobState::kCommitting);
  EXPECT_EQ(job.recovery_points.size(), 2u);
  EXPECT_EQ(PointsInCatalog().size(), 2u);
  clock_.Advance(absl::Seconds(1));
  job = Do(job.id, JobEvent::kAgentDone, {.freeze_duration = absl::Milliseconds(150)}).job;
  EXPECT_EQ(job.state, JobState::kSucceeded);
  EXPECT_EQ(job.end_time, clock_.Now());
  EXPECT_EQ(job.freeze_duration, absl::Milliseconds(150));
  EXPECT_TRUE(job.error.reason.empty());
  std::vector<std::string> messages;
  for (const catalog::Event& event : Events()) messages.push_back(event.message);
  EXPECT_THAT(messages, ElementsAre("backup queued", "backup dispatching", "backup running", "recovery point of u1",
                                    "recovery point of u2", "backup committing", "backup succeeded"));
}

TEST_F(JobEngineTest, ARestoreTellsWhatItMade) {
  const Job job = Running(RestoreInPlace("u1"));
  const Job done = Do(job.id, JobEvent::kAgentDone, {.restored_vm_uuid = "u9"}).job;
  EXPECT_EQ(done.state, JobState::kSucceeded);
  EXPECT_EQ(done.restored_vm_uuid, "u9");
}

TEST_F(JobEngineTest, AFailureKeepsItsReasonAndIsAnErrorEvent) {
  const Job job = Running(Backup({"u1"}));
  const Job failed = Do(job.id, JobEvent::kAgentFailed, {.error = {"GUEST_FREEZE_TIMEOUT", "too slow"}}).job;
  EXPECT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.error, (catalog::JobMessage{"GUEST_FREEZE_TIMEOUT", "too slow"}));
  EXPECT_EQ(Events().back().severity, catalog::Severity::kError);
  EXPECT_EQ(Events().back().message, "backup failed: too slow (GUEST_FREEZE_TIMEOUT)");
}

TEST_F(JobEngineTest, ABackupIsNotDoneWithoutACommit) {
  const Job job = Running(Backup({"u1"}));
  const Job failed = Do(job.id, JobEvent::kAgentDone).job;
  EXPECT_EQ(failed.state, JobState::kFailed);
  EXPECT_EQ(failed.error.reason, "UPLOAD_INVALID");
}

TEST_F(JobEngineTest, LostWorkersFailTheJobWithTheReason) {
  const Job a = Running(Backup({"u1"}));
  const Job b = Running(Backup({"u2"}));
  const Job c = Running(Backup({"u3"}));
  EXPECT_EQ(Do(a.id, JobEvent::kAgentLost).job.error.reason, "AGENT_RESTARTED");
  EXPECT_EQ(Do(b.id, JobEvent::kLeaseExpired).job.error.reason, "AGENT_LOST");
  EXPECT_EQ(Do(c.id, JobEvent::kAgentCancelled).job.error.reason, "AGENT_RESTARTED");
}

TEST_F(JobEngineTest, AWorkerThatFailsAfterTheCommitLeavesAWarning) {
  const Job job = Commit(Running(Backup({"u1"})));
  const Job done = Do(job.id, JobEvent::kAgentFailed, {.error = {"HYPERVISOR_ERROR", "no cleanup"}}).job;
  EXPECT_EQ(done.state, JobState::kSucceeded);
  EXPECT_THAT(done.warnings, ElementsAre(catalog::JobMessage{"HYPERVISOR_ERROR", "no cleanup"}));
  EXPECT_TRUE(done.error.reason.empty());
  EXPECT_EQ(Events().back().severity, catalog::Severity::kWarning);
}

TEST_F(JobEngineTest, AVerificationTellsTheDamage) {
  const Job job = Running(Verify());
  const catalog::DamagedChunk chunk{"c1", RecoveryPointId("p1"), "vda", 4096, "flipped"};
  const Job done = Do(job.id, JobEvent::kAgentDone, {.damage = {chunk}}).job;
  EXPECT_THAT(done.damage, ElementsAre(chunk));
}

TEST_F(JobEngineTest, UnknownJobsAreSaidSo) {
  const JobId none("none");
  EXPECT_EQ(base::ReasonOf(engine_->Get(none).status()), "JOB_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(engine_->Cancel(none).status()), "JOB_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(engine_->Apply(none, 1, JobEvent::kProgress).status()), "JOB_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(engine_->AddWarning(none, 1, {})), "JOB_NOT_FOUND");
}

TEST_F(JobEngineTest, ANoteIsAnEventOfItsJobUntilThatHasEnded) {
  const Job job = Running(Backup({"u1"}));
  ASSERT_TRUE(engine_->AddNote(job.id, 1, "pre hook ran").ok());
  const size_t events = Events().size();
  EXPECT_EQ(Events().back().type, "JOB_NOTE");
  EXPECT_EQ(Events().back().resource, "jobs/" + job.id.value);
  EXPECT_EQ(Events().back().message, "pre hook ran");
  EXPECT_EQ(base::ReasonOf(engine_->AddNote(JobId("none"), 1, "x")), "JOB_NOT_FOUND");
  Do(job.id, JobEvent::kAgentFailed);
  const size_t ended = Events().size();
  EXPECT_GT(ended, events);
  ASSERT_TRUE(engine_->AddNote(job.id, 1, "too late").ok());
  EXPECT_EQ(Events().size(), ended);
}

// ---- Cancel ----

TEST_F(JobEngineTest, CancelInEveryState) {
  const Job queued = Submit(Backup({"u1"}));
  EXPECT_EQ(engine_->Cancel(queued.id)->state, JobState::kCancelled);
  EXPECT_EQ(base::ReasonOf(engine_->Cancel(queued.id).status()), "JOB_ENDED");

  const Job running = Running(Backup({"u2"}));
  EXPECT_EQ(engine_->Cancel(running.id)->state, JobState::kCancelling);
  EXPECT_EQ(engine_->Cancel(running.id)->state, JobState::kCancelling);
  EXPECT_FALSE(Do(running.id, JobEvent::kProgress, Progress(5)).changed);
  EXPECT_EQ(Do(running.id, JobEvent::kAgentCancelled).job.state, JobState::kCancelled);

  const Job committing = Commit(Running(Backup({"u3"})));
  EXPECT_EQ(engine_->Cancel(committing.id)->state, JobState::kCommitting);
}

TEST_F(JobEngineTest, ACommitThatBeatsTheCancelWins) {
  const Job job = Running(Backup({"u1"}));
  ASSERT_TRUE(engine_->Cancel(job.id).ok());
  EXPECT_EQ(Commit(job).state, JobState::kCommitting);
  EXPECT_EQ(Do(job.id, JobEvent::kAgentCancelled).job.state, JobState::kSucceeded);
  EXPECT_EQ(PointsInCatalog().size(), 1u);
}

TEST_F(JobEngineTest, ACommitAfterTheEndIsRefusedAndShowsNothing) {
  const Job job = Running(Backup({"u1"}));
  Do(job.id, JobEvent::kLeaseExpired);
  const absl::Status status =
      engine_->Apply(job.id, 1, JobEvent::kRepoCommitted, {.recovery_points = PointsOf(job)}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(base::ReasonOf(status), "JOB_ENDED");
  EXPECT_TRUE(PointsInCatalog().empty());
}

// ---- Attempts ----

TEST_F(JobEngineTest, MessagesOfAnOlderAttemptChangeNothing) {
  Job job = Submit(Backup({"u1"}));
  Do(job.id, JobEvent::kAssign);
  Do(job.id, JobEvent::kAgentLost);
  EXPECT_EQ(Get(job.id).state, JobState::kQueued);
  EXPECT_FALSE(engine_->Apply(job.id, 1, JobEvent::kAgentDone)->changed);  // queued again: the number is still 1
  EXPECT_EQ(Do(job.id, JobEvent::kAssign).job.attempt, 2);
  const size_t events = Events().size();
  for (JobEvent event : {JobEvent::kAccept, JobEvent::kProgress, JobEvent::kAgentDone, JobEvent::kAgentFailed,
                         JobEvent::kAgentLost, JobEvent::kLeaseExpired, JobEvent::kAgentCancelled}) {
    const auto applied = engine_->Apply(job.id, 1, event, Progress(7));
    ASSERT_TRUE(applied.ok());
    EXPECT_FALSE(applied->changed);
    EXPECT_EQ(applied->job.state, JobState::kDispatching);
    EXPECT_EQ(applied->job.progress.done_bytes, 0);
  }
  ASSERT_TRUE(engine_->AddWarning(job.id, 1, {"LATE", ""}).ok());
  ASSERT_TRUE(engine_->AddNote(job.id, 1, "late").ok());
  EXPECT_TRUE(Get(job.id).warnings.empty());
  EXPECT_EQ(Events().size(), events);
  const absl::Status commit =
      engine_->Apply(job.id, 1, JobEvent::kRepoCommitted, {.recovery_points = PointsOf(job)}).status();
  EXPECT_EQ(base::ReasonOf(commit), "SESSION_NOT_FOUND");
  EXPECT_TRUE(PointsInCatalog().empty());
}

TEST_F(JobEngineTest, ANewAttemptStartsFromZero) {
  const Job job = Submit(Backup({"u1"}));
  Do(job.id, JobEvent::kAssign);
  Do(job.id, JobEvent::kAgentLost);
  const Job again = Do(job.id, JobEvent::kAssign).job;
  EXPECT_EQ(again.progress, catalog::JobProgress{});
  EXPECT_EQ(again.start_time, std::nullopt);
}

TEST_F(JobEngineTest, OnlyTheCurrentWorkerIsOne) {
  Job job = Submit(Backup({"u1"}));
  const HostId host("h1");
  EXPECT_EQ(base::ReasonOf(engine_->CheckWorker(job.id, 0, host).status()), "SESSION_NOT_FOUND");
  Do(job.id, JobEvent::kAssign);
  EXPECT_TRUE(engine_->CheckWorker(job.id, 1, host).ok());
  EXPECT_EQ(base::ReasonOf(engine_->CheckWorker(job.id, 2, host).status()), "SESSION_NOT_FOUND");
  EXPECT_EQ(base::ReasonOf(engine_->CheckWorker(job.id, 1, HostId("h2")).status()), "PERMISSION_DENIED");
  ASSERT_TRUE(engine_->Cancel(job.id).ok());
  EXPECT_EQ(base::ReasonOf(engine_->CheckWorker(job.id, 1, host).status()), "SESSION_NOT_FOUND");
}

// ---- Queue ----

TEST_F(JobEngineTest, JobsBeginInOrderAndMachinesOnce) {
  const Job a = Submit(Backup({"u1", "u2"}));
  const Job b = Submit(Backup({"u2", "u3"}));
  const Job c = Submit(RestoreInPlace("u3"));
  const Job d = Submit(Backup({"u4"}));
  const Job e = Submit(Verify());
  EXPECT_EQ(Get(a.id).wait_reason, "");
  EXPECT_EQ(Get(b.id).wait_reason, "VM_BUSY");
  // c waits behind b, although u3 is free: b came first. e is the daemon's own.
  EXPECT_THAT(AssignAll(), ElementsAre(a.id, d.id));
  EXPECT_EQ(*engine_->NextOwn(catalog::JobKind::kVerify), e.id);
  EXPECT_EQ(*engine_->NextOwn(catalog::JobKind::kPrune), std::nullopt);
  EXPECT_EQ(Get(b.id).wait_reason, "VM_BUSY");
  EXPECT_EQ(Get(c.id).wait_reason, "VM_BUSY");
  const absl::Status busy = engine_->Apply(b.id, kCurrentAttempt, JobEvent::kAssign).status();
  EXPECT_EQ(busy.code(), absl::StatusCode::kAborted);
  EXPECT_EQ(base::ReasonOf(busy), "VM_BUSY");
  EXPECT_EQ(Get(b.id).state, JobState::kQueued);
  EXPECT_THAT(AssignAll(), ElementsAre());
  Do(a.id, JobEvent::kAgentFailed);
  EXPECT_THAT(AssignAll(), ElementsAre(b.id));
  EXPECT_EQ(Get(b.id).wait_reason, "");
  EXPECT_EQ(Get(b.id).attempt, 1);
}

TEST_F(JobEngineTest, JobsOfOfflineHostsWait) {
  engine_->SetHost(HostId("h1"), "HOST_OFFLINE");
  const Job a = Submit(Backup({"u1"}, "h1"));
  const Job b = Submit(Backup({"u1"}, "h2"));
  EXPECT_THAT(AssignAll(), ElementsAre(b.id));
  EXPECT_EQ(Get(a.id).wait_reason, "HOST_OFFLINE");
  ASSERT_TRUE(engine_->Tick(absl::Minutes(1)).ok());
  EXPECT_EQ(Events().back().type, "JOB_STATE_CHANGED");  // it may come back at once
  clock_.Advance(absl::Minutes(1));
  ASSERT_TRUE(engine_->Tick(absl::Minutes(1)).ok());
  EXPECT_EQ(Events().back().type, "JOB_WAITING");
  EXPECT_EQ(Events().back().resource, "jobs/" + a.id.value);
  const size_t events = Events().size();
  clock_.Advance(absl::Minutes(1));
  ASSERT_TRUE(engine_->Tick(absl::Minutes(1)).ok());
  EXPECT_EQ(Events().size(), events);  // said once
  // What becomes due while its host is away for long already is told at once.
  const Job late = Submit(Backup({"u2"}, "h1"));
  ASSERT_TRUE(engine_->Tick(absl::Minutes(1)).ok());
  EXPECT_EQ(Events().back().resource, "jobs/" + late.id.value);
  engine_->SetHost(HostId("h1"), "");
  EXPECT_EQ(Get(a.id).wait_reason, "");
  EXPECT_THAT(AssignAll(), ElementsAre(a.id, late.id));  // it catches up
}

TEST_F(JobEngineTest, ADrainedHostGetsNothingNewAlsoAfterARestart) {
  ASSERT_TRUE(catalog_
                  ->Write([](catalog::Stores& s) -> absl::Status {
                    catalog::Host host{.id = HostId("h1"), .certificate_fingerprint = "f"};
                    RETURN_IF_ERROR(s.hosts.Insert(host));
                    host.drained = true;
                    return s.hosts.Update(host);
                  })
                  .ok());
  Restart();
  const Job running = Submit(Backup({"u0"}, "h2"));
  const Job a = Submit(Backup({"u1"}));
  EXPECT_THAT(AssignAll(), ElementsAre(running.id));
  EXPECT_EQ(Get(a.id).wait_reason, "HOST_DRAINED");
  engine_->SetDrained(HostId("h2"), true);
  EXPECT_EQ(Do(running.id, JobEvent::kAccept).job.state, JobState::kRunning);  // what it works on goes on
  int woken = 0;
  Subscription s = engine_->SubscribeStates([&] { ++woken; });
  engine_->SetDrained(HostId("h1"), false);
  EXPECT_EQ(woken, 1);
  EXPECT_THAT(AssignAll(), ElementsAre(a.id));
}

TEST_F(JobEngineTest, ManyChangesAreOneTransactionAndEachHasItsAnswer) {
  const Job a = Submit(Backup({"u1"}));
  const Job b = Submit(Backup({"u2"}));
  const auto applied = engine_->ApplyAll({{a.id, kCurrentAttempt, JobEvent::kAssign},
                                          {a.id, 1, JobEvent::kAccept},
                                          {a.id, 1, JobEvent::kProgress, Progress(5)},
                                          {b.id, kCurrentAttempt, JobEvent::kRepoCommitted},
                                          {JobId("none"), kCurrentAttempt, JobEvent::kAssign},
                                          {a.id, 0, JobEvent::kAgentDone},
                                          {a.id, 1, JobEvent::kAgentFailed, {.error = {"IO_ERROR", "disk"}}}});
  ASSERT_TRUE(applied.ok());
  EXPECT_EQ(applied->at(0)->job.state, JobState::kDispatching);
  EXPECT_EQ(applied->at(1)->job.state, JobState::kRunning);
  EXPECT_TRUE(applied->at(2)->changed);
  EXPECT_FALSE(applied->at(3).ok());
  EXPECT_EQ(base::ReasonOf(applied->at(4).status()), "JOB_NOT_FOUND");
  EXPECT_FALSE(applied->at(5)->changed);
  EXPECT_EQ(applied->at(6)->job.state, JobState::kFailed);
  EXPECT_EQ(applied->at(6)->job.progress.done_bytes, 5);
  EXPECT_EQ(Get(a.id).error.reason, "IO_ERROR");
  EXPECT_EQ(Get(b.id).state, JobState::kQueued);
  EXPECT_THAT(AssignAll(), ElementsAre(b.id));
}

// What the daemon does for each job of a night, without the wire; the rate is printed for people.
TEST_F(JobEngineTest, ManyJobsGoThroughInBatchesAndNoneIsLostOrDoubled) {
  constexpr int kJobs = 1000;
  base::SystemClock real;
  const absl::Duration start = real.Monotonic();
  std::vector<Submission> wanted;
  for (int i = 0; i < kJobs; ++i) {
    const std::string host = fmt::format("host{}", i % 40);
    engine_->SetHost(HostId(host), "");
    wanted.push_back(
        {.spec = Backup({fmt::format("u{}", i / 40)}, host), .terms = {.policy = catalog::PolicyId("nightly")}});
  }
  ASSERT_TRUE(engine_->SubmitAll(wanted).ok());
  size_t ended = 0;
  while (true) {
    const auto jobs = engine_->AssignNext(128);
    ASSERT_TRUE(jobs.ok());
    if (jobs->empty()) break;
    std::vector<Change> accepted, committed, done;
    for (const Job& job : *jobs) {
      accepted.push_back({job.id, job.attempt, JobEvent::kAccept});
      committed.push_back({job.id, job.attempt, JobEvent::kRepoCommitted, {.recovery_points = PointsOf(job)}});
      done.push_back({job.id, job.attempt, JobEvent::kAgentDone});
    }
    for (const std::vector<Change>& changes : {accepted, committed, done}) {
      const auto applied = engine_->ApplyAll(changes);
      ASSERT_TRUE(applied.ok());
      for (const auto& one : *applied) ASSERT_TRUE(one.ok() && one->changed);
    }
    ended += jobs->size();
  }
  EXPECT_EQ(ended, size_t{kJobs});
  EXPECT_EQ(PointsInCatalog().size(), size_t{kJobs});
  EXPECT_TRUE(engine_->Active()->empty());
  fmt::print("{} jobs in {}: {:.0f} a second\n", kJobs, absl::FormatDuration(real.Monotonic() - start),
             kJobs / absl::ToDoubleSeconds(real.Monotonic() - start));
}

// Calls that wait for each other are written together; one that can't be written spoils nothing but itself.
TEST_F(JobEngineTest, CallsThatWaitAreWrittenTogetherAndFailAlone) {
  constexpr int kJobs = 8;
  std::vector<Job> jobs;
  for (int i = 0; i < kJobs; ++i) jobs.push_back(Running(Backup({fmt::format("u{}", i)})));
  std::atomic<int> commits = 0;
  std::vector<absl::Status> answers(kJobs, absl::UnknownError(""));
  catalog_->SetEventListener([&](int64_t) { ++commits; });
  {
    absl::Mutex mu;
    bool go = false;
    std::vector<std::jthread> threads;
    // The catalog is busy until all of them wait.
    threads.emplace_back([&] {
      EXPECT_TRUE(catalog_
                      ->Write([&](catalog::Stores&) -> absl::Status {
                        absl::MutexLock lock(&mu);
                        mu.Await(absl::Condition(&go));
                        return absl::OkStatus();
                      })
                      .ok());
    });
    absl::SleepFor(absl::Milliseconds(20));
    for (int i = 0; i < kJobs; ++i) {
      threads.emplace_back([&, i] {
        std::vector<RecoveryPoint> points = PointsOf(jobs[i]);
        if (i == 5) points[0].mechanism = static_cast<catalog::BackupMechanism>(99);  // the schema refuses it
        answers[i] = engine_->Apply(jobs[i].id, 1, JobEvent::kRepoCommitted, {.recovery_points = points}).status();
      });
    }
    absl::SleepFor(absl::Milliseconds(100));
    absl::MutexLock lock(&mu);
    go = true;
  }
  catalog_->SetEventListener(nullptr);
  for (int i = 0; i < kJobs; ++i) EXPECT_EQ(answers[i].ok(), i != 5) << i << answers[i];
  EXPECT_EQ(PointsInCatalog().size(), size_t{kJobs - 1});
  EXPECT_EQ(Get(jobs[5].id).state, JobState::kRunning);
  EXPECT_LE(commits, kJobs - 1);
  int64_t last = 0;
  for (const catalog::Event& event : Events()) EXPECT_EQ(event.sequence, ++last);
}

// ---- Rows and events ----

// A commit that fails leaves neither, and the numbers go on without a gap.
TEST_F(JobEngineTest, RowAndEventComeTogetherOrNotAtAll) {
  const Job a = Submit(Backup({"u1"}));
  const size_t events = Events().size();
  const auto fail = [](catalog::Stores& s, const Job& job) -> absl::Status {
    Job changed = job;
    changed.wait_reason = "X";
    RETURN_IF_ERROR(s.jobs.Update(changed));
    RETURN_IF_ERROR(s.events.Append({.type = "X"}).status());
    return absl::AbortedError("the transaction is given up");
  };
  EXPECT_FALSE(catalog_->Write([&](catalog::Stores& s) { return fail(s, a); }).ok());
  EXPECT_EQ(Events().size(), events);
  // Of two changes the second can't be written: the first isn't either.
  Do(a.id, JobEvent::kAssign);
  const Job b = Submit(Backup({"u2"}));
  const size_t before = Events().size();
  std::vector<RecoveryPoint> broken = PointsOf(a);
  broken[0].mechanism = static_cast<catalog::BackupMechanism>(99);  // the schema refuses it
  EXPECT_FALSE(engine_
                   ->ApplyAll({{b.id, kCurrentAttempt, JobEvent::kAssign},
                               {a.id, 1, JobEvent::kRepoCommitted, {.recovery_points = broken}}})
                   .ok());
  EXPECT_EQ(Events().size(), before);
  EXPECT_EQ(Get(a.id).state, JobState::kDispatching);
  EXPECT_EQ(Get(b.id).state, JobState::kQueued);
  EXPECT_TRUE(PointsInCatalog().empty());
  EXPECT_THAT(AssignAll(), ElementsAre(b.id));
  int64_t last = 0;
  for (const catalog::Event& event : Events()) EXPECT_EQ(event.sequence, ++last);
}

// ---- Further attempts ----

class RetryTest : public EngineTest {
 protected:
  Job SubmitWithRetries(const catalog::JobTerms& terms) {
    auto job = engine_->Submit({.spec = Backup({"u1"}), .terms = terms});
    UMBRA_CHECK(job.ok());
    return *std::move(job);
  }
  Job Run(const JobId& id) {
    EXPECT_THAT(AssignAll(), ElementsAre(id));
    return Do(id, JobEvent::kAccept).job;
  }
  Job Fail(const JobId& id, const std::string& reason) {
    return Do(id, JobEvent::kAgentFailed, {.error = {reason, "because"}}).job;
  }
};

TEST_F(RetryTest, APassingFailureIsFollowedByFencedAttemptsUntilNoneIsLeft) {
  const JobId id = SubmitWithRetries({.retries_max = 2, .retry_backoff = absl::Minutes(10)}).id;
  for (int attempt = 1; attempt <= 2; ++attempt) {
    EXPECT_EQ(Run(id).attempt, attempt);
    Do(id, JobEvent::kProgress, Progress(5));
    Job job = Fail(id, "VSS_WRITER_FAILED");
    EXPECT_EQ(job.state, JobState::kQueued);
    EXPECT_EQ(job.attempt, attempt);
    EXPECT_EQ(job.failed_attempts, attempt);
    EXPECT_EQ(job.last_attempt_error.reason, "VSS_WRITER_FAILED");
    EXPECT_EQ(job.next_attempt_time, clock_.Now() + absl::Minutes(10));
    EXPECT_TRUE(job.error.reason.empty());
    EXPECT_EQ(job.progress, catalog::JobProgress{});
    EXPECT_EQ(Get(id).wait_reason, "RETRY_LATER");
    EXPECT_EQ(Events().back().severity, catalog::Severity::kWarning);
    EXPECT_NE(Events().back().message.find("VSS_WRITER_FAILED"), std::string::npos);
    EXPECT_EQ(engine_->NextTime(), job.next_attempt_time);
    // The old attempt has nothing more to say.
    for (JobEvent late : {JobEvent::kAccept, JobEvent::kProgress, JobEvent::kAgentDone, JobEvent::kAgentFailed,
                          JobEvent::kAgentLost, JobEvent::kAttemptFailed}) {
      EXPECT_FALSE(engine_->Apply(id, attempt, late, Progress(9))->changed);
    }
    EXPECT_FALSE(engine_->Apply(id, attempt, JobEvent::kRepoCommitted, {.recovery_points = PointsOf(job)}).ok());
    EXPECT_EQ(base::ReasonOf(engine_->CheckWorker(id, attempt, HostId("h1")).status()), "SESSION_NOT_FOUND");
    EXPECT_THAT(AssignAll(), ElementsAre());
    clock_.Advance(absl::Minutes(10) - absl::Seconds(1));
    EXPECT_THAT(AssignAll(), ElementsAre());
    clock_.Advance(absl::Seconds(1));
  }
  EXPECT_EQ(Run(id).attempt, 3);
  EXPECT_FALSE(engine_->Apply(id, 2, JobEvent::kAgentDone)->changed);
  const Job job = Fail(id, "VSS_TIMEOUT");
  EXPECT_EQ(job.state, JobState::kFailed);
  EXPECT_EQ(job.error.reason, "VSS_TIMEOUT");
  EXPECT_EQ(job.failed_attempts, 2);
  EXPECT_FALSE(job.next_attempt_time.has_value());
}

TEST_F(RetryTest, AWriterThatSaysItStaysIsNotAskedAgain) {
  const auto fail = [&](const char* reason) {
    const JobId id = SubmitWithRetries({.retries_max = 3}).id;
    Run(id);
    return Do(id, JobEvent::kAgentFailed, {.error = {reason, "as it said"}, .error_stays = true}).job.state;
  };
  EXPECT_EQ(fail("VSS_WRITER_FAILED"), JobState::kFailed);
  EXPECT_EQ(fail("VSS_PROVIDER_FAILED"), JobState::kFailed);
  EXPECT_EQ(fail("HYPERVISOR_ERROR"), JobState::kQueued) << "a reason that is clear by itself";
}

TEST_F(RetryTest, WhatNeedsAPersonFailsAtOnce) {
  for (const char* reason : {"GUEST_AGENT_NOT_CONFIGURED", "CHUNK_DAMAGED", "VM_NOT_FOUND", "INTERNAL", ""}) {
    const JobId id = SubmitWithRetries({.retries_max = 3}).id;
    Run(id);
    EXPECT_EQ(Fail(id, reason).state, JobState::kFailed) << reason;
  }
}

TEST_F(RetryTest, WithoutRetriesEverythingFailsAtOnce) {
  const JobId id = Submit(Backup({"u1"})).id;
  Run(id);
  EXPECT_EQ(Fail(id, "VSS_WRITER_FAILED").state, JobState::kFailed);
}

TEST_F(RetryTest, AnInterruptionIsRepeatedSoon) {
  for (JobEvent event :
       {JobEvent::kLeaseExpired, JobEvent::kAgentLost, JobEvent::kServerRestarted, JobEvent::kAgentCancelled}) {
    const JobId id = SubmitWithRetries({.retries_max = 1, .retry_backoff = absl::Hours(1)}).id;
    Run(id);
    const Job job = Do(id, event).job;
    EXPECT_EQ(job.state, JobState::kQueued) << NameOf(event);
    EXPECT_EQ(job.next_attempt_time, clock_.Now() + kInterruptedWait);
    clock_.Advance(kInterruptedWait);
    Run(id);
    EXPECT_EQ(Do(id, event).job.state, JobState::kFailed);
  }
}

TEST_F(RetryTest, NoAttemptIsMadeAfterTheWindow) {
  const JobId id =
      SubmitWithRetries(
          {.not_after = clock_.Now() + absl::Minutes(15), .retries_max = 9, .retry_backoff = absl::Minutes(10)})
          .id;
  Run(id);
  EXPECT_EQ(Fail(id, "IO_ERROR").state, JobState::kQueued);
  clock_.Advance(absl::Minutes(10));
  Run(id);
  EXPECT_EQ(Fail(id, "IO_ERROR").state, JobState::kFailed);
  EXPECT_EQ(Get(id).error.reason, "IO_ERROR");
}

TEST_F(RetryTest, ACancelledJobIsNotTriedAgain) {
  const JobId id = SubmitWithRetries({.retries_max = 3}).id;
  Run(id);
  ASSERT_TRUE(engine_->Cancel(id).ok());
  EXPECT_EQ(Do(id, JobEvent::kLeaseExpired).job.state, JobState::kCancelled);
  const JobId waiting = SubmitWithRetries({.retries_max = 3}).id;
  Run(waiting);
  EXPECT_EQ(Fail(waiting, "IO_ERROR").state, JobState::kQueued);
  EXPECT_EQ(engine_->Cancel(waiting)->state, JobState::kCancelled);
}

TEST_F(RetryTest, AMachineIsFreeBetweenTheAttempts) {
  const JobId id = SubmitWithRetries({.retries_max = 3}).id;
  Run(id);
  Fail(id, "IO_ERROR");
  const Job other = Submit(Backup({"u1"}));
  EXPECT_THAT(AssignAll(), ElementsAre(other.id));
  clock_.Advance(catalog::kRetryBackoffDefault);
  EXPECT_THAT(AssignAll(), ElementsAre());
  EXPECT_EQ(Get(id).wait_reason, "VM_BUSY");
}

// ---- Times ----

TEST_F(JobEngineTest, AJobWaitsUntilItIsDueAndAfterItsWindowItHasFailed) {
  const absl::Time t = clock_.Now();
  const auto submit = [&](const char* vm, absl::Duration due, absl::Duration end) {
    return engine_->Submit({.spec = Backup({vm}, "h3"), .terms = {.due_time = t + due, .not_after = t + end}})->id;
  };
  const JobId in_time = submit("u1", absl::Hours(1), absl::Hours(3));
  const JobId too_late = submit("u2", absl::Hours(1), absl::Hours(2));
  EXPECT_EQ(Get(in_time).wait_reason, "NOT_DUE");
  EXPECT_EQ(engine_->NextTime(), t + absl::Hours(1));
  clock_.Advance(absl::Hours(1));
  EXPECT_THAT(AssignAll(), ElementsAre());
  EXPECT_EQ(Get(in_time).wait_reason, "HOST_OFFLINE");
  ASSERT_TRUE(engine_->Tick(absl::ZeroDuration()).ok());
  EXPECT_EQ(Events().back().type, "JOB_WAITING");
  clock_.Advance(absl::Hours(1));
  ASSERT_TRUE(engine_->Tick(absl::Hours(9)).ok());
  const Job missed = Get(too_late);
  EXPECT_EQ(missed.state, JobState::kFailed);
  EXPECT_EQ(missed.error.reason, "BACKUP_WINDOW_MISSED");
  EXPECT_NE(missed.error.message.find("HOST_OFFLINE"), std::string::npos);
  engine_->SetHost(HostId("h3"), "");
  EXPECT_THAT(AssignAll(), ElementsAre(in_time));  // and it may end after the window
  clock_.Advance(absl::Hours(5));
  ASSERT_TRUE(engine_->Tick(absl::Hours(9)).ok());
  EXPECT_EQ(Get(in_time).state, JobState::kDispatching);
}

TEST_F(JobEngineTest, WatchersHearWhenAJobWaitsForSomethingElse) {
  engine_->SetHost(HostId("h1"), "HOST_OFFLINE");
  const Job job = Submit(Backup({"u1"}));
  std::vector<std::string> seen;
  int64_t revision = Get(job.id).revision;
  Subscription s = engine_->Subscribe(job.id, [&] {
    const Job now = Get(job.id);
    EXPECT_GT(now.revision, std::exchange(revision, now.revision));
    seen.push_back(now.wait_reason);
  });
  ASSERT_TRUE(engine_->Tick(absl::Hours(1)).ok());
  engine_->SetHost(HostId("h1"), "AGENT_TOO_OLD");
  ASSERT_TRUE(engine_->Tick(absl::Hours(1)).ok());
  ASSERT_TRUE(engine_->Tick(absl::Hours(1)).ok());
  EXPECT_THAT(seen, ElementsAre("AGENT_TOO_OLD"));
}

TEST_F(JobEngineTest, TheQueueIsBounded) {
  ASSERT_TRUE(catalog_
                  ->Write([&](catalog::Stores& s) -> absl::Status {
                    for (int64_t i = 0; i < kQueuedJobsMax; ++i) {
                      RETURN_IF_ERROR(s.jobs.Insert({.id = JobId(fmt::format("j{}", i)), .spec = Verify()}).status());
                    }
                    return absl::OkStatus();
                  })
                  .ok());
  const absl::Status status = engine_->Submit(Verify()).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(base::ReasonOf(status), "SERVER_BUSY");
}

TEST_F(JobEngineTest, ManyAreSubmittedAtOnceAndEachHasItsAnswer) {
  const size_t before = Events().size();
  const Submission repeated{.spec = Backup({"u1"}), .request = {"r1", "hash"}};
  const auto jobs =
      engine_->SubmitAll({repeated,
                          {.spec = Backup({})},
                          {.spec = Backup({"u2"}), .terms = {.policy = catalog::PolicyId("p"), .priority = 5}},
                          {.spec = Backup({"u3"}), .terms = {.priority = 101}},
                          repeated});
  ASSERT_TRUE(jobs.ok());
  ASSERT_EQ(jobs->size(), 5u);
  ASSERT_TRUE(jobs->at(0).ok());
  EXPECT_EQ(base::ReasonOf(jobs->at(1).status()), "INVALID_REQUEST");
  EXPECT_EQ(Get(jobs->at(2)->id).terms.priority, 5);
  EXPECT_EQ(base::ReasonOf(jobs->at(3).status()), "INVALID_REQUEST");
  EXPECT_EQ(jobs->at(4)->id, jobs->at(0)->id);
  EXPECT_EQ(Events().size(), before + 2);
}

TEST_F(JobEngineTest, TermsThatMakeNoSenseAreRefused) {
  const absl::Time t = clock_.Now();
  const catalog::JobTerms bad[] = {{.priority = -101},
                                   {.retries_max = -1},
                                   {.retries_max = 101},
                                   {.retry_backoff = absl::ZeroDuration()},
                                   {.retry_backoff = absl::Hours(24 * 8)},
                                   {.due_time = t, .not_after = t - absl::Seconds(1)},
                                   {.upload_bytes_per_second = -1},
                                   {.policy_jobs_max = -1},
                                   {.policy_host_jobs_max = -1}};
  for (const catalog::JobTerms& terms : bad) {
    EXPECT_EQ(base::ReasonOf(engine_->Submit({.spec = Backup({"u1"}), .terms = terms}).status()), "INVALID_REQUEST");
  }
  EXPECT_TRUE(engine_->Submit({.spec = Backup({"u1"}), .terms = {.due_time = t, .not_after = t}}).ok());
}

// ---- Progress ----

TEST_F(JobEngineTest, ProgressIsSeenAtOnceAndWrittenOnceASecond) {
  const Job job = Running(Backup({"u1"}));
  Do(job.id, JobEvent::kProgress, Progress(1));  // a new phase is written
  EXPECT_EQ(Row(job.id).progress.done_bytes, 1);
  for (int done = 2; done <= 6; ++done) {
    clock_.Advance(absl::Milliseconds(100));
    Do(job.id, JobEvent::kProgress, Progress(done));
    EXPECT_EQ(Get(job.id).progress.done_bytes, done);
  }
  EXPECT_EQ(Row(job.id).progress.done_bytes, 1);
  clock_.Advance(absl::Seconds(1));
  Do(job.id, JobEvent::kProgress, Progress(7));
  EXPECT_EQ(Row(job.id).progress.done_bytes, 7);
  EXPECT_EQ(Events().size(), 3u);  // queued, dispatching, running: progress is no event
}

// "phase from..to" for each, in seconds since `start`.
std::vector<std::string> PhasesOf(const Job& job, absl::Time start) {
  std::vector<std::string> phases;
  for (const catalog::JobPhaseTime& p : job.phases) {
    const std::string end = p.end_time ? std::to_string(absl::ToInt64Seconds(*p.end_time - start)) : "";
    phases.push_back(
        fmt::format("{} {}..{}", catalog::NameOf(p.phase), absl::ToInt64Seconds(p.start_time - start), end));
  }
  return phases;
}

TEST_F(JobEngineTest, PhasesAreKeptWithTheirTimesUntilTheNextAttempt) {
  const absl::Time start = clock_.Now();
  const Job job = Running(Backup({"u1"}));
  const auto say = [&](catalog::JobPhase phase) {
    clock_.Advance(absl::Seconds(10));
    Do(job.id, JobEvent::kProgress, {.phase = phase});
  };
  say(catalog::JobPhase::kGathering);
  say(catalog::JobPhase::kGathering);
  say(catalog::JobPhase::kFreezing);
  say(catalog::JobPhase::kTransferring);
  say(catalog::JobPhase::kFreezing);
  EXPECT_THAT(PhasesOf(Get(job.id), start),
              ElementsAre("gathering 10..30", "freezing 30..40", "transferring 40..50", "freezing 50.."));
  EXPECT_EQ(Row(job.id).phases, Get(job.id).phases) << "written with the row";
  Restart();
  clock_.Advance(absl::Seconds(10));
  Do(job.id, JobEvent::kServerRestarted);
  const auto ended = ElementsAre("gathering 10..30", "freezing 30..40", "transferring 40..50", "freezing 50..60");
  EXPECT_THAT(PhasesOf(Get(job.id), start), ended) << "the attempt's end is the phase's";
  EXPECT_EQ(Get(job.id).state, JobState::kFailed);
}

TEST_F(JobEngineTest, ANewAttemptHasPhasesOfItsOwnAndTheLastOnesStayUntilThen) {
  const absl::Time start = clock_.Now();
  const Job job = engine_->Submit(Submission{.spec = Backup({"u1"}), .terms = {.retries_max = 1}}).value();
  Do(job.id, JobEvent::kAssign);
  Do(job.id, JobEvent::kProgress, {.phase = catalog::JobPhase::kPreparing});
  clock_.Advance(absl::Seconds(5));
  Do(job.id, JobEvent::kAgentFailed, {.error = {"STORAGE_FULL", "full"}});
  EXPECT_EQ(Get(job.id).state, JobState::kQueued);
  EXPECT_THAT(PhasesOf(Get(job.id), start), ElementsAre("preparing 0..5"));
  Do(job.id, JobEvent::kAssign);
  EXPECT_THAT(PhasesOf(Get(job.id), start), ElementsAre());
  Do(job.id, JobEvent::kProgress, {.phase = catalog::JobPhase::kTransferring});
  clock_.Advance(absl::Seconds(1));
  Commit(job);
  clock_.Advance(absl::Seconds(2));
  Do(job.id, JobEvent::kAgentDone);
  EXPECT_THAT(PhasesOf(Get(job.id), start), ElementsAre("transferring 5..6", "completing 6..8"));
}

TEST_F(JobEngineTest, TheWritersOfAnAttemptStayUntilTheNextOne) {
  const Job job = engine_->Submit(Submission{.spec = Backup({"u1"}), .terms = {.retries_max = 1}}).value();
  const std::vector<catalog::JobWriter> writers = {{.display_name = "w", .freeze_time = clock_.Now()}};
  Do(job.id, JobEvent::kAssign);
  Do(job.id, JobEvent::kAgentFailed, {.error = {"GUEST_FREEZE_TIMEOUT", "slow"}, .writers = writers});
  EXPECT_EQ(Get(job.id).state, JobState::kQueued);
  EXPECT_EQ(Get(job.id).writers, writers);
  EXPECT_EQ(Row(job.id).writers, writers) << "written with the row";
  Do(job.id, JobEvent::kAssign);
  EXPECT_TRUE(Get(job.id).writers.empty());
  EXPECT_TRUE(Row(job.id).writers.empty());
  Commit(job);
  EXPECT_EQ(Do(job.id, JobEvent::kAgentDone, {.writers = writers}).job.writers, writers);
  EXPECT_EQ(Row(job.id).writers, writers);
}

TEST_F(JobEngineTest, ACancellationEndsThePhase) {
  const absl::Time start = clock_.Now();
  const Job job = Running(Backup({"u1"}));
  Do(job.id, JobEvent::kProgress, Progress(1));
  clock_.Advance(absl::Seconds(3));
  ASSERT_TRUE(engine_->Cancel(job.id).ok());
  EXPECT_THAT(PhasesOf(Get(job.id), start), ElementsAre("transferring 0..3"));
}

TEST_F(JobEngineTest, ManyPhasesAreMergedAndWhatTookLongStays) {
  const absl::Time start = clock_.Now();
  const Job job = Running(Backup({"u1"}));
  for (int i = 0; i < 200; ++i) {
    const bool odd = i % 2 == 1;
    Do(job.id, JobEvent::kProgress, {.phase = odd ? catalog::JobPhase::kTransferring : catalog::JobPhase::kSnapshot});
    clock_.Advance(i == 101 ? absl::Hours(1) : absl::Seconds(1));
  }
  const Job now = Get(job.id);
  ASSERT_EQ(now.phases.size(), catalog::kJobPhasesMax);
  EXPECT_EQ(now.phases.front().start_time, start);
  bool found = false;
  for (size_t i = 0; i < now.phases.size(); ++i) {
    const bool last = i + 1 == now.phases.size();
    ASSERT_EQ(now.phases[i].end_time.has_value(), !last);
    if (last) break;
    ASSERT_EQ(now.phases[i].end_time, now.phases[i + 1].start_time) << "without a hole";
    const bool is_long = *now.phases[i].end_time - now.phases[i].start_time >= absl::Hours(1);
    found = found || (is_long && now.phases[i].phase == catalog::JobPhase::kTransferring);
  }
  EXPECT_TRUE(found);
}

TEST_F(JobEngineTest, TheNewestOutcomeOfAMachineIsItsLastBackupThatWentWellOrFailed) {
  const auto failing = [&] {
    std::vector<std::string> jobs;
    const auto page = catalog_->Read([](const catalog::Stores& s) { return s.policies.VmStates({}); });
    for (const auto& state : page->items) jobs.push_back(state.failed_job.value);
    return jobs;
  };
  ASSERT_TRUE(catalog_
                  ->Write([&](catalog::Stores& s) -> absl::Status {
                    catalog::Host host;
                    host.id = HostId("h1");
                    host.certificate_fingerprint = "f";
                    RETURN_IF_ERROR(s.hosts.Insert(host));
                    std::vector<catalog::Vm> vms(2);
                    for (size_t i = 0; i < vms.size(); ++i) {
                      vms[i].key = {HostId("h1"), i == 0 ? "u1" : "u2"};
                      vms[i].disks = {{"vda", "/x", "qcow2", 1, 1}};
                    }
                    return s.vms.ReplaceInventory(HostId("h1"), vms, {});
                  })
                  .ok());
  EXPECT_THAT(failing(), ElementsAre("", ""));
  const Job first = Running(Backup({"u1", "u2"}));
  Do(first.id, JobEvent::kAgentFailed, {.error = {"GUEST_STOPPED", "x"}});
  EXPECT_THAT(failing(), ElementsAre(first.id.value, first.id.value));
  const Job second = Running(Backup({"u1"}));
  Commit(second);
  Do(second.id, JobEvent::kAgentDone);
  EXPECT_THAT(failing(), ElementsAre("", first.id.value));
  const Job third = Running(Backup({"u2"}));
  ASSERT_TRUE(engine_->Cancel(third.id).ok());
  Do(third.id, JobEvent::kAgentCancelled);
  EXPECT_THAT(failing(), ElementsAre("", first.id.value)) << "a cancelled one tells nothing";
  clock_.Advance(absl::Hours(24 * 100));
  ASSERT_TRUE(engine_->Prune(absl::Hours(24)).ok());
  EXPECT_THAT(failing(), ElementsAre("", "")) << "goes with its job";
  const auto sums = catalog_->Read(
      [&](const catalog::Stores& s) { return s.jobs.SummarizeBackups(absl::UnixEpoch(), clock_.Now()); });
  EXPECT_EQ(sums->succeeded, 1) << "a job stays while its point does";
  EXPECT_EQ(sums->recovery_points, 1);
}

TEST_F(JobEngineTest, FiguresNeverGoDownAndStayInBounds) {
  const Job job = Running(Backup({"u1"}));
  Do(job.id, JobEvent::kProgress, Progress(50));
  Do(job.id, JobEvent::kProgress, Progress(40, 80));
  Job now = Get(job.id);
  EXPECT_EQ(now.progress.done_bytes, 50);
  EXPECT_EQ(now.progress.total_bytes, 80);
  EXPECT_EQ(now.progress.disks.at(0).done_bytes, 50);
  Do(job.id, JobEvent::kProgress, Progress(-5, -10));
  now = Get(job.id);
  EXPECT_EQ(now.progress.done_bytes, 50);
  EXPECT_EQ(now.progress.total_bytes, 50);
  catalog::JobProgress flood;
  for (size_t i = 0; i < kProgressDisksMax + 10; ++i) {
    flood.disks.push_back({{HostId("h1"), "u1"}, fmt::format("vd{}", i), 1, 1});
  }
  Do(job.id, JobEvent::kProgress, {.progress = flood});
  EXPECT_EQ(Get(job.id).progress.disks.size(), kProgressDisksMax);
}

TEST_F(JobEngineTest, HowADiskIsReadStaysOnceItIsKnown) {
  const Job job = Running(Backup({"u1"}));
  Do(job.id, JobEvent::kProgress, Progress(1));
  catalog::JobProgress read;
  read.disks = {{{HostId("h1"), "u1"}, "vda", 2, 9, catalog::ReadMode::kFull, "CBT_NO_BASE", "the first backup", 0},
                {{HostId("h1"), "u1"}, "vdb", 0, 9, catalog::ReadMode::kIncremental, "", "", 4096}};
  Do(job.id, JobEvent::kProgress, {.progress = read});
  Do(job.id, JobEvent::kProgress, Progress(3));
  const Job now = Get(job.id);
  EXPECT_EQ(now.progress.disks.at(0).read_mode, catalog::ReadMode::kFull);
  EXPECT_EQ(now.progress.disks.at(0).full_read_reason, "CBT_NO_BASE");
  EXPECT_EQ(now.progress.disks.at(0).full_read_message, "the first backup");
  EXPECT_EQ(now.progress.disks.at(1).read_mode, catalog::ReadMode::kIncremental);
  EXPECT_EQ(now.progress.disks.at(1).changed_bytes, 4096);
}

TEST_F(JobEngineTest, TheLastFiguresAreInTheRowOfTheEndedJob) {
  const Job job = Running(RestoreInPlace("u1"));
  Do(job.id, JobEvent::kProgress, Progress(1));
  Do(job.id, JobEvent::kProgress, Progress(60));
  const Job done = Do(job.id, JobEvent::kAgentFailed).job;
  EXPECT_EQ(done.progress.done_bytes, 60);
  EXPECT_EQ(Row(job.id).progress.done_bytes, 60);
  EXPECT_EQ(done.phase, catalog::JobPhase::kNone);
}

TEST_F(JobEngineTest, ProgressImpliesThatTheWorkerAccepted) {
  const Job job = Submit(Backup({"u1"}));
  Do(job.id, JobEvent::kAssign);
  EXPECT_EQ(Do(job.id, JobEvent::kProgress, Progress(3)).job.state, JobState::kRunning);
}

TEST_F(JobEngineTest, ListsShowLiveFigures) {
  const Job job = Running(Backup({"u1"}));
  Do(job.id, JobEvent::kProgress, Progress(1));
  Do(job.id, JobEvent::kProgress, Progress(2));
  EXPECT_EQ(engine_->List({}, {})->items.at(0).progress.done_bytes, 2);
}

TEST_F(JobEngineTest, TheRevisionRisesWithEveryChangeAlsoOverARestart) {
  const Job job = Running(Backup({"u1"}));
  int64_t last = job.revision;
  const auto rises = [&] {
    const int64_t now = Get(job.id).revision;
    EXPECT_GT(now, std::exchange(last, now));
  };
  Do(job.id, JobEvent::kProgress, Progress(1));
  rises();
  for (int i = 0; i < 5; ++i) {
    Do(job.id, JobEvent::kProgress, Progress(i));
    rises();
  }
  ASSERT_TRUE(engine_->AddWarning(job.id, 1, {"W", "w"}).ok());
  rises();
  Do(job.id, JobEvent::kProgress, Progress(9));
  rises();
  Restart();
  clock_.Advance(absl::Seconds(1));
  Do(job.id, JobEvent::kServerRestarted);
  rises();
}

// ---- Watching ----

TEST_F(JobEngineTest, WatchersHearOfEveryChangeOfTheirJob) {
  const Job job = Submit(Backup({"u1"}));
  std::vector<std::string> seen;
  Subscription s = engine_->Subscribe(job.id, [&] {
    const Job now = Get(job.id);  // calling back is allowed
    seen.push_back(fmt::format("{}:{}", catalog::NameOf(now.state), now.progress.done_bytes));
  });
  Submit(Verify());
  engine_->SetHost(HostId("h1"), "HOST_OFFLINE");
  ASSERT_TRUE(engine_->Tick(absl::ZeroDuration()).ok());
  Do(job.id, JobEvent::kAssign);
  Do(job.id, JobEvent::kAccept);
  Do(job.id, JobEvent::kAccept);  // a repetition is no change
  Do(job.id, JobEvent::kProgress, Progress(1));
  Do(job.id, JobEvent::kProgress, Progress(2));
  ASSERT_TRUE(engine_->AddWarning(job.id, 1, {"W", "w"}).ok());
  Do(job.id, JobEvent::kAgentFailed);
  EXPECT_THAT(seen,
              ElementsAre("queued:0", "dispatching:0", "running:0", "running:1", "running:2", "running:2", "failed:2"));
}

TEST_F(JobEngineTest, StateWatchersHearOfStatesOnly) {
  int calls = 0;
  Subscription s = engine_->SubscribeStates([&] { ++calls; });
  const Job job = Running(Backup({"u1"}));  // three states
  Do(job.id, JobEvent::kProgress, Progress(1));
  Do(job.id, JobEvent::kProgress, Progress(2));
  EXPECT_EQ(calls, 3);
  ASSERT_TRUE(engine_->Cancel(job.id).ok());
  EXPECT_EQ(calls, 4);
}

TEST_F(JobEngineTest, WaitForChangeReturnsAtTheChangeTheEndOrTheTimeout) {
  const Job job = Running(Backup({"u1"}));
  EXPECT_EQ(engine_->WaitForChange(job.id, 0, absl::Hours(1))->revision, job.revision);
  EXPECT_EQ(engine_->WaitForChange(job.id, job.revision, absl::Hours(1))->revision, job.revision);  // the clock steps
  base::SystemClock real;
  JobEngine engine(*catalog_, real, random_);
  const JobId id = engine.Submit(Verify())->id;
  const int64_t revision = engine.Get(id)->revision;
  std::jthread later([&] { EXPECT_TRUE(engine.Cancel(id).ok()); });
  EXPECT_EQ(engine.WaitForChange(id, revision, absl::Minutes(1))->state, JobState::kCancelled);
  EXPECT_EQ(engine.WaitForChange(id, revision + absl::ToInt64Microseconds(absl::Hours(1)), absl::Hours(1))->state,
            JobState::kCancelled);
}

// Agents report, people cancel and look, all at once. Whatever the order, figures only rise and each job ends once.
TEST_F(JobEngineTest, ManyThreads) {
  constexpr int kJobs = 4;
  std::vector<JobId> ids;
  for (int i = 0; i < kJobs; ++i) ids.push_back(Running(Backup({fmt::format("u{}", i)})).id);
  std::atomic<bool> stop = false;
  std::atomic<int> heard = 0;
  Subscription s = engine_->SubscribeStates([&] { ++heard; });
  std::jthread looking([&] {
    int64_t last = 0;
    while (!stop) {
      const Job job = Get(ids[0]);
      EXPECT_GE(job.progress.done_bytes, last);
      last = job.progress.done_bytes;
      EXPECT_TRUE(engine_->List({.active_only = true}, {}).ok());
      EXPECT_TRUE(engine_->AssignNext(1).ok());
    }
  });
  {
    std::vector<std::jthread> agents;
    for (const JobId& id : ids) {
      agents.emplace_back([&, id] {
        for (int i = 1; i <= 50; ++i) {
          clock_.Advance(absl::Milliseconds(50));
          EXPECT_TRUE(engine_->Apply(id, 1, JobEvent::kProgress, Progress(i)).ok());
        }
        EXPECT_TRUE(engine_->Apply(id, 1, JobEvent::kAgentFailed).ok());
      });
    }
    agents.emplace_back(
        [&] { EXPECT_TRUE(engine_->Cancel(ids.back()).status().code() != absl::StatusCode::kInternal); });
  }
  stop = true;
  looking.join();
  for (const JobId& id : ids) EXPECT_EQ(Get(id).state, JobState::kFailed);
  EXPECT_GT(heard, 0);
}

}  // namespace
}  // namespace umbra::jobs
