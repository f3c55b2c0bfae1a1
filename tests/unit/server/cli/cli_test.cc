// Proves the command line's texts and exit codes: what a script or a person relies on, against a real gRPC service on a
// unix socket where a connection is needed.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <grpcpp/server_builder.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>

#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "server/cli/context.h"
#include "server/cli/labels.h"
#include "server/cli/resolve.h"
#include "server/cli/watch.h"

namespace umbra::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::Job RunningJob() {
  v1::Job job;
  job.set_name("jobs/0123456789abcdef");
  job.mutable_backup()->add_virtual_machines("hosts/h/virtualMachines/v");
  job.set_state(v1::Job::STATE_RUNNING);
  job.set_phase(v1::Job::PHASE_TRANSFERRING);
  job.mutable_progress()->set_done_bytes(512 << 20);
  job.mutable_progress()->set_total_bytes(2048LL << 20);
  job.mutable_progress()->set_rate_bytes_per_second(256 << 20);
  job.mutable_progress()->mutable_eta()->set_seconds(6);
  return job;
}

TEST(Texts, EnumsReadLikeWords) {
  EXPECT_EQ(EnumText("PHASE_TRANSFERRING", "PHASE_"), "transferring");
  EXPECT_EQ(EnumText("BACKUP_MECHANISM_CHILD_SNAPSHOT", "BACKUP_MECHANISM_"), "child-snapshot");
  EXPECT_EQ(EnumText("STATE_UNSPECIFIED", "STATE_"), "-");
}

TEST(Texts, DurationsHaveFittingUnits) {
  google::protobuf::Duration d;
  d.set_nanos(134000000);
  EXPECT_EQ(DurationText(d), "134 ms");
  d.set_seconds(75);
  EXPECT_EQ(DurationText(d), "1 min 15 s");
  d.set_seconds(2 * 3600 + 60);
  EXPECT_EQ(DurationText(d), "2 h 1 min");
}

TEST(Texts, PhasesHaveTheirTimes) {
  v1::JobPhase phase;
  phase.set_phase(v1::Job::PHASE_FREEZING);
  phase.mutable_start_time()->set_seconds(1'800'000'000);
  phase.mutable_start_time()->set_nanos(900'000'000);
  EXPECT_THAT(PhaseText(phase), HasSubstr("freezing, goes on from "));
  phase.mutable_end_time()->set_seconds(1'800'000'001);
  phase.mutable_end_time()->set_nanos(100'000'000);
  EXPECT_THAT(PhaseText(phase), HasSubstr("freezing, 200 ms from "));
  phase.mutable_end_time()->set_seconds(1'799'999'999);
  EXPECT_THAT(PhaseText(phase), HasSubstr("freezing, 0 ms from ")) << "a clock was set";
}

TEST(Labels, AreSetWithAValueAndRemovedWithADash) {
  const LabelChanges changes = ParseLabelChanges({"env=prod", "note=a=b", "empty=", "team-"});
  EXPECT_EQ(changes.set.at("env"), "prod");
  EXPECT_EQ(changes.set.at("note"), "a=b");
  EXPECT_EQ(changes.set.at("empty"), "");
  EXPECT_EQ(changes.remove, std::vector<std::string>{"team"});
  EXPECT_EQ(LabelsText(changes.set), "empty= env=prod note=a=b");
  EXPECT_EQ(LabelsText({}), "-");
  for (const char* text : {"env", "=prod", "-", ""}) EXPECT_THROW(ParseLabelChanges({text}), ExitError) << text;
}

TEST(Progress, ALineTellsStateShareRateAndEta) {
  const std::string line = ProgressLine(RunningJob(), 0);
  EXPECT_THAT(line, HasSubstr("backup 01234567 running/transferring"));
  EXPECT_THAT(line, HasSubstr("25%"));
  EXPECT_THAT(line, HasSubstr("256.0 MiB/s"));
  EXPECT_THAT(line, HasSubstr("ETA 6.0 s"));
  EXPECT_THAT(line, Not(HasSubstr("#")));
}

TEST(Progress, ABarFitsTheTerminal) {
  for (const int width : {20, 60, 100, 160}) {
    EXPECT_LT(ProgressLine(RunningJob(), width).size(), static_cast<size_t>(width)) << width;
  }
  EXPECT_THAT(ProgressLine(RunningJob(), 160), HasSubstr("[##########------------------------------]"));
}

TEST(ExitCodes, TellHowAJobEnded) {
  v1::Job job = RunningJob();
  job.set_state(v1::Job::STATE_SUCCEEDED);
  EXPECT_EQ(ExitCodeOf(job), 0);
  job.set_state(v1::Job::STATE_FAILED);
  EXPECT_EQ(ExitCodeOf(job), 1);
  job.set_state(v1::Job::STATE_CANCELLED);
  EXPECT_EQ(ExitCodeOf(job), 6);
  job.add_damage();
  EXPECT_EQ(ExitCodeOf(job), 7);
}

TEST(ExitCodes, AReasonTravelsFromTheDaemon) {
  google::rpc::ErrorInfo info;
  info.set_reason("VM_NOT_FOUND");
  google::rpc::Status details;
  details.add_details()->PackFrom(info);
  const ExitError error =
      ToExitError(grpc::Status(grpc::StatusCode::NOT_FOUND, "no such VM", details.SerializeAsString()));
  EXPECT_EQ(error.code, kExitNotFound);
  EXPECT_EQ(error.reason, "VM_NOT_FOUND");
  EXPECT_EQ(error.retry_after_s, 0);
}

TEST(ExitCodes, TheWaitTravelsFromTheDaemon) {
  google::rpc::RetryInfo wait;
  wait.mutable_retry_delay()->set_seconds(7);
  google::rpc::Status details;
  details.add_details()->PackFrom(wait);
  const ExitError error =
      ToExitError(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too often", details.SerializeAsString()));
  EXPECT_EQ(error.code, kExitFailed);
  EXPECT_EQ(error.retry_after_s, 7);
}

// Three virtual machines, two of one name, over two pages.
class FakeVms final : public v1::VirtualMachineService::Service {
 public:
  grpc::Status ListVirtualMachines(grpc::ServerContext*, const v1::ListVirtualMachinesRequest* request,
                                   v1::ListVirtualMachinesResponse* response) override {
    if (request->page_token().empty()) {
      Add(response, "aaaa1111", "mail");
      Add(response, "aaaa2222", "db");
      response->set_next_page_token("2");
    } else {
      Add(response, "bbbb3333", "db");
    }
    return grpc::Status::OK;
  }

 private:
  static void Add(v1::ListVirtualMachinesResponse* response, const std::string& uuid, const std::string& name) {
    auto* vm = response->add_virtual_machines();
    vm->set_name("hosts/h/virtualMachines/" + uuid);
    vm->set_uuid(uuid);
    vm->set_display_name(name);
  }
};

class Resolving : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/umbra-cli-XXXXXX";
    ASSERT_NE(mkdtemp(name), nullptr);
    folder_ = name;
    grpc::ServerBuilder builder;
    builder.AddListeningPort("unix:" + folder_ + "/s", grpc::InsecureServerCredentials());
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    client_ = std::make_unique<Client>(folder_ + "/s");
  }
  void TearDown() override {
    server_->Shutdown();
    std::filesystem::remove_all(folder_);
  }
  int CodeFor(const std::string& text) {
    try {
      ResolveVm(*client_, text);
    } catch (const ExitError& error) {
      return error.code;
    }
    return 0;
  }

  std::string folder_;
  FakeVms service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Client> client_;
};

TEST_F(Resolving, FindsByNameUuidAndBeginning) {
  EXPECT_EQ(ResolveVm(*client_, "mail").uuid(), "aaaa1111");
  EXPECT_EQ(ResolveVm(*client_, "bbbb").uuid(), "bbbb3333");
  EXPECT_EQ(ResolveVm(*client_, "aaaa2222").uuid(), "aaaa2222");
  EXPECT_EQ(ResolveVm(*client_, "hosts/h/virtualMachines/aaaa1111").display_name(), "mail");
}

TEST_F(Resolving, RefusesWhatFitsNothingOrSeveral) {
  EXPECT_EQ(CodeFor("nobody"), kExitNotFound);
  EXPECT_EQ(CodeFor("db"), kExitUsage);
  EXPECT_EQ(CodeFor("aaaa"), kExitUsage);
}

TEST(Unreachable, SaysSoWithItsOwnExitCode) {
  Client client("/nonexistent/socket");
  try {
    ResolveVm(client, "x");
    FAIL();
  } catch (const ExitError& error) {
    EXPECT_EQ(error.code, kExitUnreachable);
    EXPECT_EQ(error.reason, "DAEMON_UNREACHABLE");
  }
}

}  // namespace
}  // namespace umbra::cli
