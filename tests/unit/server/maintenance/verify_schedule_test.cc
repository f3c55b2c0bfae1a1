// Proves that verification starts by itself and reads everything in time, the oldest first; that damage is kept until a
// sound copy is stored again, over restarts; and that the figures of each day are kept.
#include "server/maintenance/verify_schedule.h"

#include <algorithm>
#include <set>

#include "server/maintenance/damage_book.h"
#include "server/maintenance/figures_recorder.h"
#include "server/maintenance/verify_plan.h"
#include "server/maintenance/verify_runner.h"
#include "tests/support/manual_clock.h"
#include "tests/unit/server/maintenance/fixture.h"

namespace umbra::maintenance {
namespace {

using catalog::JobState;

constexpr absl::Duration kDay = absl::Hours(24);

std::string PackId(int i) {
  return fmt::format("{:032x}", i);
}

class VerifyScheduleTest : public MaintenanceTest {
 protected:
  VerifyScheduleTest() : manual_engine_(*catalog_, manual_, random_) { now_ = manual_.Now(); }

  // A day older with each pack.
  void HavePacks(int count) {
    for (int i = 0; i < count; ++i) repository_->packs.push_back({PackId(i), 1000, now_ - kDay * (count - i)});
  }
  std::vector<PackAge> Ages(catalog::VerifyLevel level = catalog::VerifyLevel::kFull) {
    return *PacksByAge(*catalog_, repositories_->Default(), level);
  }
  void Checked(const std::string& pack, absl::Time stored, std::optional<absl::Time> full) {
    ASSERT_TRUE(catalog_
                    ->Write([&](catalog::Stores& s) {
                      return s.verify.SetPackCheck({main_, pack, 1000, stored, full, false, 0});
                    })
                    .ok());
  }
  VerifySchedule Schedule(const VerifyScheduleOptions& options = {}) {
    return VerifySchedule(*catalog_, manual_engine_, *repositories_, manual_, options);
  }
  std::vector<catalog::Job> Jobs() {
    return catalog_->Read([](const catalog::Stores& s) { return s.jobs.List({}, {.page_size = 1000}); })->items;
  }
  void End(const catalog::JobId& id) {
    ASSERT_TRUE(manual_engine_.Apply(id, jobs::kCurrentAttempt, jobs::JobEvent::kAssign).ok());
    ASSERT_TRUE(manual_engine_.Apply(id, jobs::kCurrentAttempt, jobs::JobEvent::kAccept).ok());
    ASSERT_TRUE(manual_engine_.Apply(id, jobs::kCurrentAttempt, jobs::JobEvent::kAgentDone).ok());
  }

  const catalog::RepositoryId main_{"main"};
  testing::ManualClock manual_;
  jobs::JobEngine manual_engine_;
  absl::Time now_;
};

TEST_F(VerifyScheduleTest, TheLeastRecentlyVerifiedComesFirst) {
  HavePacks(4);
  Checked(PackId(0), now_, now_);                                   // the oldest, but just verified
  Checked(PackId(1), now_, now_ - kDay * 10);                       // stored bytes only, lately
  const auto full = Ages();
  ASSERT_EQ(full.size(), 4u);
  EXPECT_EQ(full[0].pack, PackId(1));
  EXPECT_EQ(full[1].pack, PackId(2)) << "never verified: as old as the pack";
  EXPECT_FALSE(full[1].verified);
  EXPECT_EQ(full[3].pack, PackId(0));
  const auto stored = Ages(catalog::VerifyLevel::kStored);
  EXPECT_EQ(stored[0].pack, PackId(2));
}

TEST_F(VerifyScheduleTest, AnEvenShareIsDueAndInAnyCaseWhatWouldBecomeTooOld) {
  EXPECT_EQ(BytesDue({}, now_, kDay, kDay * 30), 0);
  std::vector<PackAge> packs;
  for (int i = 0; i < 60; ++i) packs.push_back({PackId(i), 1000, now_, true});
  EXPECT_EQ(BytesDue(packs, now_, kDay, kDay * 30), 2000);
  for (int i = 0; i < 10; ++i) packs[static_cast<size_t>(i)].since = now_ - kDay * 29;
  EXPECT_EQ(BytesDue(packs, now_, kDay, kDay * 30), 10000) << "they would be 30 days old before the next run";
  EXPECT_EQ(BytesDue(packs, now_, kDay * 90, kDay * 30), 60000) << "never more than everything";
}

// The rule itself: whatever there is, with a run each day nothing is ever older than `within`.
TEST_F(VerifyScheduleTest, EverythingIsReadWithinTheGivenDays) {
  std::vector<PackAge> packs;
  for (int i = 0; i < 37; ++i) packs.push_back({PackId(i), 900 + 13 * i, now_ - kDay * (i % 5), i % 2 == 0});
  for (int day = 0; day < 100; ++day) {
    const absl::Time today = now_ + kDay * day;
    std::ranges::sort(packs, {}, &PackAge::since);
    const int64_t due = BytesDue(packs, today, kDay, kDay * 14);
    int64_t read = 0;
    for (PackAge& pack : packs) {
      EXPECT_LE(today - pack.since, kDay * 14) << "day " << day;
      if (read >= due) continue;
      read += pack.size_bytes;
      pack.since = today;
    }
    EXPECT_LT(read, 37 * 1400 / 4) << "and the work is spread over the days";
    if (day % 10 == 0) packs.push_back({PackId(1000 + day), 2000, today, false});
  }
}

TEST_F(VerifyScheduleTest, ARunIsStartedAtTheIntervalUnlessOneIsUnderWay) {
  HavePacks(30);
  VerifySchedule schedule = Schedule();
  ASSERT_TRUE(schedule.Tick().ok());
  ASSERT_EQ(Jobs().size(), 1u) << "the repository is older than a day, and was never verified";
  const auto spec = std::get<catalog::VerifySpec>(Jobs()[0].spec);
  EXPECT_EQ(spec.repository, main_);
  EXPECT_EQ(spec.level, catalog::VerifyLevel::kFull);
  EXPECT_EQ(spec.time_budget, absl::Hours(1));
  EXPECT_GE(spec.byte_budget, 1000);
  EXPECT_LE(spec.byte_budget, 3000);
  manual_.Advance(kDay * 2);
  ASSERT_TRUE(schedule.Tick().ok());
  EXPECT_EQ(Jobs().size(), 1u) << "the first one waits still";
  End(Jobs()[0].id);
  ASSERT_TRUE(schedule.Tick().ok());
  EXPECT_EQ(Jobs().size(), 2u);
  End(Jobs()[0].id);
  manual_.Advance(absl::Hours(23));
  ASSERT_TRUE(schedule.Tick().ok());
  EXPECT_EQ(Jobs().size(), 2u) << "not yet";
  // Another object, as after a restart: what counts is in the catalog.
  manual_.Advance(absl::Hours(2));
  ASSERT_TRUE(Schedule().Tick().ok());
  EXPECT_EQ(Jobs().size(), 3u);
}

TEST_F(VerifyScheduleTest, APruneIsNoVerification) {
  HavePacks(30);
  ASSERT_TRUE(manual_engine_.Submit(catalog::PruneSpec{.repository = main_}).ok());
  ASSERT_TRUE(Schedule().Tick().ok());
  const auto verifications = manual_engine_.List({.kind = catalog::JobKind::kVerify}, {});
  EXPECT_EQ(verifications->items.size(), 1u) << "neither does one that waits hold it up, nor one of today put it off";
}

TEST_F(VerifyScheduleTest, NothingIsStartedWhenItIsTurnedOffOrThereIsNothingToRead) {
  ASSERT_TRUE(Schedule().Tick().ok());
  HavePacks(3);
  ASSERT_TRUE(Schedule({.interval = absl::ZeroDuration()}).Tick().ok());
  EXPECT_TRUE(Jobs().empty());
}

// ---- What the runner keeps ----

class RecordTest : public VerifyScheduleTest {
 protected:
  void Start() { runner_ = std::make_unique<VerifyRunner>(*catalog_, *engine_, *events_, *repositories_, clock_); }
  catalog::Job Await(const catalog::JobId& id) {
    catalog::Job job = *engine_->Get(id);
    const absl::Duration start = clock_.Monotonic();
    while (!catalog::IsTerminal(job.state) && clock_.Monotonic() - start < kPatience) {
      job = *engine_->WaitForChange(id, job.revision, absl::Seconds(1));
    }
    return job;
  }
  catalog::Job RunOne(catalog::VerifySpec spec = {}) {
    spec.repository = main_;
    return Await(engine_->Submit(spec)->id);
  }
  std::vector<catalog::Damage> Open() {
    return *catalog_->Read([&](const catalog::Stores& s) { return s.verify.OpenDamage(main_); });
  }
  // Reads the packs of the scope in order, up to the budget, and finds nothing wrong.
  FakeRepository::Verifier Sound(std::vector<std::string>& read) {
    return [&read](const repo::VerifyScope& scope, const auto&, std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
      repo::VerifyReport report;
      uint64_t bytes = 0;
      for (const std::string& pack : scope.packs) {
        report.complete = bytes < scope.byte_budget;
        if (!report.complete) break;
        read.push_back(pack);
        bytes += 1000;
        scope.on_pack({pack, 1000, scope.level, false, 0});
      }
      return report;
    };
  }

  std::unique_ptr<VerifyRunner> runner_;
};

TEST_F(RecordTest, RunsWithABudgetGoOnWhereTheLastOneEndedAlsoAfterARestart) {
  HavePacks(5);
  std::vector<std::string> read;
  repository_->verifier = Sound(read);
  Start();
  for (int run = 0; run < 3; ++run) {
    catalog::VerifySpec spec;
    spec.byte_budget = 2000;
    EXPECT_EQ(RunOne(spec).state, JobState::kSucceeded);
    runner_.reset();
    Start();
  }
  ASSERT_EQ(read.size(), 6u);
  EXPECT_EQ(std::set<std::string>(read.begin(), read.begin() + 5).size(), 5u) << "each once, before any comes again";
  EXPECT_EQ(read[0], PackId(0));
  EXPECT_EQ(read[5], PackId(0));
}

TEST_F(RecordTest, ABudgetThatIsTooSmallIsToldOf) {
  repository_->packs = {{PackId(1), 1000, now_ - kDay * 40}, {PackId(2), 1000, now_ - kDay * 35}};
  std::vector<std::string> read;
  repository_->verifier = Sound(read);
  Start();
  catalog::VerifySpec spec;
  spec.byte_budget = 1000;
  const catalog::Job behind = RunOne(spec);
  ASSERT_EQ(behind.warnings.size(), 1u);
  EXPECT_EQ(behind.warnings[0].reason, "VERIFY_BEHIND");
  EXPECT_TRUE(RunOne(spec).warnings.empty()) << "now both were read";
}

TEST_F(RecordTest, ResultsOfPacksThatAreGoneAreForgotten) {
  HavePacks(2);
  std::vector<std::string> read;
  repository_->verifier = Sound(read);
  Start();
  RunOne();
  repository_->packs.pop_back();
  RunOne();
  const auto checks = *catalog_->Read([&](const catalog::Stores& s) { return s.verify.PackChecks(main_); });
  ASSERT_EQ(checks.size(), 1u);
  EXPECT_EQ(checks[0].pack, PackId(0));
}

TEST_F(RecordTest, DamageIsKeptUntilABackupStoresASoundCopy) {
  const std::string chunk(64, 'a');
  repository_->unsound.insert(chunk);
  repository_->verifier = [&](const repo::VerifyScope&, const auto&, std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    repo::VerifyReport report;
    for (const uint64_t offset : {uint64_t{0}, uint64_t{131072}}) {
      report.damaged.push_back({.chunk_id = chunk,
                                .recovery_point_id = "p1",
                                .vm_display_name = "vm",
                                .disk = "vda",
                                .offset_bytes = offset,
                                .length_bytes = 131072,
                                .reason = "CHUNK_DAMAGED",
                                .message = "wrong"});
    }
    report.damaged_count = 2;
    return report;
  };
  Start();
  const catalog::Job job = RunOne();
  EXPECT_EQ(job.state, JobState::kFailed);
  ASSERT_EQ(job.damage.size(), 2u);
  EXPECT_EQ(job.damage[1].length_bytes, 131072);
  EXPECT_EQ(Open().size(), 2u);
  runner_.reset();
  Start();
  EXPECT_EQ(Open().size(), 2u) << "after a restart";
  runner_.reset();

  repository_->unsound.clear();  // what a backup does
  repository_->verifier = [](const auto&, const auto&, std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    repo::VerifyReport report;
    report.healed = {"packs/aa: 1 damaged chunks"};
    return report;
  };
  Start();
  const catalog::Job healed = RunOne();
  EXPECT_EQ(healed.state, JobState::kSucceeded);
  ASSERT_EQ(healed.warnings.size(), 1u);
  EXPECT_EQ(healed.warnings[0].reason, "DAMAGE_HARMLESS");
  EXPECT_TRUE(Open().empty());
  const auto events = EventsOf("DAMAGE_HEALED");
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].resource, "recoveryPoints/p1");
}

TEST_F(RecordTest, ABackupThatHealsIsNoticedWithoutAVerification) {
  const std::string chunk(64, 'b');
  ASSERT_TRUE(catalog_
                  ->Write([&](catalog::Stores& s) {
                    return s.verify.AddDamage({main_, catalog::RecoveryPointId("p1"), "vda", 0, chunk, 1, "CHUNK_DAMAGED", "wrong",
                                               now_, std::nullopt});
                  })
                  .ok());
  Start();
  // The end of any job wakes the runner.
  const catalog::Job backup =
      *engine_->Submit(catalog::BackupSpec{.vms = {{catalog::HostId("h"), "u"}}, .repository = main_});
  ASSERT_TRUE(engine_->Cancel(backup.id).ok());
  const absl::Duration start = clock_.Monotonic();
  while (!Open().empty() && clock_.Monotonic() - start < kPatience) clock_.Sleep(absl::Milliseconds(5));
  EXPECT_TRUE(Open().empty());
}

TEST_F(RecordTest, PointsAreReadInTheOrderOfTheirAge) {
  for (const char* id : {"p1", "p2", "p3"}) {
    catalog::RecoveryPoint point;
    point.id = catalog::RecoveryPointId(id);
    point.repository = main_;
    ASSERT_TRUE(catalog_->Write([&](catalog::Stores& s) { return s.recovery_points.Insert(point).status(); }).ok());
  }
  ASSERT_TRUE(catalog_
                  ->Write([&](catalog::Stores& s) {
                    return s.verify.SetPointCheck({main_, catalog::RecoveryPointId("p1"), now_, true});
                  })
                  .ok());
  std::vector<std::string> order;
  repository_->verifier = [&](const repo::VerifyScope& scope, const auto&,
                              std::stop_token) -> absl::StatusOr<repo::VerifyReport> {
    order = scope.recovery_points;
    for (const std::string& id : order) scope.on_point({id, true});
    return repo::VerifyReport{};
  };
  Start();
  catalog::VerifySpec spec;
  spec.level = catalog::VerifyLevel::kDisks;
  RunOne(spec);
  EXPECT_EQ(order, (std::vector<std::string>{"p2", "p3", "p1"}));
  const auto times = *catalog_->Read([&](const catalog::Stores& s) { return s.verify.PointCheckTimes(main_); });
  EXPECT_EQ(times.size(), 3u);
}

TEST_F(VerifyScheduleTest, FiguresOfEachDayAreKept) {
  repository_->stats = {.recovery_point_count = 3, .logical_bytes = 300, .unique_bytes = 200, .stored_bytes = 100};
  FiguresRecorder recorder(*catalog_, *repositories_, manual_);
  ASSERT_TRUE(recorder.Tick().ok());
  repository_->stats.stored_bytes = 150;
  ASSERT_TRUE(recorder.Tick().ok());
  manual_.Advance(kDay);
  repository_->stats.stored_bytes = 180;
  ASSERT_TRUE(recorder.Tick().ok());
  const auto days = *catalog_->Read([&](const catalog::Stores& s) { return s.figures.Days(main_, 10); });
  ASSERT_EQ(days.size(), 2u);
  EXPECT_EQ(days[0].figures.stored_bytes, 150);
  EXPECT_EQ(days[1].figures.stored_bytes, 180);
  EXPECT_EQ(days[1].day, days[0].day + 1);
  EXPECT_EQ(days[1].figures.logical_bytes, 300);
}

}  // namespace
}  // namespace umbra::maintenance
