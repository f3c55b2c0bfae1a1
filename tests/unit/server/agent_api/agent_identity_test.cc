// Proves over real TLS who is let in at the agent port and as whom: certificates of other authorities, other times and
// other purposes, stolen and removed ones; and that a host's certificate is renewed over its link while it works.
#include <gtest/gtest.h>

#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"
#include "storage/tls/x509.h"
#include "tests/unit/server/agent_api/agent_port.h"

namespace umbra::api {
namespace {

using agent::v1::AgentMessage;
using agent::v1::AssignmentResult;
using agent::v1::DaemonMessage;
using catalog::HostId;
using catalog::JobState;
using grpc::StatusCode;

// The machine's time, moved.
class OtherTime final : public base::Clock {
 public:
  explicit OtherTime(absl::Duration by) : by_(by) {}
  absl::Time Now() override { return clock_.Now() + by_; }
  absl::Duration Monotonic() override { return clock_.Monotonic(); }
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override {
    return clock_.AwaitFor(mu, condition, timeout);
  }

 private:
  const absl::Duration by_;
  base::SystemClock clock_;
};

class AgentIdentityTest : public ::testing::Test {
 protected:
  // What comes of a stream, and of a data call, with that certificate. The catalog knows it, so that nothing else can
  // be the reason for a refusal.
  void ExpectRefused(const Identity& identity, StatusCode code, const std::string& what) {
    const tls::CertificateInfo info = *tls::Inspect(identity.certificate_pem);
    ASSERT_TRUE(daemon_.catalog
                    ->Write([&](catalog::Stores& stores) {
                      return stores.hosts.SetNextCertificate(HostId(a_.host_id), info.serial, info.fingerprint);
                    })
                    .ok());
    ExpectNotLetIn(identity, code, what);
    const auto host = daemon_.catalog->Read([&](const catalog::Stores& s) { return s.hosts.Get(HostId(a_.host_id)); });
    EXPECT_EQ(host->next_certificate_fingerprint, info.fingerprint) << what << ": taken for used";
  }
  void ExpectNotLetIn(const Identity& identity, StatusCode code, const std::string& what) {
    Link link(daemon_.Connect(identity));
    link.SayHello();
    EXPECT_EQ(link.End().error_code(), code) << what;
    EXPECT_EQ(link.received(), 0u) << what;
    store::v1::OpenSessionResponse opened;
    EXPECT_EQ(Data(daemon_.Connect(identity)).Open({catalog::JobId("j"), 1}, &opened).error_code(), code) << what;
    EXPECT_FALSE(daemon_.registry.IsOnline(HostId(a_.host_id))) << what;
  }

  // A certificate in the name of `a_`, by that authority.
  Identity SignedBy(tls::CertificateAuthority& authority, const std::string& name) {
    Identity identity = a_;
    identity.key_pem = *tls::GenerateKey();
    identity.certificate_pem = *authority.SignAgentCertificate(*tls::MakeCsr(identity.key_pem, "x"), name);
    return identity;
  }
  Identity SignedBy(tls::CertificateAuthority& authority) { return SignedBy(authority, a_.host_id); }
  std::unique_ptr<tls::CertificateAuthority> OurAuthority(base::Clock& clock) {
    return *tls::CertificateAuthority::Open(daemon_.files, clock, daemon_.random, daemon_.dir.File("tls"));
  }

  static Identity Renewed(const Identity& identity, const std::string& key_pem, const DaemonMessage& answer) {
    Identity renewed = identity;
    renewed.key_pem = key_pem;
    renewed.certificate_pem = answer.certificate().certificate_pem();
    return renewed;
  }
  static void Ask(Link& link, const std::string& key_pem, const std::string& name) {
    AgentMessage message;
    message.mutable_certificate_request()->set_certificate_request_pem(*tls::MakeCsr(key_pem, name));
    link.Say(message);
  }

  Daemon daemon_;
  const Identity a_ = daemon_.Enrol("a");
  const Identity b_ = daemon_.Enrol("b");
};

// ---- Who is let in ----

TEST_F(AgentIdentityTest, AnotherAuthoritysCertificateIsRefusedByTls) {
  const auto other =
      *tls::CertificateAuthority::Open(daemon_.files, daemon_.clock, daemon_.random, daemon_.dir.File("other"));
  ExpectRefused(SignedBy(*other), StatusCode::UNAVAILABLE, "another authority");
}

TEST_F(AgentIdentityTest, CertificatesOfOtherTimesAreRefusedByTls) {
  OtherTime past(-2 * tls::kAgentLifetime), future(absl::Hours(24));
  ExpectRefused(SignedBy(*OurAuthority(past)), StatusCode::UNAVAILABLE, "expired");
  ExpectRefused(SignedBy(*OurAuthority(future)), StatusCode::UNAVAILABLE, "not yet valid");
}

TEST_F(AgentIdentityTest, TheServersOwnCertificateIsNoAgents) {
  const tls::ServerCertificate server = *daemon_.authority->IssueServerCertificate({});
  Identity identity = a_;
  identity.key_pem = server.key_pem;
  identity.certificate_pem = server.chain_pem;
  ExpectRefused(identity, StatusCode::UNAVAILABLE, "for servers");
}

TEST_F(AgentIdentityTest, NoCertificateIsRefusedByTls) {
  ExpectNotLetIn(Identity{}, StatusCode::UNAVAILABLE, "none");
}

TEST_F(AgentIdentityTest, ACertificateThatNamesAnotherHostOrIsUnknownIsRefused) {
  OtherTime now(absl::ZeroDuration());
  const auto authority = OurAuthority(now);
  ExpectNotLetIn(SignedBy(*authority), StatusCode::UNAUTHENTICATED, "signed by us, given to nobody");
  ExpectRefused(SignedBy(*authority, b_.host_id), StatusCode::UNAUTHENTICATED, "known as a's, names b");
}

TEST_F(AgentIdentityTest, ARemovedHostLosesLinkAndDataAndDoesNotComeBack) {
  Link link(daemon_.Connect(a_));
  link.SayHello();
  link.Await(DaemonMessage::kWelcome);
  daemon_.SubmitBackup(a_, {1});
  const dispatch::AssignmentKey key = link.AcceptAssignment();
  Data data(daemon_.Connect(a_));
  store::v1::OpenSessionResponse session;
  ASSERT_TRUE(data.Open(key, &session).ok());
  // As HostService.DeleteHost does (tests/unit/server/tls_test.cc calls that one).
  ASSERT_TRUE(daemon_.catalog->Write([&](catalog::Stores& s) { return s.hosts.Revoke(HostId(a_.host_id)); }).ok());
  daemon_.registry.Disconnect(HostId(a_.host_id),
                              base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "removed"));
  EXPECT_EQ(link.End().error_code(), StatusCode::UNAUTHENTICATED);
  store::v1::NegotiateResponse wanted;
  EXPECT_EQ(data.Negotiate(session.session_id(), std::string(32, 'x'), &wanted).error_code(),
            StatusCode::UNAUTHENTICATED)
      << "over the connection that was open before";
  const Disk disk = MakeDisk(session, 2, 1);
  EXPECT_EQ(data.Upload(session.session_id(), disk.chunks, 8).error_code(), StatusCode::UNAUTHENTICATED);
  ExpectNotLetIn(a_, StatusCode::UNAUTHENTICATED, "removed");
}

// ---- A stolen certificate ----

TEST_F(AgentIdentityTest, WhoHasOneHostsCertificateReadsAndReportsNothingOfAnother) {
  Link link(daemon_.Connect(a_)), thief(daemon_.Connect(b_));
  link.SayHello();
  link.Await(DaemonMessage::kWelcome);
  AgentMessage hello;
  hello.mutable_hello()->set_host_name("a");  // says that it is another host
  hello.mutable_hello()->set_process_id("p1");
  thief.Say(hello);
  EXPECT_EQ(thief.Await(DaemonMessage::kWelcome).welcome().host_id(), b_.host_id);

  const catalog::JobId job = daemon_.SubmitBackup(a_, {1});
  const dispatch::AssignmentKey key = link.AcceptAssignment();
  ASSERT_TRUE(daemon_.Reaches(job, JobState::kRunning));
  Data data(daemon_.Connect(a_)), stolen(daemon_.Connect(b_));
  store::v1::OpenSessionResponse session, none;
  ASSERT_TRUE(data.Open(key, &session).ok());
  const Disk disk = MakeDisk(session, 5, 1);
  EXPECT_EQ(ReasonOf(stolen.Open(key, &none)), "PERMISSION_DENIED");
  store::v1::NegotiateResponse wanted;
  EXPECT_EQ(ReasonOf(stolen.Negotiate(session.session_id(), disk.map(), &wanted)), "SESSION_NOT_FOUND");
  EXPECT_EQ(wanted.wanted(), "") << "not even which chunks there are";
  store::v1::CheckBaseResponse same;
  EXPECT_EQ(ReasonOf(stolen.CheckBase(session.session_id(), 1, disk, "p", {0}, &same)), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(stolen.Upload(session.session_id(), disk.chunks, 8)), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(stolen.PutMap(session.session_id(), 1, disk)), "SESSION_NOT_FOUND");
  EXPECT_EQ(ReasonOf(stolen.Commit(session.session_id(), {1}, disk)), "SESSION_NOT_FOUND");
  grpc::ClientContext context;
  store::v1::AbortSessionRequest abort;
  abort.set_session_id(session.session_id());
  store::v1::AbortSessionResponse aborted;
  EXPECT_EQ(ReasonOf(stolen.stub->AbortSession(&context, abort, &aborted)), "SESSION_NOT_FOUND");
  // Its words about another's work are no news.
  thief.SayResult(key, AssignmentResult::OUTCOME_FAILED, "GUEST_FREEZE_FAILED");
  thief.Await(DaemonMessage::kResultAcknowledged);
  EXPECT_EQ(daemon_.Get(job).state, JobState::kRunning);
  // An inventory of its own is all that it can change.
  AgentMessage inventory;
  inventory.mutable_inventory()->add_virtual_machines()->set_name(VmUuid(1));
  thief.Say(inventory);
  EXPECT_TRUE(Eventually([&] {
    return daemon_.catalog->Read([&](const catalog::Stores& s) {
                            return s.vms.Get({HostId(b_.host_id), VmUuid(1)});
                          })
        .ok();
  }));
  EXPECT_FALSE(
      daemon_.catalog->Read([&](const catalog::Stores& s) {
                       return s.vms.Get({HostId(a_.host_id), VmUuid(1)});
                     })
          .ok());

  ASSERT_TRUE(data.Upload(session.session_id(), disk.chunks, 8).ok());
  ASSERT_TRUE(data.PutMap(session.session_id(), 1, disk).ok());
  store::v1::CommitResponse committed;
  ASSERT_TRUE(data.Commit(session.session_id(), {1}, disk, &committed).ok());
  link.SayResult(key, AssignmentResult::OUTCOME_SUCCEEDED);
  link.Await(DaemonMessage::kResultAcknowledged);
  daemon_.SubmitRestore(a_, committed.recovery_point_ids(0));
  const dispatch::AssignmentKey restore = link.AcceptAssignment();
  std::string content;
  EXPECT_EQ(ReasonOf(stolen.Read(restore, committed.recovery_point_ids(0), 0, &content)), "PERMISSION_DENIED");
  EXPECT_EQ(content.find_first_not_of('\0'), std::string::npos);
  EXPECT_TRUE(data.Read(restore, committed.recovery_point_ids(0), 0, &content).ok());
  EXPECT_TRUE(content == disk.content);
}

// ---- Renewal ----

TEST_F(AgentIdentityTest, ANewCertificateComesOverTheLiveLinkAndWorkGoesOn) {
  Link link(daemon_.Connect(a_));
  link.SayHello();
  link.Await(DaemonMessage::kWelcome);
  const catalog::JobId job = daemon_.SubmitBackup(a_, {1});
  const dispatch::AssignmentKey key = link.AcceptAssignment();
  Data data(daemon_.Connect(a_));
  store::v1::OpenSessionResponse session;
  ASSERT_TRUE(data.Open(key, &session).ok());
  const Disk disk = MakeDisk(session, 5, 1);

  const std::string key_pem = *tls::GenerateKey();
  Ask(link, key_pem, b_.host_id);  // the request's name is nobody's business
  const Identity renewed = Renewed(a_, key_pem, link.Await(DaemonMessage::kCertificate));
  EXPECT_EQ(tls::Inspect(renewed.certificate_pem)->common_name, a_.host_id);

  ASSERT_TRUE(data.Upload(session.session_id(), disk.chunks, 8).ok()) << "the old one is good";
  Data again(daemon_.Connect(renewed));
  ASSERT_TRUE(again.PutMap(session.session_id(), 1, disk).ok()) << "and the new one, for the same session";
  EXPECT_EQ(data.PutMap(session.session_id(), 1, disk).error_code(), StatusCode::UNAUTHENTICATED) << "then only that";
  store::v1::CommitResponse committed;
  ASSERT_TRUE(again.Commit(session.session_id(), {1}, disk, &committed).ok());
  link.SayResult(key, AssignmentResult::OUTCOME_SUCCEEDED);  // over the stream that is open still
  link.Await(DaemonMessage::kResultAcknowledged);
  EXPECT_EQ(daemon_.Get(job).state, JobState::kSucceeded);
  link.SayNothingMore();
  EXPECT_TRUE(link.End().ok());

  EXPECT_TRUE(Eventually([&] { return !daemon_.registry.IsOnline(HostId(a_.host_id)); }));
  ExpectNotLetIn(a_, StatusCode::UNAUTHENTICATED, "the certificate before");
  Link next(daemon_.Connect(renewed));
  next.SayHello();
  EXPECT_EQ(next.Await(DaemonMessage::kWelcome).welcome().host_id(), a_.host_id);
}

TEST_F(AgentIdentityTest, ALinkWhoseCertificateWasReplacedGetsNoOtherOne) {
  Link link(daemon_.Connect(a_));
  link.SayHello();
  link.Await(DaemonMessage::kWelcome);
  const std::string key_pem = *tls::GenerateKey();
  Ask(link, key_pem, "");
  const Identity renewed = Renewed(a_, key_pem, link.Await(DaemonMessage::kCertificate));
  store::v1::OpenSessionResponse none;
  EXPECT_EQ(ReasonOf(Data(daemon_.Connect(renewed)).Open({catalog::JobId("j"), 1}, &none)), "PERMISSION_DENIED")
      << "is known";
  daemon_.clock.Advance(absl::Seconds(11));
  Ask(link, *tls::GenerateKey(), "");
  EXPECT_EQ(link.End().error_code(), StatusCode::UNAUTHENTICATED) << "connects again, with its own";

  Link removed(daemon_.Connect(b_));
  removed.SayHello();
  removed.Await(DaemonMessage::kWelcome);
  ASSERT_TRUE(daemon_.catalog->Write([&](catalog::Stores& s) { return s.hosts.Revoke(HostId(b_.host_id)); }).ok());
  Ask(removed, *tls::GenerateKey(), "");
  EXPECT_EQ(removed.End().error_code(), StatusCode::UNAUTHENTICATED);
}

TEST_F(AgentIdentityTest, ABadRequestIsAnsweredAndTheLinkStays) {
  Link link(daemon_.Connect(a_));
  link.SayHello();
  AgentMessage message;
  message.mutable_certificate_request()->set_certificate_request_pem("rubbish");
  link.Say(message);
  const agent::v1::Certificate refused = link.Await(DaemonMessage::kCertificate).certificate();
  EXPECT_EQ(refused.problem().reason(), "CERTIFICATE_REQUEST_INVALID");
  EXPECT_EQ(refused.certificate_pem(), "");
  EXPECT_TRUE(daemon_.registry.IsOnline(HostId(a_.host_id)));
}

}  // namespace
}  // namespace umbra::api
