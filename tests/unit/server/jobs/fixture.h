// An engine on a real catalog, with a clock that the test moves.
#ifndef UMBRA_TESTS_UNIT_SERVER_JOBS_FIXTURE_H_
#define UMBRA_TESTS_UNIT_SERVER_JOBS_FIXTURE_H_

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "storage/base/status.h"
#include "tests/support/stepping_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::jobs {

using catalog::BackupSpec;
using catalog::HostId;
using catalog::JobSpec;
using catalog::RecoveryPoint;
using catalog::RecoveryPointId;
using catalog::RepositoryId;
using catalog::RestoreSpec;
using catalog::VerifySpec;
using catalog::VmKey;

inline BackupSpec Backup(const std::vector<std::string>& vms, const std::string& host = "h1") {
  BackupSpec spec{.repository = RepositoryId("main"), .freeze_timeout = absl::Seconds(10)};
  for (const std::string& vm : vms) spec.vms.push_back({HostId(host), vm});
  return spec;
}

inline RestoreSpec RestoreInPlace(const std::string& vm) {
  return {.recovery_point = RecoveryPointId("p0"),
          .repository = RepositoryId("main"),
          .mode = catalog::RestoreMode::kInPlace,
          .target_host = HostId("h1"),
          .replaced_vm = {HostId("h1"), vm}};
}

inline VerifySpec Verify() {
  return {.repository = RepositoryId("main")};
}

// One recovery point for each virtual machine of a backup.
inline std::vector<RecoveryPoint> PointsOf(const Job& job) {
  std::vector<RecoveryPoint> points;
  for (const VmKey& vm : catalog::VmsOf(job.spec)) {
    points.push_back({.id = RecoveryPointId(job.id.value + "-" + vm.uuid),
                      .vm = vm,
                      .vm_display_name = vm.uuid,
                      .repository = RepositoryId("main"),
                      .job = job.id,
                      .point_time = absl::FromUnixSeconds(1'800'000'000),
                      .create_time = absl::FromUnixSeconds(1'800'000'001)});
  }
  return points;
}

class EngineTest : public ::testing::Test {
 protected:
  EngineTest() { Restart(); }

  // What a restart of the daemon does to this room, without the recovery.
  void Restart() {
    engine_.reset();
    hub_.reset();
    catalog_.reset();
    auto catalog = catalog::Catalog::Open(filesystem_, dir_.File("catalog.db"));
    UMBRA_CHECK(catalog.ok());
    catalog_ = *std::move(catalog);
    hub_ = std::make_unique<EventHub>(*catalog_, clock_);
    engine_ = std::make_unique<JobEngine>(*catalog_, clock_, random_);
    engine_->SetLimits({.per_host_max = 0});
    for (const char* host : {"h1", "h2"}) engine_->SetHost(HostId(host), "");
  }

  Job Submit(const JobSpec& spec) {
    absl::StatusOr<Job> job = engine_->Submit(spec);
    UMBRA_CHECK(job.ok());
    return *std::move(job);
  }
  // What the queue begins now.
  std::vector<JobId> AssignAll(size_t count_max = 1000) {
    const absl::StatusOr<std::vector<Job>> jobs = engine_->AssignNext(count_max);
    EXPECT_TRUE(jobs.ok()) << jobs.status();
    std::vector<JobId> ids;
    for (const Job& job : *jobs) ids.push_back(job.id);
    return ids;
  }
  Job Get(const JobId& id) {
    absl::StatusOr<Job> job = engine_->Get(id);
    UMBRA_CHECK(job.ok());
    return *std::move(job);
  }
  // Applies to the current attempt; the test fails when the engine refuses.
  Applied Do(const JobId& id, JobEvent event, const EventFacts& facts = {}) {
    absl::StatusOr<Applied> applied = engine_->Apply(id, kCurrentAttempt, event, facts);
    EXPECT_TRUE(applied.ok()) << NameOf(event) << ": " << applied.status();
    return applied.ok() ? *std::move(applied) : Applied{};
  }
  Job Running(const JobSpec& spec) {
    const Job job = Submit(spec);
    Do(job.id, JobEvent::kAssign);
    return Do(job.id, JobEvent::kAccept).job;
  }
  Job Commit(const Job& job) { return Do(job.id, JobEvent::kRepoCommitted, {.recovery_points = PointsOf(job)}).job; }
  std::vector<catalog::Event> Events() {
    return catalog_->Read([](const catalog::Stores& s) { return s.events.List("", {.page_size = 100'000}); })->items;
  }
  std::vector<RecoveryPointId> PointsInCatalog() {
    return *catalog_->Read([](const catalog::Stores& s) { return s.recovery_points.Ids(RepositoryId("main")); });
  }

  testing::TempDir dir_;
  base::PosixFilesystem filesystem_;
  testing::SteppingClock clock_;
  base::SeededRandom random_{1};
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<EventHub> hub_;
  std::unique_ptr<JobEngine> engine_;
};

}  // namespace umbra::jobs

#endif  // UMBRA_TESTS_UNIT_SERVER_JOBS_FIXTURE_H_
