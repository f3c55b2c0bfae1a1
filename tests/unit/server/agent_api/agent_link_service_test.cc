// Proves the control link over real TLS: identity, the whole life of a job, cuts and reconnects, slow readers, malformed words.
#include "server/api/agent/agent_link_service.h"

#include <grpcpp/generic/generic_stub.h>
#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "tests/unit/server/agent_api/agent_port.h"

namespace umbra::api {
namespace {

using agent::v1::AgentMessage;
using agent::v1::AssignmentResult;
using agent::v1::DaemonMessage;
using catalog::JobState;

TEST(AgentLinkServiceTest, FromHelloToTheAcknowledgedResult) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  Link link(daemon.Connect(host));
  link.SayHello();
  EXPECT_EQ(link.Await(DaemonMessage::kWelcome).welcome().host_id(), host.host_id);

  AgentMessage message;
  message.mutable_inventory()->add_virtual_machines()->set_name(VmUuid(1));
  link.Say(message);
  const catalog::JobId job = daemon.SubmitBackup(host, {1});
  const dispatch::AssignmentKey key = link.AcceptAssignment();
  EXPECT_TRUE(daemon.Reaches(job, JobState::kRunning));
  message.Clear();
  message.mutable_progress()->mutable_id()->set_job_id(key.job.value);
  message.mutable_progress()->mutable_id()->set_attempt(key.attempt);
  message.mutable_progress()->set_phase(umbra::v1::Job::PHASE_FREEZING);
  link.Say(message);
  EXPECT_TRUE(Eventually([&] { return daemon.Get(job).phase == catalog::JobPhase::kFreezing; }));
  link.SayResult(key, AssignmentResult::OUTCOME_FAILED, "GUEST_FREEZE_FAILED");
  EXPECT_EQ(link.Await(DaemonMessage::kResultAcknowledged).result_acknowledged().id().job_id(), job.value);
  EXPECT_EQ(daemon.Get(job).error.reason, "GUEST_FREEZE_FAILED");

  link.SayNothingMore();
  EXPECT_TRUE(link.End().ok());
  EXPECT_TRUE(Eventually([&] { return !daemon.registry.IsOnline(catalog::HostId(host.host_id)); }));
}

TEST(AgentLinkServiceTest, AResultBeforeTheLastWordIsStillAcknowledged) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  Link link(daemon.Connect(host));
  link.SayHello();
  link.SayResult({catalog::JobId("long-gone"), 1}, AssignmentResult::OUTCOME_SUCCEEDED);
  link.SayNothingMore();
  link.Await(DaemonMessage::kResultAcknowledged);
  EXPECT_TRUE(link.End().ok());
}

TEST(AgentLinkServiceTest, ARevokedHostAndAStrangerAreRefused) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  ASSERT_TRUE(daemon.catalog
                  ->Write([&](catalog::Stores& stores) { return stores.hosts.Revoke(catalog::HostId(host.host_id)); })
                  .ok());
  Link revoked(daemon.Connect(host));
  const grpc::Status status = revoked.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAUTHENTICATED);
  EXPECT_EQ(ReasonOf(status), "UNAUTHENTICATED");

  Link stranger(daemon.Connect(Identity{}));  // no certificate: TLS ends it
  EXPECT_EQ(stranger.End().error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST(AgentLinkServiceTest, ASecondStreamTakesOver) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  Link first(daemon.Connect(host));
  first.SayHello();
  first.Await(DaemonMessage::kWelcome);
  Link second(daemon.Connect(host));
  second.SayHello();
  second.Await(DaemonMessage::kWelcome);
  const grpc::Status status = first.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(ReasonOf(status), "LINK_CLOSED");
  EXPECT_TRUE(daemon.registry.IsOnline(catalog::HostId(host.host_id)));
}

TEST(AgentLinkServiceTest, ACutLinkCanBeResumed) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  auto link = std::make_unique<Link>(daemon.Connect(host));
  link->SayHello();
  const catalog::JobId job = daemon.SubmitBackup(host, {1});
  const dispatch::AssignmentKey key = link->AcceptAssignment();
  ASSERT_TRUE(daemon.Reaches(job, JobState::kRunning));
  link->Cut();
  ASSERT_TRUE(Eventually([&] { return !daemon.registry.IsOnline(catalog::HostId(host.host_id)); }));
  link = std::make_unique<Link>(daemon.Connect(host));
  link->SayHello({key});
  link->Await(DaemonMessage::kWelcome);
  daemon.clock.Advance(absl::Seconds(20));
  link->SayResult(key, AssignmentResult::OUTCOME_FAILED, "GUEST_STOPPED");
  link->Await(DaemonMessage::kResultAcknowledged);
  EXPECT_EQ(daemon.Get(job).error.reason, "GUEST_STOPPED");
}

// gRPC drops what isn't written yet when a stream is finished; we must not finish before.
TEST(AgentLinkServiceTest, ASlowReaderGetsEverythingBeforeTheEnd) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  grpc::ChannelArguments tight;
  tight.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16);
  tight.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  Link link(daemon.Connect(host, tight), /*read=*/false);
  link.SayHello();
  const catalog::HostId id(host.host_id);
  ASSERT_TRUE(Eventually([&] { return daemon.registry.IsOnline(id); }));
  constexpr size_t kCount = 200;
  for (size_t i = 0; i < kCount; ++i) ASSERT_TRUE(daemon.registry.RefreshInventory(id));
  daemon.registry.Disconnect(id, base::Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED", "go away"));
  absl::SleepFor(absl::Milliseconds(50));
  link.StartReading();
  EXPECT_EQ(ReasonOf(link.End()), "PERMISSION_DENIED");
  EXPECT_EQ(link.received(), kCount + 1);  // and the Welcome
}

TEST(AgentLinkServiceTest, AnAgentThatDoesNotReadIsCutOff) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  grpc::ChannelArguments tight;
  tight.SetInt(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, 16);
  tight.SetInt(GRPC_ARG_HTTP2_BDP_PROBE, 0);
  Link link(daemon.Connect(host, tight), /*read=*/false);
  link.SayHello();
  const catalog::HostId id(host.host_id);
  ASSERT_TRUE(Eventually([&] { return daemon.registry.IsOnline(id); }));
  // What fits into buffers on the way is not in our queue, so it takes a while.
  for (int i = 0; i < 100'000 && daemon.registry.RefreshInventory(id); ++i) {
  }
  link.StartReading();
  const grpc::Status status = link.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(status), "LINK_CLOSED");
}

// Sends raw bytes as one message of a stream and returns the stream's end.
grpc::Status SendRaw(const std::shared_ptr<grpc::Channel>& channel, const std::string& method, const std::string& bytes) {
  grpc::GenericStub stub(channel);
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  const auto wait = [&queue] {
    void* tag = nullptr;
    bool ok = false;
    queue.Next(&tag, &ok);
    return ok;
  };
  const auto call = stub.PrepareCall(&context, method, &queue);
  call->StartCall(nullptr);
  wait();
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer buffer(&slice, 1);
  call->Write(buffer, nullptr);
  if (wait()) {
    call->WritesDone(nullptr);
    wait();
  }
  grpc::ByteBuffer answer;
  call->Read(&answer, nullptr);
  wait();
  grpc::Status status;
  call->Finish(&status, nullptr);
  wait();
  return status;
}

TEST(AgentLinkServiceTest, MalformedAndOversizedMessagesGetAnAnswerThatSaysSo) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  const auto channel = daemon.Connect(host);
  for (const char* method : {"/umbra.agent.v1.AgentLinkService/Connect", "/umbra.store.v1.StoreService/Upload",
                             "/umbra.store.v1.StoreService/PutDiskMap", "/umbra.store.v1.StoreService/ReadDisk"}) {
    const grpc::Status malformed = SendRaw(channel, method, "\x0a\xff\xff\xff\xff");
    EXPECT_EQ(malformed.error_code(), grpc::StatusCode::INVALID_ARGUMENT) << method;
    EXPECT_EQ(ReasonOf(malformed), "INVALID_REQUEST") << method;
    const grpc::Status oversized = SendRaw(channel, method, std::string(5 << 20, 'x'));
    EXPECT_EQ(oversized.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << method;
  }
  Link link(channel);
  link.SayHello();
  link.Await(DaemonMessage::kWelcome);
}

TEST(AgentLinkServiceTest, LinksThatComeAndGoLeaveOneThatWorks) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  const auto channel = daemon.Connect(host);
  for (int i = 0; i < 40; ++i) {
    Link link(channel);
    if (i % 2 == 0) link.SayHello();
    if (i % 4 == 0) link.Await(DaemonMessage::kWelcome);
    if (i % 3 == 0) link.SayNothingMore();
  }  // cut
  Link link(channel);
  link.SayHello();
  link.Await(DaemonMessage::kWelcome);
  daemon.SubmitBackup(host, {1});
  link.AcceptAssignment();
}

TEST(AgentLinkServiceTest, AStoppingDaemonSaysSo) {
  Daemon daemon;
  const Identity host = daemon.Enrol("h1");
  Link link(daemon.Connect(host));
  link.SayHello();
  link.Await(DaemonMessage::kWelcome);
  daemon.Stop();
  const grpc::Status status = link.End();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(ReasonOf(status), "SERVER_STOPPING");
}

}  // namespace
}  // namespace umbra::api
