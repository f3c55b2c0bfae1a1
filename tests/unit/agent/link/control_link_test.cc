// Proves that the control link greets, carries messages both ways, comes back after a cut, says results again, gives
// its lease up in time, and stops whatever state it is in.
#include "agent/link/control_link.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/support/manual_clock.h"
#include "tests/unit/agent/link/fake_daemon.h"
#include "umbra/agent/v1/agent_link.grpc.pb.h"

namespace umbra::link {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(20);

// Keeps what it hears; speaks when told to.
class Service final : public agent::v1::AgentLinkService::Service {
 public:
  grpc::Status Connect(grpc::ServerContext* context,
                       grpc::ServerReaderWriter<agent::v1::DaemonMessage, agent::v1::AgentMessage>* stream) override {
    {
      absl::MutexLock lock(&mu_);
      ++streams_;
      shown_.push_back(FingerprintOf(*context));
      stream_ = stream;
      context_ = context;
    }
    agent::v1::AgentMessage message;
    while (stream->Read(&message)) {
      bool welcome;
      {
        absl::MutexLock lock(&mu_);
        heard_.push_back(message);
        if (ending_) break;
        welcome = message.has_hello() && !silent_;
      }
      if (welcome) Say(Welcome());
    }
    absl::MutexLock lock(&mu_);
    stream_ = nullptr;
    return end_;
  }

  agent::v1::DaemonMessage Welcome() {
    agent::v1::DaemonMessage message;
    message.mutable_welcome()->set_host_id("host1");
    message.mutable_welcome()->mutable_heartbeat_interval()->set_nanos(50'000'000);
    message.mutable_welcome()->mutable_lease_duration()->set_nanos(300'000'000);
    return message;
  }
  void Say(const agent::v1::DaemonMessage& message) {
    absl::MutexLock lock(&mu_);
    if (stream_ != nullptr) stream_->Write(message);
  }
  void Cut() {
    absl::MutexLock lock(&mu_);
    if (stream_ != nullptr) context_->TryCancel();
  }
  void SetSilent() {
    absl::MutexLock lock(&mu_);
    silent_ = true;
  }
  // Of the certificates that the streams showed.
  std::vector<std::string> shown() {
    absl::MutexLock lock(&mu_);
    return shown_;
  }
  // Every stream ends so after its next message.
  void EndWith(const grpc::Status& status) {
    absl::MutexLock lock(&mu_);
    ending_ = true;
    end_ = status;
  }
  int streams() {
    absl::MutexLock lock(&mu_);
    return streams_;
  }

  // Waits until `count` messages of this kind were heard; gives the last of them.
  agent::v1::AgentMessage Await(agent::v1::AgentMessage::MessageCase kind, int count = 1) {
    absl::MutexLock lock(&mu_);
    agent::v1::AgentMessage last;
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      int seen = 0;
      for (const auto& message : heard_) {
        if (message.message_case() == kind && ++seen == count) {
          last = message;
          return true;
        }
      }
      return false;
    };
    EXPECT_TRUE(mu_.AwaitWithTimeout(absl::Condition(&enough), kPatience)) << "message " << kind << " not heard";
    return last;
  }

 private:
  absl::Mutex mu_;
  int streams_ ABSL_GUARDED_BY(mu_) = 0;
  bool silent_ ABSL_GUARDED_BY(mu_) = false;
  grpc::ServerReaderWriter<agent::v1::DaemonMessage, agent::v1::AgentMessage>* stream_ ABSL_GUARDED_BY(mu_) = nullptr;
  grpc::ServerContext* context_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::vector<agent::v1::AgentMessage> heard_ ABSL_GUARDED_BY(mu_);
  bool ending_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::string> shown_ ABSL_GUARDED_BY(mu_);
  grpc::Status end_ ABSL_GUARDED_BY(mu_){grpc::StatusCode::UNAVAILABLE, "cut"};
};

class Handler final : public LinkHandler {
 public:
  std::vector<agent::v1::AssignmentId> Running() override {
    agent::v1::AssignmentId id;
    id.set_job_id("running");
    return {id};
  }
  void OnConnected(const agent::v1::Welcome&) override { Note("connected"); }
  void OnAssignment(const agent::v1::Assignment& a) override { Note("assignment " + a.id().job_id()); }
  void OnCancel(const agent::v1::AssignmentId& id) override { Note("cancel " + id.job_id()); }
  void OnRefreshInventory() override { Note("refresh"); }
  void OnLeaseExpired() override { Note("lease"); }

  bool Await(const std::string& event, int count = 1) {
    absl::MutexLock lock(&mu_);
    const auto enough = [&]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
      return std::count(events_.begin(), events_.end(), event) >= count;
    };
    return mu_.AwaitWithTimeout(absl::Condition(&enough), kPatience);
  }
  long Count(const std::string& event) {
    absl::MutexLock lock(&mu_);
    return std::count(events_.begin(), events_.end(), event);
  }

 private:
  void Note(const std::string& event) {
    absl::MutexLock lock(&mu_);
    events_.push_back(event);
  }
  absl::Mutex mu_;
  std::vector<std::string> events_ ABSL_GUARDED_BY(mu_);
};

class ControlLinkTest : public ::testing::Test {
 protected:
  void SetUp() override { daemon_.Start({&service_}, /*demand_certificate=*/true); }
  void TearDown() override {
    link_.reset();
    daemon_.Stop();
  }

  void StartLink(absl::Duration connect_timeout = absl::Seconds(5), base::Clock* clock = nullptr) {
    ControlLinkOptions options{.backoff = {absl::Milliseconds(20), absl::Milliseconds(100)},
                               .connect_timeout = connect_timeout};
    options.hello.set_host_name("kvm01");
    options.hello.set_process_id("p1");
    identities_ = daemon_.MakeKeeper(clock);
    link_ = std::make_unique<ControlLink>(*identities_, options, outbox_, handler_,
                                          clock == nullptr ? daemon_.clock() : *clock, daemon_.random());
    link_->Start();
  }

  static agent::v1::AssignmentResult ResultOf(const std::string& job) {
    agent::v1::AssignmentResult result;
    result.mutable_id()->set_job_id(job);
    return result;
  }

  FakeDaemon daemon_;
  Service service_;
  Handler handler_;
  testing::ManualClock clock_;  // of the link, where a test says so
  Outbox outbox_{daemon_.clock()};
  std::unique_ptr<IdentityKeeper> identities_;
  std::unique_ptr<ControlLink> link_;
};

TEST_F(ControlLinkTest, GreetsAndBeats) {
  StartLink();
  const auto hello = service_.Await(agent::v1::AgentMessage::kHello).hello();
  EXPECT_EQ(hello.host_name(), "kvm01");
  ASSERT_EQ(hello.running_size(), 1);
  EXPECT_EQ(hello.running(0).job_id(), "running");
  EXPECT_TRUE(handler_.Await("connected"));
  service_.Await(agent::v1::AgentMessage::kHeartbeat, 3);
}

TEST_F(ControlLinkTest, CarriesTheDaemonsWords) {
  StartLink();
  ASSERT_TRUE(handler_.Await("connected"));
  agent::v1::DaemonMessage message;
  message.mutable_assignment()->mutable_id()->set_job_id("j1");
  service_.Say(message);
  message.mutable_cancel()->mutable_id()->set_job_id("j1");
  service_.Say(message);
  message.mutable_refresh_inventory();
  service_.Say(message);
  EXPECT_TRUE(handler_.Await("assignment j1"));
  EXPECT_TRUE(handler_.Await("cancel j1"));
  EXPECT_TRUE(handler_.Await("refresh"));
}

TEST_F(ControlLinkTest, ResultIsSaidAgainAfterACutUntilAcknowledged) {
  StartLink();
  ASSERT_TRUE(handler_.Await("connected"));
  outbox_.Result(ResultOf("j1"));
  service_.Await(agent::v1::AgentMessage::kResult, 1);
  service_.Cut();
  ASSERT_TRUE(handler_.Await("connected", 2));
  const auto hello = service_.Await(agent::v1::AgentMessage::kHello, 2).hello();
  EXPECT_EQ(hello.running_size(), 2) << "what ended while nobody knew belongs in Hello";
  service_.Await(agent::v1::AgentMessage::kResult, 2);
  agent::v1::DaemonMessage acknowledged;
  acknowledged.mutable_result_acknowledged()->mutable_id()->set_job_id("j1");
  service_.Say(acknowledged);
  EXPECT_TRUE(outbox_.AwaitAcknowledged(kPatience));
}

TEST_F(ControlLinkTest, ComesBackWhenTheDaemonRestarts) {
  StartLink();
  ASSERT_TRUE(handler_.Await("connected"));
  const int port = daemon_.port();
  daemon_.Stop();
  outbox_.Result(ResultOf("j1"));
  daemon_.Start({&service_}, true, port);
  EXPECT_TRUE(handler_.Await("connected", 2));
  service_.Await(agent::v1::AgentMessage::kResult);
}

TEST_F(ControlLinkTest, LeaseIsGivenUpOncePerCut) {
  StartLink();
  ASSERT_TRUE(handler_.Await("connected"));
  EXPECT_EQ(handler_.Count("lease"), 0);
  daemon_.Stop();
  ASSERT_TRUE(handler_.Await("lease"));
  daemon_.clock().Sleep(absl::Milliseconds(700));  // twice the lease
  EXPECT_EQ(handler_.Count("lease"), 1);
}

TEST_F(ControlLinkTest, DaemonThatSaysNoWelcomeIsGivenUpOn) {
  service_.SetSilent();
  StartLink(absl::Milliseconds(300));
  service_.Await(agent::v1::AgentMessage::kHello, 2);
  EXPECT_EQ(handler_.Count("connected"), 0);
}

TEST_F(ControlLinkTest, ForeignDaemonIsNotTrusted) {
  FakeDaemon other;
  Service service;
  other.Start({&service}, true);
  ControlLinkOptions options{.address = other.address(), .connect_timeout = absl::Milliseconds(500)};
  identities_ = daemon_.MakeKeeper();
  link_ = std::make_unique<ControlLink>(*identities_, options, outbox_, handler_, daemon_.clock(), daemon_.random());
  link_->Start();
  daemon_.clock().Sleep(absl::Milliseconds(800));
  EXPECT_EQ(service.streams(), 0);
  link_.reset();
}

// Late by its own clock: it asks at once. The stream stays; the next one shows the new certificate.
TEST_F(ControlLinkTest, ANewCertificateComesOverTheLinkAndTheNextStreamShowsIt) {
  clock_.Advance(absl::Hours(24 * 300));
  StartLink(absl::Hours(1), &clock_);
  ASSERT_TRUE(handler_.Await("connected"));
  clock_.Advance(absl::Minutes(2));
  const auto request = service_.Await(agent::v1::AgentMessage::kCertificateRequest).certificate_request();
  agent::v1::DaemonMessage answer;
  answer.mutable_certificate()->set_certificate_pem(
      *daemon_.authority().SignAgentCertificate(request.certificate_request_pem(), "host1", 3 * tls::kAgentLifetime));
  service_.Say(answer);
  const absl::Duration start = daemon_.clock().Monotonic();
  while (identities_->generation() == 0 && daemon_.clock().Monotonic() - start < kPatience) {
    daemon_.clock().Sleep(absl::Milliseconds(5));
  }
  ASSERT_EQ(identities_->generation(), 1);
  EXPECT_EQ(service_.streams(), 1);
  const std::string renewed = *tls::Fingerprint(identities_->Current().identity.certificate_pem);
  service_.Cut();
  while (service_.streams() < 2 && daemon_.clock().Monotonic() - start < kPatience) {
    clock_.Advance(absl::Milliseconds(100));
    daemon_.clock().Sleep(absl::Milliseconds(5));
  }
  ASSERT_EQ(service_.shown().size(), 2u);
  EXPECT_NE(service_.shown()[0], renewed);
  EXPECT_EQ(service_.shown()[1], renewed);

  // A daemon that knows only the one before.
  service_.EndWith({grpc::StatusCode::UNAUTHENTICATED, "who is this?"});
  while (service_.streams() < 3 && daemon_.clock().Monotonic() - start < kPatience) {
    clock_.Advance(absl::Milliseconds(100));
    daemon_.clock().Sleep(absl::Milliseconds(5));
  }
  ASSERT_GE(service_.shown().size(), 3u);
  EXPECT_EQ(service_.shown()[2], service_.shown()[0]);
}

TEST_F(ControlLinkTest, ARefusalInPlaceOfAWelcomeIsHeard) {
  service_.SetSilent();
  service_.EndWith({grpc::StatusCode::UNAUTHENTICATED, "who is this?"});
  StartLink();
  service_.Await(agent::v1::AgentMessage::kHello, 6);
  const std::vector<std::string> shown = service_.shown();
  for (size_t i = 0; i + 1 < shown.size(); ++i) EXPECT_NE(shown[i], shown[i + 1]) << "the other certificate each time";
  EXPECT_EQ(handler_.Count("connected"), 0);
}

TEST_F(ControlLinkTest, StopsWhileNobodyAnswers) {
  daemon_.Stop();
  StartLink();
  const absl::Duration start = daemon_.clock().Monotonic();
  link_->Stop();
  EXPECT_LT(daemon_.clock().Monotonic() - start, absl::Seconds(3));
}

}  // namespace
}  // namespace umbra::link
