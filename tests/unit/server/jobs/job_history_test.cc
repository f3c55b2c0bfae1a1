// Proves by random histories that no order of messages, lost agents, cancels and crashes of the daemon breaks a
// promise: the engine runs against a model of a few lines that knows only what was promised, not the table. The seed is
// printed; UMBRA_SEED=n repeats a run.
#include <cstdlib>
#include <map>
#include <random>
#include <set>

#include "server/jobs/job_recovery.h"
#include "tests/unit/server/jobs/fixture.h"

namespace umbra::jobs {
namespace {

// What a person may rely on.
struct Model {
  JobState state = JobState::kQueued;
  int32_t attempt = 0;
  int32_t failed_attempts = 0;
  int64_t done_bytes = 0;
  bool in_repository = false;
};

uint64_t FreshSeed() {
  uint64_t seed = 0;
  base::SystemRandom().Fill(std::as_writable_bytes(std::span(&seed, 1)));
  return seed;
}

class JobHistoryTest : public EngineTest {
 protected:
  uint64_t Pick(uint64_t count) { return std::uniform_int_distribution<uint64_t>(0, count - 1)(rng_); }

  void SubmitOne() {
    std::vector<std::string> vms = {fmt::format("u{}", Pick(3))};
    if (Pick(3) == 0) vms = {"u1", "u2"};
    catalog::JobTerms terms{.policy = catalog::PolicyId(Pick(2) == 0 ? "p" : ""),
                            .priority = static_cast<int32_t>(Pick(3)) - 1,
                            .retries_max = static_cast<int32_t>(Pick(3))};
    if (Pick(4) == 0) terms.due_time = clock_.Now() + absl::Minutes(Pick(30));
    if (Pick(4) == 0) terms.not_after = clock_.Now() + absl::Hours(1);
    const JobSpec spec = Pick(3) == 0 ? JobSpec(RestoreInPlace(vms[0])) : JobSpec(Backup(vms));
    const auto submitted = engine_->Submit({.spec = spec, .terms = terms});
    ASSERT_TRUE(submitted.ok());
    const Job& job = *submitted;
    model_[job.id] = {};
    ids_.push_back(job.id);
  }

  void AssignAll() {
    engine_->SetHost(HostId("h1"), Pick(4) == 0 ? "HOST_OFFLINE" : "");
    clock_.Advance(absl::Minutes(Pick(5)));
    EXPECT_TRUE(engine_->Tick(absl::Minutes(1)).ok());
    for (const JobId& id : EngineTest::AssignAll(1 + Pick(3))) {
      EXPECT_EQ(Get(id).attempt, model_[id].attempt + 1);
      ++model_[id].attempt;
      model_[id].done_bytes = 0;
    }
  }

  // Anything at all, of this attempt or an older one.
  void Report(const JobId& id) {
    constexpr JobEvent kReports[] = {JobEvent::kAccept,          JobEvent::kProgress,  JobEvent::kProgress,
                                     JobEvent::kProgress,        JobEvent::kAgentLost, JobEvent::kLeaseExpired,
                                     JobEvent::kCancelRequested, JobEvent::kAgentDone, JobEvent::kAgentFailed,
                                     JobEvent::kAgentCancelled};
    const JobEvent event = kReports[Pick(std::size(kReports))];
    const bool old = Pick(5) == 0;
    const Job before = Get(id);
    const int32_t attempt = before.attempt - (old ? 1 : 0);  // -1 is no attempt either
    EventFacts facts;
    if (Pick(2) == 0) facts.error = {"IO_ERROR", "passes"};
    if (event == JobEvent::kProgress)
      facts.progress = catalog::JobProgress{.done_bytes = static_cast<int64_t>(Pick(100))};
    const auto applied = engine_->Apply(id, attempt, event, facts);
    if (!applied.ok()) {
      EXPECT_EQ(base::ReasonOf(applied.status()), "JOB_ENDED");
      EXPECT_TRUE(catalog::IsTerminal(before.state));
    } else if (old) {
      EXPECT_FALSE(applied->changed);
    }
  }

  // The data service: asks, commits to the repository, tells the engine; a crash may come in between.
  void CommitOne(const JobId& id) {
    const Job job = Get(id);
    const bool backup = catalog::KindOf(job.spec) == catalog::JobKind::kBackup;
    if (!backup || !engine_->CheckWorker(id, job.attempt, HostId("h1")).ok()) return;
    model_[id].in_repository = true;
    if (Pick(4) == 0) return CrashAndRecover();
    if (Pick(4) == 0) Report(id);  // overtakes
    if (!engine_->Apply(id, job.attempt, JobEvent::kRepoCommitted, {.recovery_points = PointsOf(job)}).ok()) {
      model_[id].in_repository = false;  // taken back, as the contract asks
    }
  }

  void CrashAndRecover() {
    Restart();
    const auto report =
        RecoverJobs(*catalog_, *engine_, [&](const Job& job) -> absl::StatusOr<std::vector<RecoveryPoint>> {
          return model_[job.id].in_repository ? PointsOf(job) : std::vector<RecoveryPoint>();
        });
    ASSERT_TRUE(report.ok()) << report.status();
    for (auto& [id, model] : model_) {
      EXPECT_FALSE(HoldsVms(Get(id).state));
      // Figures of the last second may be gone with the memory, together with the attempt that they belong to.
      model.done_bytes = std::min(model.done_bytes, Get(id).progress.done_bytes);
    }
  }

  void CheckJob(const JobId& id, Model& model) {
    const Job job = Get(id);
    EXPECT_TRUE(!catalog::IsTerminal(model.state) || job.state == model.state);  // the end is the end
    EXPECT_EQ(job.attempt, model.attempt);
    EXPECT_LE(job.failed_attempts, job.terms.retries_max);
    EXPECT_LT(job.failed_attempts, job.attempt + 1);
    EXPECT_TRUE(!job.next_attempt_time || job.state == JobState::kQueued);
    const bool again = job.state == JobState::kQueued || job.failed_attempts != model.failed_attempts;
    EXPECT_TRUE(again || job.progress.done_bytes >= model.done_bytes);
    EXPECT_GE(job.progress.total_bytes, job.progress.done_bytes);
    EXPECT_EQ(job.end_time.has_value(), catalog::IsTerminal(job.state));
    EXPECT_EQ(!job.error.reason.empty(), job.state == JobState::kFailed);
    const bool usable = job.state == JobState::kSucceeded || job.state == JobState::kCommitting;
    const bool backup = catalog::KindOf(job.spec) == catalog::JobKind::kBackup;
    EXPECT_EQ(job.recovery_points.size(), usable && backup ? catalog::VmsOf(job.spec).size() : 0);
    EXPECT_TRUE(job.recovery_points.empty() || model.in_repository);
    if (HoldsVms(job.state)) {
      for (const VmKey& vm : catalog::VmsOf(job.spec)) EXPECT_TRUE(busy_.insert(vm).second) << vm.uuid;
    }
    model.state = job.state;
    model.done_bytes = job.progress.done_bytes;
    model.failed_attempts = job.failed_attempts;
  }

  void CheckAll() {
    busy_.clear();
    for (auto& [id, model] : model_) CheckJob(id, model);
  }

  void CheckEvents() {
    int64_t expected = 0;
    for (const catalog::Event& event : Events()) ASSERT_EQ(event.sequence, ++expected);
    EXPECT_EQ(hub_->Newest(), expected);
  }

  std::mt19937_64 rng_;
  std::map<JobId, Model> model_;
  std::vector<JobId> ids_;
  std::set<VmKey> busy_;
};

TEST_F(JobHistoryTest, EveryHistoryKeepsThePromises) {
  const char* given = std::getenv("UMBRA_SEED");
  const uint64_t seed = given != nullptr ? std::strtoull(given, nullptr, 10) : FreshSeed();
  fmt::print("UMBRA_SEED={}\n", seed);
  SCOPED_TRACE(fmt::format("UMBRA_SEED={}", seed));
  rng_.seed(seed);
  for (int step = 0; step < 600 && !HasFailure(); ++step) {
    clock_.Advance(absl::Milliseconds(Pick(700)));
    const uint64_t what = Pick(20);
    if (what < 3 || ids_.empty()) {
      SubmitOne();
    } else if (what < 7) {
      AssignAll();
    } else if (what < 10) {
      CommitOne(ids_[Pick(ids_.size())]);
    } else if (what < 19) {
      // The youngest have most to tell.
      Report(ids_[ids_.size() - 1 - Pick(std::min<size_t>(ids_.size(), 6))]);
    } else {
      CrashAndRecover();
    }
    if (step % 5 == 0) CheckAll();
  }
  CheckAll();
  CheckEvents();
}

}  // namespace
}  // namespace umbra::jobs
