// Proves enrolment over TLS: a token works once, in time and for its host; strangers learn nothing and are slowed down.
#include "server/api/agent/enrolment_service.h"

#include <gtest/gtest.h>

#include "storage/tls/x509.h"
#include "tests/unit/server/agent_api/agent_port.h"

namespace umbra::api {
namespace {

TEST(EnrolmentServiceTest, ATokenIsTradedForACertificateOnce) {
  Daemon daemon;
  const std::string secret = daemon.MakeToken();
  Identity identity;
  ASSERT_TRUE(daemon.TryEnrol(secret, "h1.example", &identity).ok());
  EXPECT_EQ(tls::Inspect(identity.certificate_pem)->common_name, identity.host_id);
  EXPECT_EQ(identity.authority_pem, daemon.authority->certificate_pem());

  const grpc::Status again = daemon.TryEnrol(secret, "h2.example");
  EXPECT_EQ(again.error_code(), grpc::StatusCode::PERMISSION_DENIED);
  EXPECT_EQ(ReasonOf(again), "ENROLMENT_TOKEN_INVALID");
}

TEST(EnrolmentServiceTest, WrongExpiredAndMisplacedTokensAreRefused) {
  Daemon daemon;
  EXPECT_EQ(ReasonOf(daemon.TryEnrol("guess", "h1")), "ENROLMENT_TOKEN_INVALID");

  const std::string expired = daemon.MakeToken("", absl::Minutes(5));
  daemon.clock.Advance(absl::Minutes(6));
  EXPECT_EQ(ReasonOf(daemon.TryEnrol(expired, "h1")), "ENROLMENT_TOKEN_INVALID");

  const std::string bound = daemon.MakeToken("web-*");
  EXPECT_EQ(ReasonOf(daemon.TryEnrol(bound, "db-1")), "ENROLMENT_HOST_MISMATCH");
  EXPECT_TRUE(daemon.TryEnrol(bound, "web-1").ok());
}

TEST(EnrolmentServiceTest, AHostThatEnrolsAgainKeepsItsIdAndItsOldCertificateIsRefused) {
  Daemon daemon;
  const Identity before = daemon.Enrol("h1.example");
  Link link(daemon.Connect(before));
  link.SayHello();
  link.Await(agent::v1::DaemonMessage::kWelcome);
  const Identity after = daemon.Enrol("h1.example");
  EXPECT_EQ(link.End().error_code(),
            grpc::StatusCode::UNAUTHENTICATED);  // a link from before ends with its certificate
  EXPECT_EQ(after.host_id, before.host_id);
  EXPECT_NE(daemon.Enrol("h2.example").host_id, before.host_id);

  Link old(daemon.Connect(before));
  EXPECT_EQ(old.End().error_code(), grpc::StatusCode::UNAUTHENTICATED);
  Link fresh(daemon.Connect(after));
  fresh.SayHello();
  fresh.Await(agent::v1::DaemonMessage::kWelcome);
}

TEST(EnrolmentServiceTest, ARequestForACertificateThatIsTooLargeIsRefused) {
  Daemon daemon;
  agent::v1::EnrolRequest request;
  request.set_token_secret(daemon.MakeToken());
  request.set_host_name(std::string(20 * 1024, 'x'));  // fits the port, but is no host name
  EXPECT_EQ(daemon.TryEnrol(request.token_secret(), request.host_name()).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(daemon.TryEnrol(request.token_secret(), "h1").ok());
}

TEST(EnrolmentServiceTest, TooManyFailuresMakeEverybodyWaitAMoment) {
  Daemon daemon;
  const std::string secret = daemon.MakeToken();
  for (int i = 0; i < 10; ++i) EXPECT_EQ(ReasonOf(daemon.TryEnrol("guess", "h1")), "ENROLMENT_TOKEN_INVALID");
  const grpc::Status limited = daemon.TryEnrol(secret, "h1");
  EXPECT_EQ(limited.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(ReasonOf(limited), "SERVER_BUSY");
  daemon.clock.Advance(absl::Seconds(1));
  EXPECT_TRUE(daemon.TryEnrol(secret, "h1").ok());
}

}  // namespace
}  // namespace umbra::api
