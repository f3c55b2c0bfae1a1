// Proves that an agent enrols with a good token, tells each kind of bad one apart, and sends its secret to nobody but
// the daemon that the token names.
#include "agent/link/enrolment.h"

#include <gtest/gtest.h>

#include <atomic>

#include "storage/tls/enrolment_token.h"
#include "tests/unit/agent/link/fake_daemon.h"
#include "umbra/agent/v1/enrolment.grpc.pb.h"

namespace umbra::link {
namespace {

class Service final : public agent::v1::EnrolmentService::Service {
 public:
  explicit Service(FakeDaemon& daemon) : daemon_(daemon) {}

  grpc::Status Enrol(grpc::ServerContext*, const agent::v1::EnrolRequest* request,
                     agent::v1::EnrolResponse* response) override {
    ++calls;
    if (request->token_secret() != secret || used.exchange(true)) {
      return {grpc::StatusCode::PERMISSION_DENIED, "the token is wrong, was used or has expired"};
    }
    host_name = request->host_name();
    response->set_host_id("host7");
    response->set_certificate_pem(
        *daemon_.authority().SignAgentCertificate(request->certificate_request_pem(), "host7"));
    response->set_ca_pem(daemon_.authority().certificate_pem());
    response->set_agent_address("daemon.example.net:7440");
    return grpc::Status::OK;
  }

  const std::string secret = std::string(64, 'a');
  std::atomic<bool> used{false};
  std::atomic<int> calls{0};
  std::string host_name;

 private:
  FakeDaemon& daemon_;
};

class EnrolmentTest : public ::testing::Test {
 protected:
  void SetUp() override { daemon_.Start({&service_}, /*demand_certificate=*/false); }

  absl::StatusOr<Identity> TryEnrol(const std::string& secret, const std::string& fingerprint) {
    return Enrol(files_, clock_,
                 {.token = tls::FormatEnrolmentToken({secret, fingerprint}),
                  .address = daemon_.address(),
                  .host_name = "kvm01",
                  .data_dir = folder_.path()});
  }
  bool Enrolled() { return LoadIdentity(files_, folder_.path())->has_value(); }

  FakeDaemon daemon_;
  Service service_{daemon_};
  testing::TempDir folder_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
};

TEST_F(EnrolmentTest, GoodTokenGivesAnIdentityThatIsStored) {
  const auto identity = TryEnrol(service_.secret, daemon_.authority().fingerprint());
  ASSERT_TRUE(identity.ok()) << base::Describe(identity.status());
  EXPECT_EQ(identity->host_id, "host7");
  EXPECT_EQ(identity->daemon_address, "daemon.example.net:7440");
  EXPECT_EQ(service_.host_name, "kvm01");
  EXPECT_EQ(tls::Inspect(identity->certificate_pem)->common_name, "host7");
  const auto stored = LoadIdentity(files_, folder_.path());
  ASSERT_TRUE(stored.ok() && stored->has_value());
  EXPECT_EQ((*stored)->host_id, "host7");
}

TEST_F(EnrolmentTest, WrongAndReusedTokens) {
  const auto wrong = TryEnrol(std::string(64, 'b'), daemon_.authority().fingerprint());
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_FALSE(Enrolled());
  ASSERT_TRUE(TryEnrol(service_.secret, daemon_.authority().fingerprint()).ok());
  const auto reused = TryEnrol(service_.secret, daemon_.authority().fingerprint());
  EXPECT_EQ(reused.status().code(), absl::StatusCode::kPermissionDenied);
}

TEST_F(EnrolmentTest, AnotherDaemonNeverSeesTheSecret) {
  const auto identity = TryEnrol(service_.secret, std::string(64, '0'));
  EXPECT_EQ(base::ReasonOf(identity.status()), "AUTHORITY_FINGERPRINT_MISMATCH");
  EXPECT_EQ(service_.calls, 0);
  EXPECT_FALSE(Enrolled());
}

TEST_F(EnrolmentTest, NobodyAnswers) {
  daemon_.Stop();
  const auto identity = TryEnrol(service_.secret, daemon_.authority().fingerprint());
  EXPECT_EQ(identity.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(identity.status()), "PEER_UNREACHABLE");
  EXPECT_NE(base::MessageOf(identity.status()).find(daemon_.address()), std::string::npos);
}

TEST_F(EnrolmentTest, NoTokenAtAll) {
  const auto identity =
      Enrol(files_, clock_, {.token = "hello", .address = daemon_.address(), .data_dir = folder_.path()});
  EXPECT_EQ(base::ReasonOf(identity.status()), "ENROLMENT_TOKEN_INVALID");
}

}  // namespace
}  // namespace umbra::link
