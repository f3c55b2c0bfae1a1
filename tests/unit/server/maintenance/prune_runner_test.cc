// Proves that a PRUNE job is done by the daemon itself: result, catalog rows, warnings, failure, dry run, cancel; that
// the schedule makes such jobs when they are due and no others; and that a clock that jumped is told of once.
#include "server/maintenance/prune_runner.h"

#include <atomic>
#include <thread>

#include "server/maintenance/prune_schedule.h"
#include "server/maintenance/rebuild.h"
#include "tests/support/manual_clock.h"
#include "tests/unit/server/maintenance/fixture.h"

namespace umbra::maintenance {
namespace {

using catalog::JobState;
using ::testing::ElementsAre;

class PruneRunnerTest : public MaintenanceTest {
 protected:
  PruneRunnerTest() { engine_ = std::make_unique<jobs::JobEngine>(*catalog_, manual_, random_); }

  catalog::JobId Submit(bool dry_run = false) {
    const auto job = engine_->Submit(catalog::PruneSpec{catalog::RepositoryId("main"), dry_run});
    EXPECT_TRUE(job.ok());
    return job->id;
  }
  void Start() {
    repo::PruneOptions options;
    options.io_bytes_per_second = 77;
    runner_ = std::make_unique<PruneRunner>(*catalog_, *engine_, *events_, *repositories_, manual_, options);
  }
  size_t PruneJobs() { return engine_->List({.kind = catalog::JobKind::kPrune}, {})->items.size(); }
  bool Eventually(const std::function<bool()>& condition) {
    const absl::Duration start = clock_.Monotonic();
    while (!condition() && clock_.Monotonic() - start < kPatience) clock_.Sleep(absl::Milliseconds(5));
    return condition();
  }

  testing::ManualClock manual_;
  std::unique_ptr<PruneRunner> runner_;
};

TEST_F(PruneRunnerTest, WhatWasDeletedLeavesTheCatalogAndTheResultIsInTheJob) {
  repository_->Add("p1");
  repository_->Add("p2");
  ASSERT_TRUE(RebuildCatalog(*catalog_, repositories_->Default(), clock_, RebuildMode::kFull).ok());
  repo::PruneOptions asked;
  repository_->pruner = [&](const repo::PruneOptions& options, const auto& progress,
                            std::stop_token) -> absl::StatusOr<repo::PruneReport> {
    asked = options;
    progress({.done_bytes = 5, .total_bytes = 10});
    repo::PruneReport report;
    report.deleted_points = {"p1", "never-in-the-catalog"};
    report.deleted_packs = 3;
    report.freed_bytes = 100;
    report.copied_bytes = 20;
    report.waiting_bytes = 7;
    report.needed_bytes = 900;
    report.problems = {"packs/x is left alone"};
    report.clock_jumped = true;
    return report;
  };
  Start();
  const catalog::Job job = Await(Submit(), JobState::kSucceeded);
  EXPECT_EQ(asked.io_bytes_per_second, 77u);
  EXPECT_FALSE(asked.dry_run);
  ASSERT_TRUE(job.prune_result.has_value());
  EXPECT_EQ(*job.prune_result, (catalog::PruneResult{2, 3, 100, 20, 7, 900}));
  EXPECT_EQ(job.progress.total_bytes, 10);
  ASSERT_EQ(job.warnings.size(), 2u);
  EXPECT_EQ(job.warnings[0].reason, "CLOCK_JUMPED");
  EXPECT_EQ(job.warnings[1].message, "packs/x is left alone");
  EXPECT_THAT(Rows(), ElementsAre("p2"));
}

TEST_F(PruneRunnerTest, ADryRunTouchesNoRow) {
  repository_->Add("p1");
  ASSERT_TRUE(RebuildCatalog(*catalog_, repositories_->Default(), clock_, RebuildMode::kFull).ok());
  repository_->pruner = [](const repo::PruneOptions& options, const auto&,
                           std::stop_token) -> absl::StatusOr<repo::PruneReport> {
    EXPECT_TRUE(options.dry_run);
    repo::PruneReport report;
    report.deleted_points = {"p1"};
    return report;
  };
  Start();
  const catalog::Job job = Await(Submit(true), JobState::kSucceeded);
  EXPECT_EQ(job.prune_result->deleted_points, 1);
  EXPECT_TRUE(std::get<catalog::PruneSpec>(job.spec).dry_run);
  EXPECT_THAT(Rows(), ElementsAre("p1"));
}

TEST_F(PruneRunnerTest, FailuresAndCancellationsEndTheJob) {
  std::atomic<bool> running = false;
  repository_->pruner = [&](const repo::PruneOptions&, const auto&,
                            std::stop_token stop) -> absl::StatusOr<repo::PruneReport> {
    running = true;
    while (!stop.stop_requested()) clock_.Sleep(absl::Milliseconds(1));
    return base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "stopped");
  };
  Start();
  const catalog::JobId cancelled = Submit();
  ASSERT_TRUE(Eventually([&] { return running.load(); }));
  ASSERT_TRUE(engine_->Cancel(cancelled).ok());
  Await(cancelled, JobState::kCancelled);
  repository_->pruner = [](const repo::PruneOptions&, const auto&,
                           std::stop_token) -> absl::StatusOr<repo::PruneReport> {
    return base::MakeError(absl::StatusCode::kDataLoss, "MANIFEST_DAMAGED", "what p7 needs isn't known");
  };
  const catalog::Job failed = Await(Submit(), JobState::kFailed);
  EXPECT_EQ(failed.error.reason, "MANIFEST_DAMAGED");
  EXPECT_FALSE(failed.prune_result.has_value());
}

TEST_F(PruneRunnerTest, TheScheduleMakesAJobWhenItIsDueAndNotBefore) {
  const auto done = [](const repo::PruneOptions&, const auto&, std::stop_token) -> absl::StatusOr<repo::PruneReport> {
    return repo::PruneReport();
  };
  repository_->pruner = done;
  archive_->pruner = done;
  repository_->SetCreateTime(manual_.Now());
  archive_->SetCreateTime(manual_.Now());
  PruneSchedule schedule(*catalog_, *engine_, *repositories_, manual_, absl::Hours(24));
  ASSERT_TRUE(schedule.Tick().ok());
  EXPECT_EQ(PruneJobs(), 0u) << "both repositories are new";
  manual_.Advance(absl::Hours(24));
  ASSERT_TRUE(schedule.Tick().ok());
  ASSERT_TRUE(schedule.Tick().ok());
  EXPECT_EQ(PruneJobs(), 2u) << "one for each, and none while it waits";
  Start();
  const auto made = engine_->List({.kind = catalog::JobKind::kPrune}, {});
  for (const catalog::Job& job : made->items) {
    Await(job.id, JobState::kSucceeded);
  }
  manual_.Advance(absl::Hours(23));
  ASSERT_TRUE(schedule.Tick().ok());
  EXPECT_EQ(PruneJobs(), 2u);
  Await(Submit(true), JobState::kSucceeded);
  manual_.Advance(absl::Hours(1));
  ASSERT_TRUE(schedule.Tick().ok());
  EXPECT_EQ(PruneJobs(), 5u) << "a dry run is no prune";
  PruneSchedule never(*catalog_, *engine_, *repositories_, manual_, absl::ZeroDuration());
  manual_.Advance(absl::Hours(1000));
  ASSERT_TRUE(never.Tick().ok());
}

TEST_F(PruneRunnerTest, WhatWasKnownOfADeletedPointGoesWithIt) {
  repository_->Add("p1");
  repository_->Add("p2");
  ASSERT_TRUE(RebuildCatalog(*catalog_, repositories_->Default(), clock_, RebuildMode::kFull).ok());
  for (const char* point : {"p1", "p2"}) {
    ASSERT_TRUE(catalog_
                    ->Write([&](catalog::Stores& stores) {
                      absl::Status status = stores.verify.AddDamage({.repository = catalog::RepositoryId("main"),
                                                                     .recovery_point = catalog::RecoveryPointId(point),
                                                                     .disk = "vda",
                                                                     .chunk_id = "00",
                                                                     .length_bytes = 1,
                                                                     .reason = "CHUNK_DAMAGED",
                                                                     .found_time = manual_.Now()});
                      status.Update(stores.verify.SetPointCheck({.repository = catalog::RepositoryId("main"),
                                                                 .recovery_point = catalog::RecoveryPointId(point),
                                                                 .verify_time = manual_.Now()}));
                      return status;
                    })
                    .ok());
  }
  repository_->pruner = [](const repo::PruneOptions&, const auto&,
                           std::stop_token) -> absl::StatusOr<repo::PruneReport> {
    repo::PruneReport report;
    report.deleted_points = {"p1"};
    return report;
  };
  Start();
  Await(Submit(), JobState::kSucceeded);
  const auto open = catalog_->Read(
      [](const catalog::Stores& stores) { return stores.verify.OpenDamage(catalog::RepositoryId("main")); });
  ASSERT_EQ(open->size(), 1u);
  EXPECT_EQ((*open)[0].recovery_point.value, "p2");
  const auto checks = catalog_->Read(
      [](const catalog::Stores& stores) { return stores.verify.PointCheckTimes(catalog::RepositoryId("main")); });
  EXPECT_EQ(checks->size(), 1u);
}

TEST_F(PruneRunnerTest, AClockThatJumpedIsToldOfOnce) {
  repository_->clock_ahead = absl::Hours(30);
  Start();
  ASSERT_TRUE(Eventually([&] { return EventsOf("CLOCK_JUMPED").size() == 1; }));
  const uint64_t before = repository_->maintained;
  manual_.Advance(absl::Hours(1));
  ASSERT_TRUE(Eventually([&] { return repository_->maintained > before; }));
  runner_.reset();
  EXPECT_EQ(EventsOf("CLOCK_JUMPED").size(), 1u);
  EXPECT_EQ(EventsOf("CLOCK_JUMPED")[0].resource, "repositories/main");
}

}  // namespace
}  // namespace umbra::maintenance
