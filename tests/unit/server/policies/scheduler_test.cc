// Proves that what is due runs exactly once: at its time, over crashes at any point, after downtime, with windows,
// spread and jobs that still wait. On a clock that the test moves.
#include "server/policies/scheduler.h"

#include <random>
#include <set>

#include "tests/unit/server/policies/fixture.h"

namespace umbra::policies {
namespace {

class SchedulerTest : public PoliciesTest {
 protected:
  SchedulerTest() : scheduler_(*catalog_, *engine_, clock_) {}

  absl::Duration Tick() {
    const auto wait = scheduler_.Tick();
    EXPECT_TRUE(wait.ok()) << wait.status();
    return wait.value_or(absl::ZeroDuration());
  }

  Scheduler scheduler_;
};

TEST_F(SchedulerTest, ARunBecomesOneJobForEachMachine) {
  AddHost("h1", {"web1", "web2", "db1"});
  catalog::Policy policy = MakePolicy("p", "name=web*", {"every minute"});
  policy.priority = 7;
  policy.retries_max = 3;
  policy.forbid_saved_state = true;
  policy.upload_bytes_per_second = 1000;
  policy.jobs_max = 5;
  Insert(policy);
  EXPECT_EQ(Tick(), kLookAgain);
  EXPECT_TRUE(Jobs().empty());
  clock_.Advance(absl::Minutes(1));
  Tick();
  const auto jobs = Jobs();
  ASSERT_EQ(jobs.size(), 2u);
  const auto& spec = std::get<catalog::BackupSpec>(jobs[0].spec);
  EXPECT_EQ(spec.vms, (std::vector<catalog::VmKey>{Key("h1", "web1")}));
  EXPECT_EQ(spec.repository.value, "main");
  EXPECT_TRUE(spec.forbid_saved_state);
  EXPECT_EQ(jobs[0].terms.policy.value, "p");
  EXPECT_EQ(jobs[0].terms.priority, 7);
  EXPECT_EQ(jobs[0].terms.retries_max, 3);
  EXPECT_EQ(jobs[0].terms.upload_bytes_per_second, 1000);
  EXPECT_EQ(jobs[0].terms.policy_jobs_max, 5);
  EXPECT_EQ(jobs[0].terms.due_time, clock_.Now());
  EXPECT_EQ(EventsOf("POLICY_RUN").size(), 1u);
  EXPECT_EQ(Get("p").last_due_time, clock_.Now());
  Tick();
  EXPECT_EQ(Jobs().size(), 2u) << "once";
}

TEST_F(SchedulerTest, NewMachinesJoinByThemselves) {
  AddHost("h1", {"web1"});
  Insert(MakePolicy("p", "all", {"every minute"}));
  clock_.Advance(absl::Minutes(1));
  Tick();
  Start(Jobs()[0].id);
  SetVms("h1", {"web1", "web2"});
  clock_.Advance(absl::Minutes(1));
  Tick();
  EXPECT_EQ(Jobs().size(), 3u);
}

TEST_F(SchedulerTest, AHostsMachinesAreOneJobWhenThePolicySaysSo) {
  AddHost("h1", {"a", "b"});
  AddHost("h2", {"c"});
  catalog::Policy policy = MakePolicy("p", "all", {"every minute"});
  policy.grouping = catalog::PolicyGrouping::kHost;
  Insert(policy);
  clock_.Advance(absl::Minutes(1));
  Tick();
  const auto jobs = Jobs();
  ASSERT_EQ(jobs.size(), 2u);
  EXPECT_EQ(std::get<catalog::BackupSpec>(jobs[0].spec).vms.size(), 2u);
}

TEST_F(SchedulerTest, WhatWasDueWhileTheDaemonWasDownRunsOnce) {
  AddHost("h1", {"a"});
  Insert(MakePolicy("p", "all", {"every minute"}));
  clock_.Advance(absl::Hours(30) + absl::Seconds(20));
  Tick();
  Tick();
  ASSERT_EQ(Jobs().size(), 1u);
  EXPECT_EQ(Jobs()[0].terms.due_time, clock_.Now() - absl::Seconds(20));
  EXPECT_THAT(EventsOf("POLICY_RUN"), ::testing::ElementsAre(::testing::HasSubstr("for all that was due before")));
}

TEST_F(SchedulerTest, APolicyMaySkipWhatWasMissed) {
  AddHost("h1", {"a"});
  catalog::Policy policy = MakePolicy("p", "all", {"every 6 hours"});
  policy.skip_missed = true;
  Insert(policy);
  clock_.Advance(absl::Hours(30) + absl::Minutes(20));
  const auto due = calendar::Schedule::Parse("every 6 hours")->NextAfter(clock_.Now(), absl::UTCTimeZone());
  Tick();
  EXPECT_TRUE(Jobs().empty() || clock_.Now() - *Jobs()[0].terms.due_time <= kMissedAfter);
  const size_t before = Jobs().size();
  clock_.Advance(*due - clock_.Now());
  Tick();
  EXPECT_EQ(Jobs().size(), before + 1) << "the next one isn't missed";
}

TEST_F(SchedulerTest, ACrashBetweenSubmissionAndRecordDoublesNothing) {
  AddHost("h1", {"a", "b", "c"});
  Insert(MakePolicy("p", "all", {"every minute"}));
  const absl::Time before = Get("p").done_time;
  clock_.Advance(absl::Minutes(1));
  Tick();
  ASSERT_EQ(Jobs().size(), 3u);
  // The record is lost, as if the daemon had died before it; one job has begun meanwhile, and a machine has joined.
  const absl::Time done = Get("p").done_time;
  Write([&](catalog::Stores& s) {
    return s.policies.SetProgress(catalog::PolicyId("p"), done, before, std::nullopt, std::nullopt);
  });
  Start(Jobs()[0].id);
  SetVms("h1", {"a", "b", "c", "d"});
  Scheduler restarted(*catalog_, *engine_, clock_);
  ASSERT_TRUE(restarted.Tick().ok());
  EXPECT_EQ(Jobs().size(), 4u) << "only the new one";
  EXPECT_EQ(Get("p").done_time, done);
}

TEST_F(SchedulerTest, AMachineWhoseJobStillWaitsGetsNoSecondOne) {
  AddHost("h1", {"a", "b"});
  Insert(MakePolicy("p", "all", {"every minute"}));
  clock_.Advance(absl::Minutes(1));
  Tick();
  Start(Jobs()[0].id);
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Minutes(1));
    Tick();
  }
  EXPECT_EQ(Jobs().size(), 3u) << "one more of the machine that is worked on, none of the other";
  Fail(Jobs()[0].id);
  EXPECT_EQ(Get("p").last_due_time, clock_.Now());
}

TEST_F(SchedulerTest, WindowsBoundARunAndItsSpread) {
  std::vector<std::string> names;
  for (int i = 0; i < 50; ++i) names.push_back("vm" + std::to_string(i));
  AddHost("h1", names);
  catalog::Policy policy = MakePolicy("p", "all", {"hourly"});
  policy.windows = {"daily 22:00-23:00"};
  policy.spread = absl::Hours(2);
  Insert(policy);
  absl::Time opened;
  for (int minute = 0; minute < 25 * 60 && Jobs().empty(); ++minute) {
    clock_.Advance(absl::Minutes(1));
    Tick();
    opened = clock_.Now();
  }
  const auto jobs = Jobs();
  ASSERT_EQ(jobs.size(), 50u);
  EXPECT_EQ(absl::ToCivilHour(opened, absl::UTCTimeZone()).hour(), 22);
  std::set<absl::Time> starts;
  for (const catalog::Job& job : jobs) {
    EXPECT_GE(*job.terms.due_time, opened);
    EXPECT_LT(*job.terms.due_time, opened + absl::Hours(1)) << "within the window";
    EXPECT_EQ(job.terms.not_after, opened + absl::Hours(1));
    starts.insert(*job.terms.due_time);
  }
  EXPECT_GT(starts.size(), 40u) << "spread";
}

TEST_F(SchedulerTest, APausedPolicyRunsWhenAskedOnly) {
  AddHost("h1", {"a"});
  catalog::Policy policy = MakePolicy("p", "all", {"every minute"});
  policy.paused = true;
  Insert(policy);
  clock_.Advance(absl::Minutes(5));
  Tick();
  EXPECT_TRUE(Jobs().empty());
  const auto asked = scheduler_.RunNow(catalog::PolicyId("p"), "r1");
  ASSERT_TRUE(asked.ok()) << asked.status();
  EXPECT_EQ(asked->size(), 1u);
  EXPECT_EQ(*scheduler_.RunNow(catalog::PolicyId("p"), "r1"), *asked) << "a repetition";
  EXPECT_EQ(Jobs().size(), 1u);
  EXPECT_EQ(base::ReasonOf(scheduler_.RunNow(catalog::PolicyId("q"), "").status()), "POLICY_NOT_FOUND");
}

TEST_F(SchedulerTest, AClockThatWasAheadDoesNotStopPoliciesForGood) {
  AddHost("h1", {"a"});
  Insert(MakePolicy("p", "all", {"every minute"}));
  clock_.Jump(absl::Hours(24 * 365 * 10));
  Tick();
  ASSERT_EQ(Jobs().size(), 1u);
  Start(Jobs()[0].id);
  clock_.Jump(-absl::Hours(24 * 365 * 10));
  Tick();
  clock_.Advance(absl::Minutes(1));
  Tick();
  EXPECT_EQ(Jobs().size(), 2u);
}

TEST_F(SchedulerTest, AClockSetBackAnHourRunsNothingTwice) {
  AddHost("h1", {"a"});
  Insert(MakePolicy("p", "all", {"every minute"}));
  clock_.Advance(absl::Minutes(1));
  Tick();
  Start(Jobs()[0].id);
  clock_.Jump(-absl::Hours(1));
  for (int i = 0; i < 60; ++i) {
    Tick();
    clock_.Advance(absl::Minutes(1));
  }
  EXPECT_EQ(Jobs().size(), 1u);
  Tick();
  clock_.Advance(absl::Minutes(1));
  Tick();
  EXPECT_EQ(Jobs().size(), 2u);
}

TEST_F(SchedulerTest, NoHistoryOfCrashesAndWaitsDoublesADueTime) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(fmt::format("seed {}", seed));
  std::mt19937_64 random(seed);
  AddHost("h1", {"a", "b", "c"});
  Insert(MakePolicy("p", "all", {"every minute"}));
  for (int step = 0; step < 400; ++step) {
    const absl::Time before = Get("p").done_time;
    switch (random() % 4) {
      case 0:
        clock_.Advance(absl::Seconds(1 + random() % 150));
        break;
      case 1:
        Tick();
        break;
      case 2: {  // a run whose end isn't written down
        Tick();
        const absl::Time done = Get("p").done_time;
        Write([&](catalog::Stores& s) {
          return s.policies.SetProgress(catalog::PolicyId("p"), done, before, std::nullopt, std::nullopt);
        });
        break;
      }
      default: {  // a job goes on, if it can
        const auto active = *engine_->Active();
        if (active.empty()) break;
        const jobs::ActiveJob& job = active[random() % active.size()];
        const auto event = job.state == catalog::JobState::kQueued        ? jobs::JobEvent::kAssign
                           : job.state == catalog::JobState::kDispatching ? jobs::JobEvent::kAccept
                                                                          : jobs::JobEvent::kAgentFailed;
        (void)engine_->Apply(job.id, jobs::kCurrentAttempt, event);
      }
    }
  }
  std::set<std::pair<catalog::VmKey, absl::Time>> seen;
  for (const catalog::Job& job : Jobs()) {
    for (const catalog::VmKey& vm : catalog::VmsOf(job.spec)) {
      EXPECT_TRUE(seen.emplace(vm, *job.terms.due_time).second) << vm.uuid << ' ' << *job.terms.due_time;
    }
  }
  EXPECT_GT(seen.size(), 10u);
}

TEST_F(SchedulerTest, TheThreadRunsWhatIsDue) {
  AddHost("h1", {"a"});
  Insert(MakePolicy("p", "all", {"every minute"}));
  const absl::Time begin = clock_.Now();
  scheduler_.Start();
  // Waiting takes no time on this clock: the thread gets to the due time by itself.
  base::SystemClock real;
  const absl::Duration start = real.Monotonic();
  while (Jobs().empty() && real.Monotonic() - start < absl::Seconds(20)) real.Sleep(absl::Milliseconds(5));
  scheduler_.Stop();
  ASSERT_FALSE(Jobs().empty());
  EXPECT_EQ(Jobs()[0].terms.due_time, begin + absl::Minutes(1));
}

TEST_F(SchedulerTest, AFleetsRunIsSubmittedInOneTick) {
  for (int host = 0; host < 20; ++host) {
    std::vector<std::string> names;
    for (int i = 0; i < 100; ++i) names.push_back("vm" + std::to_string(host * 100 + i));
    AddHost("h" + std::to_string(host), names);
  }
  Insert(MakePolicy("p", "all", {"every minute"}));
  clock_.Advance(absl::Minutes(1));
  Tick();
  EXPECT_EQ(*catalog_->Read([](const catalog::Stores& s) { return s.jobs.CountQueued(); }), 2000);
}

}  // namespace
}  // namespace umbra::policies
