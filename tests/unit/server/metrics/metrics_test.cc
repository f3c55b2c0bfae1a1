// Proves that figures of jobs, agents, repositories and catalog are those of the sources, and that Prometheus gets them
// over HTTP.
#include "server/metrics/metrics.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

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

// What a client gets for `request`.
std::string Ask(const std::string& address, const std::string& request) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in to = {.sin_family = AF_INET,
                    .sin_port = htons(static_cast<uint16_t>(std::stoi(address.substr(address.rfind(':') + 1))))};
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  std::string answer;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof(to)) == 0 &&
      send(fd, request.data(), request.size(), 0) == static_cast<ssize_t>(request.size())) {
    char part[4096];
    for (ssize_t got; (got = recv(fd, part, sizeof(part), 0)) > 0;) answer.append(part, static_cast<size_t>(got));
  }
  close(fd);
  return answer;
}

class MetricsTest : public maintenance::MaintenanceTest {
 protected:
  MetricsTest() {
    engine_->SetEndListener([this](const catalog::Job& job) { metrics_.JobEnded(job); });
  }

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

TEST_F(MetricsTest, AreServedOverHttp) {
  ASSERT_TRUE(metrics_.Listen("127.0.0.1:0").ok());
  const std::string answer = Ask(metrics_.address(), "GET /metrics HTTP/1.0\r\n\r\n");
  EXPECT_THAT(answer, HasSubstr("200 OK"));
  EXPECT_THAT(answer, HasSubstr("\numbra_agents_online 0"));
  EXPECT_THAT(answer, HasSubstr("\nprocess_cpu_seconds_total "));
  EXPECT_THAT(Ask(metrics_.address(), "GET /etc/passwd HTTP/1.0\r\n\r\n"), HasSubstr(" 404 "));
  Metrics other({*catalog_, dir_.File("catalog.db"), *engine_, agents_, *repositories_, files_, steps_});
  const absl::Status taken = other.Listen(metrics_.address());
  EXPECT_EQ(base::ReasonOf(taken), "LISTEN_FAILED") << taken;
  EXPECT_EQ(other.address(), "");
}

}  // namespace
}  // namespace umbra::metrics
