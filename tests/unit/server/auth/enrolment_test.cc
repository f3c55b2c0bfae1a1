// Proves the life of an enrolment token and of a host's identity, over a real catalog and a real authority: one token
// makes one host, once, in time, for its name; a failed enrolment uses nothing up; a revoked host is refused at once.
#include "server/auth/enrolment.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <thread>
#include <vector>

#include "server/auth/host_authenticator.h"
#include "storage/base/status.h"
#include "storage/tls/enrolment_token.h"
#include "storage/tls/x509.h"

namespace umbra::auth {
namespace {

// A wall clock that the test sets.
class SettableClock final : public base::Clock {
 public:
  absl::Time Now() override { return now; }
  absl::Duration Monotonic() override { return now - absl::UnixEpoch(); }
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override {
    return mu.AwaitWithTimeout(condition, timeout);
  }
  absl::Time now = absl::FromUnixSeconds(1'800'000'000);
};

class EnrolmentTest : public ::testing::Test {
 protected:
  EnrolmentTest() {
    std::string pattern = ::testing::TempDir() + "umbra-auth-XXXXXX";
    folder_ = mkdtemp(pattern.data());
    catalog_ = *catalog::Catalog::Open(filesystem_, folder_ + "/catalog.db");
    authority_ = *tls::CertificateAuthority::Open(filesystem_, clock_, random_, folder_);
    enrolment_ = std::make_unique<Enrolment>(*catalog_, clock_, random_, *authority_);
  }
  ~EnrolmentTest() override {
    catalog_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string NewSecret(const std::string& pattern = "", absl::Duration lifetime = absl::ZeroDuration()) {
    const auto token = enrolment_->CreateToken(lifetime, pattern);
    EXPECT_TRUE(token.ok()) << base::Describe(token.status());
    return tls::ParseEnrolmentToken(token->text)->secret;
  }

  absl::StatusOr<EnrolledHost> Enrol(const std::string& secret, const std::string& name = "node1") {
    return enrolment_->Enrol(secret, *tls::MakeCsr(*tls::GenerateKey(), "agent"), name);
  }

  size_t HostCount() {
    return catalog_->Read([](const catalog::Stores& s) { return s.hosts.List({}); })->items.size();
  }

  base::PosixFilesystem filesystem_;
  SettableClock clock_;
  base::SystemRandom random_;
  std::string folder_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<tls::CertificateAuthority> authority_;
  std::unique_ptr<Enrolment> enrolment_;
};

TEST_F(EnrolmentTest, TokenCarriesTheAuthoritysFingerprintAndIsStoredHashed) {
  const auto token = enrolment_->CreateToken(absl::ZeroDuration(), "");
  ASSERT_TRUE(token.ok());
  EXPECT_EQ(token->expire_time, clock_.now + kTokenLifetimeDefault);
  const auto parsed = tls::ParseEnrolmentToken(token->text);
  ASSERT_TRUE(parsed.ok());
  EXPECT_EQ(parsed->fingerprint, authority_->fingerprint());
  EXPECT_NE(parsed->secret, NewSecret());
  for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
    const auto content = filesystem_.ReadFile(entry.path());
    ASSERT_TRUE(content.ok());
    EXPECT_EQ(content->find(parsed->secret), std::string::npos) << entry.path();
  }
}

TEST_F(EnrolmentTest, TokenLimits) {
  EXPECT_EQ(base::ReasonOf(enrolment_->CreateToken(-absl::Seconds(1), "").status()), "INVALID_REQUEST");
  EXPECT_EQ(base::ReasonOf(enrolment_->CreateToken(kTokenLifetimeMax + absl::Seconds(1), "").status()),
            "INVALID_REQUEST");
  EXPECT_EQ(base::ReasonOf(enrolment_->CreateToken(absl::Hours(1), std::string(256, 'a')).status()), "INVALID_REQUEST");
  EXPECT_TRUE(enrolment_->CreateToken(kTokenLifetimeMax, std::string(255, 'a')).ok());
}

TEST_F(EnrolmentTest, EnrolledHostIsKnownByItsCertificate) {
  const auto host = Enrol(NewSecret());
  ASSERT_TRUE(host.ok()) << base::Describe(host.status());
  const auto known = AuthenticateHost(*catalog_, host->certificate_pem);
  ASSERT_TRUE(known.ok()) << base::Describe(known.status());
  EXPECT_EQ(*known, host->id);
  EXPECT_EQ(HostCount(), 1u);
  const auto events = catalog_->Read([](const catalog::Stores& s) { return s.events.List("", {}); });
  ASSERT_EQ(events->items.size(), 1u);
  EXPECT_EQ(events->items[0].type, "HOST_ENROLLED");
}

TEST_F(EnrolmentTest, TokenWorksOnce) {
  const std::string secret = NewSecret();
  EXPECT_TRUE(Enrol(secret).ok());
  const auto second = Enrol(secret, "node2");
  EXPECT_EQ(second.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(base::ReasonOf(second.status()), "ENROLMENT_TOKEN_INVALID");
  EXPECT_EQ(HostCount(), 1u);
}

TEST_F(EnrolmentTest, OfManyAtOnceOneWins) {
  const std::string secret = NewSecret();
  std::atomic<int> winners = 0;
  {
    std::vector<std::jthread> racers;
    for (int i = 0; i < 4; ++i) racers.emplace_back([&] { winners += Enrol(secret).ok(); });
  }
  EXPECT_EQ(winners, 1);
  EXPECT_EQ(HostCount(), 1u);
}

TEST_F(EnrolmentTest, WrongAndExpiredTokensLookTheSame) {
  const std::string secret = NewSecret("", absl::Minutes(5));
  const auto wrong = Enrol(std::string(64, '0'));
  clock_.now += absl::Minutes(5) + absl::Seconds(1);
  const auto expired = Enrol(secret);
  for (const auto* result : {&wrong, &expired}) {
    EXPECT_EQ(result->status().code(), absl::StatusCode::kPermissionDenied);
    EXPECT_EQ(base::ReasonOf(result->status()), "ENROLMENT_TOKEN_INVALID");
  }
  EXPECT_EQ(base::MessageOf(wrong.status()), base::MessageOf(expired.status()));
}

TEST_F(EnrolmentTest, PatternBindsTheTokenToNames) {
  const std::string secret = NewSecret("node[0-9]");
  EXPECT_EQ(base::ReasonOf(Enrol(secret, "db1").status()), "ENROLMENT_HOST_MISMATCH");
  EXPECT_TRUE(Enrol(secret, "node7").ok()) << "a refused name must not use the token up";
}

TEST_F(EnrolmentTest, BadRequestsDoNotUseTheTokenUp) {
  const std::string secret = NewSecret();
  EXPECT_EQ(base::ReasonOf(enrolment_->Enrol(secret, "rubbish", "node1").status()), "CERTIFICATE_REQUEST_INVALID");
  for (const std::string& name : {std::string(), std::string("a b"), std::string("a/../b"), std::string(254, 'a')}) {
    EXPECT_EQ(base::ReasonOf(Enrol(secret, name).status()), "INVALID_REQUEST") << name;
  }
  EXPECT_EQ(HostCount(), 0u);
  EXPECT_TRUE(Enrol(secret).ok());
}

TEST_F(EnrolmentTest, RevokedHostIsRefusedAtOnce) {
  const auto host = Enrol(NewSecret());
  ASSERT_TRUE(catalog_->Write([&](catalog::Stores& s) { return s.hosts.Revoke(host->id); }).ok());
  const auto known = AuthenticateHost(*catalog_, host->certificate_pem);
  EXPECT_EQ(known.status().code(), absl::StatusCode::kUnauthenticated);
  EXPECT_EQ(base::ReasonOf(known.status()), "UNAUTHENTICATED");
}

TEST_F(EnrolmentTest, CertificatesThatNobodyEnrolledWithAreRefused) {
  const auto host = Enrol(NewSecret());
  // Signed by our authority for the same host, but not the certificate that the host got.
  const auto copy = authority_->SignAgentCertificate(*tls::MakeCsr(*tls::GenerateKey(), "x"), host->id.value);
  for (const std::string& pem : {*copy, std::string(), std::string("rubbish"), authority_->certificate_pem()}) {
    EXPECT_EQ(base::ReasonOf(AuthenticateHost(*catalog_, pem).status()), "UNAUTHENTICATED");
  }
}

}  // namespace
}  // namespace umbra::auth
