// Proves that figures of jobs, agents, policies, repositories and catalog are those of the sources.
#include "server/metrics/metrics.h"

#include "server/metrics/state_metrics.h"
#include "storage/base/status.h"
#include "tests/support/stepping_clock.h"
#include "tests/unit/server/maintenance/fixture.h"

namespace umbra::metrics {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

const catalog::HostId kHost("h1");

catalog::BackupSpec BackupOf(const std::string& vm) {
  return {.vms = {{kHost, vm}}, .repository = catalog::RepositoryId("main"), .freeze_timeout = absl::Seconds(10)};
}

class MetricsTest : public maintenance::MaintenanceTest {
 protected:
  MetricsTest() { metrics_.Listen(); }

  catalog::Job Running(const std::string& vm) {
    const catalog::JobId id = engine_->Submit(BackupOf(vm))->id;
    EXPECT_TRUE(engine_->Apply(id, jobs::kCurrentAttempt, jobs::JobEvent::kAssign).ok());
    return engine_->Apply(id, jobs::kCurrentAttempt, jobs::JobEvent::kAccept)->job;
  }

  dispatch::AgentRegistry agents_;
  testing::SteppingClock steps_;
  Metrics metrics_{{*catalog_, dir_.File("catalog.db"), *engine_, agents_, *repositories_, files_, steps_}};
};

TEST_F(MetricsTest, JobsAreShownWhileTheyRunAndCountedWhenTheyEnd) {
  ASSERT_TRUE(engine_->Submit(BackupOf("waits")).ok());
  const catalog::Job job = Running("vm1");
  std::string text = metrics_.Text();
  EXPECT_THAT(text, HasSubstr(R"(umbra_jobs{kind="backup",state="queued"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_jobs{kind="backup",state="running"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_jobs_queued{wait_reason=""} 1)"));
  EXPECT_THAT(text, Not(HasSubstr("umbra_jobs_ended_total{")));

  const jobs::EventFacts facts{
      .progress = catalog::JobProgress{.read_bytes = 500, .new_bytes = 300, .stored_bytes = 100},
      .error = {"GUEST_STOPPED", "it went away"},
      .freeze_duration = absl::Milliseconds(150)};
  ASSERT_TRUE(engine_->Apply(job.id, job.attempt, jobs::JobEvent::kAgentFailed, facts).ok());
  // A repetition is not another end.
  ASSERT_TRUE(engine_->Apply(job.id, job.attempt, jobs::JobEvent::kAgentFailed, facts).ok());
  text = metrics_.Text();
  EXPECT_THAT(text, HasSubstr(R"(umbra_jobs_ended_total{kind="backup",reason="GUEST_STOPPED",state="failed"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_job_bytes_total{kind="backup",what="read"} 500)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_job_bytes_total{kind="backup",what="stored"} 100)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_guest_freeze_seconds_bucket{le="0.1"} 0)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_guest_freeze_seconds_bucket{le="0.2"} 1)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_job_duration_seconds_count{kind="backup"} 1)"));
  EXPECT_THAT(text, HasSubstr("umbra_vm_downtime_seconds_count 0"));
  EXPECT_THAT(text, Not(HasSubstr(R"(state="running"} 1)")));
}

TEST_F(MetricsTest, LimitsOfRepositoriesAreShownAsTheyAreNow) {
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("umbra_repository_upload_limit_bytes_per_second{")));
  std::vector<maintenance::OpenRepository> open;
  open.push_back({catalog::RepositoryId("main"), "/r", std::make_unique<maintenance::FakeRepository>(),
                  std::make_unique<base::TokenBucket>(steps_, 1000)});
  const maintenance::RepositorySet repositories(std::move(open));
  const Metrics metrics({*catalog_, dir_.File("catalog.db"), *engine_, agents_, repositories, files_, steps_});
  base::TokenBucket& limit = *repositories.Default().upload_limit;
  (void)limit.Take(3000);
  (void)limit.Take(1);
  EXPECT_THAT(metrics.Text(), HasSubstr(R"(umbra_repository_upload_limit_bytes_per_second{repository="main"} 1000)"));
  EXPECT_THAT(metrics.Text(), HasSubstr(R"(umbra_repository_upload_wait_seconds_total{repository="main"} 2)"));
  limit.SetRate(0);
  EXPECT_THAT(metrics.Text(), HasSubstr(R"(umbra_repository_upload_limit_bytes_per_second{repository="main"} 0)"));
}

TEST_F(MetricsTest, FleetAndRepositoriesAreAsTheyAre) {
  ASSERT_TRUE(
      catalog_
          ->Write([](catalog::Stores& stores) -> absl::Status {
            RETURN_IF_ERROR(stores.hosts.Insert({.id = kHost, .display_name = "h1", .certificate_fingerprint = "f"}));
            RETURN_IF_ERROR(stores.vms.ReplaceInventory(kHost, {{.key = {kHost, "a"}}, {.key = {kHost, "b"}}}, {}));
            return stores.recovery_points
                .Insert({.id = catalog::RecoveryPointId("p"),
                         .vm = {kHost, "a"},
                         .repository = catalog::RepositoryId("main")})
                .status();
          })
          .ok());
  repository_->stats = {
      .recovery_point_count = 3, .logical_bytes = 900, .unique_bytes = 600, .stored_bytes = 400, .free_bytes = 77};
  const std::string text = metrics_.Text();
  EXPECT_THAT(text, HasSubstr("\numbra_hosts 1\n"));
  EXPECT_THAT(text, HasSubstr("\numbra_virtual_machines 2\n"));
  EXPECT_THAT(text, HasSubstr("\numbra_virtual_machines_without_recovery_point 1\n"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_repository_recovery_points{repository="main"} 3)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_repository_bytes{repository="main",what="stored"} 400)"));
  EXPECT_THAT(text, HasSubstr(R"(umbra_repository_free_bytes{repository="main"} 77)"));
  EXPECT_THAT(text, HasSubstr("\numbra_agents_online 0\n"));
  EXPECT_THAT(text, HasSubstr("\numbra_metrics_failures 0\n"));
  EXPECT_THAT(text, ::testing::ContainsRegex("\numbra_catalog_bytes.file=\"database\". [1-9]"));
  EXPECT_THAT(text, ::testing::ContainsRegex("\nprocess_resident_memory_bytes [1-9]"));
}

TEST_F(MetricsTest, WhatIsSlowToGetIsKeptForAMinute) {
  EXPECT_THAT(metrics_.Text(), HasSubstr(R"(umbra_repository_free_bytes{repository="main"} 0)"));
  repository_->stats.free_bytes = 5;
  EXPECT_THAT(metrics_.Text(), HasSubstr(R"(umbra_repository_free_bytes{repository="main"} 0)"));
  steps_.Advance(kSlowFiguresKeptFor);
  EXPECT_THAT(metrics_.Text(), HasSubstr(R"(umbra_repository_free_bytes{repository="main"} 5)"));
}

TEST_F(MetricsTest, PhasesCountAsTheyAreLeft) {
  const catalog::Job job = Running("vm1");
  const auto progress = [&](catalog::JobPhase phase) {
    ASSERT_TRUE(engine_->Apply(job.id, job.attempt, jobs::JobEvent::kProgress, {.phase = phase}).ok());
  };
  progress(catalog::JobPhase::kTransferring);
  progress(catalog::JobPhase::kTransferring);
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr("umbra_job_phase_seconds_count")));
  progress(catalog::JobPhase::kCompleting);
  EXPECT_THAT(metrics_.Text(), HasSubstr(R"(umbra_job_phase_seconds_count{kind="backup",phase="transferring"} 1)"));
  EXPECT_THAT(metrics_.Text(), Not(HasSubstr(R"(phase="completing",)")));
  ASSERT_TRUE(engine_->Apply(job.id, job.attempt, jobs::JobEvent::kAgentFailed, {.error = {"X", "x"}}).ok());
  EXPECT_THAT(metrics_.Text(), HasSubstr(R"(umbra_job_phase_seconds_count{kind="backup",phase="completing"} 1)"));
  EXPECT_THAT(metrics_.Text(), HasSubstr(R"(umbra_job_phase_seconds_count{kind="backup",phase="transferring"} 1)"));
}

TEST_F(MetricsTest, TransactionsAreCountedByHowTheyEnded) {
  const auto count = [&](const std::string& labels) {
    const std::string text = metrics_.Text();
    const std::string name = "\numbra_catalog_transactions_total{" + labels + "} ";
    const size_t at = text.find(name);
    return at == std::string::npos ? -1 : std::stoll(text.substr(at + name.size()));
  };
  const std::string done = R"(kind="write",outcome="done")", refused = R"(kind="write",outcome="refused")";
  const int64_t done_before = count(done);
  ASSERT_EQ(count(refused), 0);
  ASSERT_TRUE(catalog_->Write([](catalog::Stores&) { return absl::OkStatus(); }).ok());
  ASSERT_TRUE(absl::IsNotFound(catalog_->Write([](catalog::Stores& s) { return s.hosts.Revoke(kHost); })));
  for (const char* reason : {"CATALOG_BUSY", "STORAGE_FULL"}) {
    (void)catalog_->Write(
        [&](catalog::Stores&) { return base::MakeError(absl::StatusCode::kUnavailable, reason, "as a test wants"); });
  }
  EXPECT_EQ(count(done), done_before + 1);
  EXPECT_EQ(count(refused), 1);
  EXPECT_EQ(count(R"(kind="write",outcome="busy")"), 1);
  EXPECT_EQ(count(R"(kind="write",outcome="failed")"), 1);
  EXPECT_THAT(metrics_.Text(),
              ::testing::ContainsRegex("umbra_catalog_transaction_seconds_count.kind=\"read\". [1-9]"));
  EXPECT_THAT(metrics_.Text(), ::testing::ContainsRegex("umbra_catalog_wait_seconds_count.kind=\"write\". [1-9]"));
}

TEST_F(MetricsTest, CoverageIsAsThePoliciesPromise) {
  const auto vm = [](const std::string& uuid) {
    return catalog::Vm{.key = {kHost, uuid}, .display_name = uuid, .disks = {{"vda", "/x", "qcow2", 1, 1}}};
  };
  catalog::Policy policy{.id = catalog::PolicyId("nightly"), .repository = catalog::RepositoryId("main")};
  policy.selection.expression = "name=web*";
  policy.rpo = absl::Hours(24);
  ASSERT_TRUE(catalog_
                  ->Write([&](catalog::Stores& s) -> absl::Status {
                    RETURN_IF_ERROR(s.hosts.Insert({.id = kHost, .display_name = "h1"}));
                    RETURN_IF_ERROR(s.vms.ReplaceInventory(kHost, {vm("web1"), vm("web2"), vm("web3"), vm("db")}, {}));
                    RETURN_IF_ERROR(s.policies.Insert(policy));
                    for (const auto& [id, age] : {std::pair("web1", 2), {"web2", 30}, {"db", 90}}) {
                      const absl::Time time = steps_.Now() - absl::Hours(age);
                      RETURN_IF_ERROR(s.recovery_points
                                          .Insert({.id = catalog::RecoveryPointId(id),
                                                   .vm = {kHost, id},
                                                   .repository = policy.repository,
                                                   .point_time = time})
                                          .status());
                    }
                    return absl::OkStatus();
                  })
                  .ok());
  const std::string text = metrics_.Text();
  EXPECT_THAT(text, HasSubstr("\numbra_virtual_machines_unprotected 1\n"));
  EXPECT_THAT(text, HasSubstr("\numbra_virtual_machines_beyond_promised_age 2\n"));
  EXPECT_THAT(text, HasSubstr("\numbra_policy_virtual_machines{policy=\"nightly\"} 3\n"));
  EXPECT_THAT(text, HasSubstr("\numbra_policy_virtual_machines_without_good_point{policy=\"nightly\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("\numbra_policy_oldest_good_point_seconds{policy=\"nightly\"} 108000\n"));
  EXPECT_THAT(text, HasSubstr("\numbra_metrics_failures 0\n"));
}

}  // namespace
}  // namespace umbra::metrics
