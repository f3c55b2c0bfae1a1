#include "agent/link/control_link.h"

#include <grpcpp/client_context.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "agent/link/rpc.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "umbra/agent/v1/agent_link.grpc.pb.h"

namespace umbra::link {
namespace {

// How often a wait for the connection looks whether the agent shall stop.
constexpr absl::Duration kStopPoll = absl::Milliseconds(200);
// While the agent is connected, the lease watcher has nothing to wait for but a change; this bounds one wait.
constexpr absl::Duration kIdleWait = absl::Seconds(60);

absl::Duration FromProto(const google::protobuf::Duration& duration, absl::Duration fallback) {
  const absl::Duration value = absl::Seconds(duration.seconds()) + absl::Nanoseconds(duration.nanos());
  return value > absl::ZeroDuration() ? value : fallback;
}

class GrpcStream final : public LinkStream {
 public:
  GrpcStream(const Identity& identity, const std::string& address)
      : channel_(MakeChannel(identity, address)), stub_(agent::v1::AgentLinkService::NewStub(channel_)) {}

  bool WaitForConnection(base::Clock& clock, absl::Duration timeout) override {
    return channel_->WaitForConnected(absl::ToChronoTime(clock.Now() + timeout));
  }
  void Open() override { rpc_ = stub_->Connect(&context_); }
  bool Read(agent::v1::DaemonMessage* message) override { return rpc_->Read(message); }
  bool Write(const agent::v1::AgentMessage& message) override { return rpc_->Write(message); }
  void Cancel() override { context_.TryCancel(); }
  absl::Status Finish() override { return FromRpcStatus(rpc_->Finish()); }

 private:
  const std::shared_ptr<grpc::Channel> channel_;  // gRPC's stubs share their channel
  const std::unique_ptr<agent::v1::AgentLinkService::Stub> stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<agent::v1::AgentMessage, agent::v1::DaemonMessage>> rpc_;
};

ControlLinkOptions WithAddress(ControlLinkOptions options, IdentityKeeper& identities) {
  if (options.address.empty()) options.address = identities.Current().identity.daemon_address;
  return options;
}

}  // namespace

ControlLink::ControlLink(IdentityKeeper& identities, ControlLinkOptions options, Outbox& outbox, LinkHandler& handler,
                         base::Clock& clock, base::Random& random)
    : ControlLink(
          [&identities, address = WithAddress(options, identities).address] {
            return std::make_unique<GrpcStream>(identities.Current().identity, address);
          },
          WithAddress(options, identities), outbox, handler, clock, random, base::SystemThreads(), &identities) {}

ControlLink::ControlLink(LinkStreamFactory open, ControlLinkOptions options, Outbox& outbox, LinkHandler& handler,
                         base::Clock& clock, base::Random& random, base::Threads& threads, IdentityKeeper* identities)
    : open_(std::move(open)),
      options_(std::move(options)),
      outbox_(outbox),
      handler_(handler),
      clock_(clock),
      threads_(threads),
      identities_(identities),
      backoff_(random, options_.backoff),
      heartbeat_interval_(options_.heartbeat_interval),
      lease_duration_(options_.lease_duration) {}

ControlLink::~ControlLink() {
  Stop();
}

void ControlLink::Start() {
  {
    absl::MutexLock lock(&mu_);
    down_since_ = clock_.Monotonic();
  }
  link_thread_ = threads_.Start([this] { Run(); });
  lease_thread_ = threads_.Start([this] { WatchLease(); });
}

void ControlLink::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    if (stream_ != nullptr) stream_->Cancel();
  }
  link_thread_.reset();
  lease_thread_.reset();
}

bool ControlLink::connected() {
  absl::MutexLock lock(&mu_);
  return connected_;
}

bool ControlLink::Stopping() {
  absl::MutexLock lock(&mu_);
  return stopping_;
}

void ControlLink::Run() {
  while (!Stopping()) {
    const absl::Status status = RunStream();
    if (Stopping()) return;
    const absl::Duration wait = backoff_.Next();
    base::Log("link")->warn("link is down, trying again daemon={} wait_ms={} error=\"{}\"", options_.address,
                            absl::ToInt64Milliseconds(wait), base::Describe(status));
    absl::MutexLock lock(&mu_);
    clock_.AwaitFor(mu_, absl::Condition(&stopping_), wait);
  }
}

absl::Status ControlLink::RunStream() {
  // Only this thread changes what is shown, so it is what the stream shows.
  const int64_t shown = identities_ == nullptr ? 0 : identities_->generation();
  const absl::Status status = RunStream(*open_());
  if (identities_ != nullptr && absl::IsUnauthenticated(status)) identities_->OnRefused(shown);
  return status;
}

absl::Status ControlLink::RunStream(LinkStream& stream) {
  const absl::Duration give_up = clock_.Monotonic() + options_.connect_timeout;
  while (!stream.WaitForConnection(clock_, kStopPoll)) {
    if (Stopping()) return absl::OkStatus();
    if (clock_.Monotonic() >= give_up) {
      return base::MakeError(absl::StatusCode::kUnavailable, "PEER_UNREACHABLE", "the daemon doesn't answer");
    }
  }
  {
    absl::MutexLock lock(&mu_);
    if (stopping_) return absl::OkStatus();
    stream_ = &stream;
    stream_over_ = false;
  }
  stream.Open();
  Converse(stream);
  {
    absl::MutexLock lock(&mu_);
    stream_ = nullptr;
  }
  return stream.Finish();
}

void ControlLink::Converse(LinkStream& stream) {
  outbox_.Rewind();
  agent::v1::AgentMessage hello;
  *hello.mutable_hello() = options_.hello;
  for (agent::v1::AssignmentId& id : handler_.Running()) *hello.mutable_hello()->add_running() = std::move(id);
  for (agent::v1::AssignmentId& id : outbox_.Unacknowledged()) *hello.mutable_hello()->add_running() = std::move(id);

  // The writer waits for the Welcome before it writes anything, and cuts a stream that doesn't bring one.
  std::unique_ptr<base::Thread> writer = threads_.Start([this, &stream] { WriteLoop(stream); });
  if (stream.Write(hello)) {
    agent::v1::DaemonMessage message;
    bool welcomed = false;
    while (stream.Read(&message)) {
      if (!welcomed && !message.has_welcome()) {
        stream.Cancel();
        break;
      }
      if (message.has_welcome()) {
        welcomed = true;
        backoff_.Reset();
        SetConnected(message.welcome());
      } else {
        Handle(message);
      }
    }
  }
  SetDisconnected();  // not cancelled: the daemon's reason is still to be had from Finish
  outbox_.Interrupt();
  writer.reset();
}

void ControlLink::WriteLoop(LinkStream& stream) {
  absl::Duration heartbeat;
  {
    absl::MutexLock lock(&mu_);
    const auto begun = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return connected_ || stopping_ || stream_over_; };
    if (!clock_.AwaitFor(mu_, absl::Condition(&begun), options_.connect_timeout) || !connected_) {
      if (!stream_over_) stream.Cancel();  // of a refusal the daemon's reason is still to be had from Finish
      return;
    }
    heartbeat = heartbeat_interval_;
  }
  while (connected()) {
    std::optional<agent::v1::AgentMessage> message = NextMessage(heartbeat);
    if (!connected()) return;
    if (!message) {
      message.emplace();
      message->mutable_heartbeat();
    }
    if (!stream.Write(*message)) {
      stream.Cancel();
      return;
    }
  }
}

std::optional<agent::v1::AgentMessage> ControlLink::NextMessage(absl::Duration timeout) {
  if (identities_ != nullptr) {
    if (std::optional<agent::v1::CertificateRequest> request = identities_->Ask()) {
      agent::v1::AgentMessage message;
      *message.mutable_certificate_request() = *std::move(request);
      return message;
    }
  }
  return outbox_.Next(timeout);
}

void ControlLink::Handle(const agent::v1::DaemonMessage& message) {
  switch (message.message_case()) {
    case agent::v1::DaemonMessage::kAssignment:
      return handler_.OnAssignment(message.assignment());
    case agent::v1::DaemonMessage::kCancel:
      return handler_.OnCancel(message.cancel().id());
    case agent::v1::DaemonMessage::kResultAcknowledged:
      return outbox_.Acknowledge(message.result_acknowledged().id());
    case agent::v1::DaemonMessage::kRefreshInventory:
      return handler_.OnRefreshInventory();
    case agent::v1::DaemonMessage::kCertificate:
      if (identities_ != nullptr) identities_->OnCertificate(message.certificate());
      return;
    default:
      base::Log("link")->warn("message of the daemon not understood case={}", static_cast<int>(message.message_case()));
  }
}

void ControlLink::WatchLease() {
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      const bool counting = !connected_ && !lease_over_;
      const absl::Duration left = down_since_ + lease_duration_ - clock_.Monotonic();
      if (!counting || left > absl::ZeroDuration()) {
        // Woken early when the link comes or goes, also when it came and went again before this thread had its turn:
        // the times above are then others.
        const int64_t seen = changes_;
        const auto changed = [this, seen]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_ || changes_ != seen; };
        clock_.AwaitFor(mu_, absl::Condition(&changed), counting ? left : kIdleWait);
        if (stopping_) return;
        continue;
      }
      if (stopping_) return;
      lease_over_ = true;
    }
    base::Log("link")->warn("link was down for longer than the lease, work is given up");
    handler_.OnLeaseExpired();
  }
}

void ControlLink::SetConnected(const agent::v1::Welcome& welcome) {
  base::Log("link")->info("connected daemon={} daemon_version={} host={}", options_.address, welcome.daemon_version(),
                          welcome.host_id());
  if (!welcome.problem_reason().empty()) {
    base::Log("link")->error("the daemon gives this agent no work reason={} message=\"{}\"", welcome.problem_reason(),
                             welcome.problem());
  }
  if (identities_ != nullptr) identities_->OnConnected();
  {
    absl::MutexLock lock(&mu_);
    heartbeat_interval_ = FromProto(welcome.heartbeat_interval(), options_.heartbeat_interval);
    lease_duration_ = FromProto(welcome.lease_duration(), options_.lease_duration);
    connected_ = true;
    lease_over_ = false;
    ++changes_;
  }
  handler_.OnConnected(welcome);
}

void ControlLink::SetDisconnected() {
  absl::MutexLock lock(&mu_);
  if (connected_) down_since_ = clock_.Monotonic();
  connected_ = false;
  ++changes_;
  stream_over_ = true;
}

}  // namespace umbra::link
