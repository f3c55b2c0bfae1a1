// Proves, over a real catalog and a real authority, that a host gets certificates in its own name alone, that the old
// and the new one are both good until the new one is used, and that who lost his right to a name gets none by an old
// link.
#include "server/auth/renewal.h"

#include <gtest/gtest.h>

#include "server/auth/enrolment.h"
#include "server/auth/host_authenticator.h"
#include "storage/base/status.h"
#include "storage/tls/enrolment_token.h"
#include "storage/tls/x509.h"
#include "tests/support/manual_clock.h"
#include "tests/support/temp_dir.h"

namespace umbra::auth {
namespace {

class RenewalTest : public ::testing::Test {
 protected:
  RenewalTest() {
    authority_ = *tls::CertificateAuthority::Open(files_, clock_, random_, dir_.path());
    Open();
    first_ = Enrol();
  }

  void Open() {
    renewal_.reset();
    catalog_.reset();
    catalog_ = *catalog::Catalog::Open(files_, dir_.File("catalog.db"));
    renewal_ = std::make_unique<Renewal>(*catalog_, clock_, *authority_, absl::Hours(48));
  }

  EnrolledHost Enrol() {
    Enrolment enrolment(*catalog_, clock_, random_, *authority_);
    const std::string token = enrolment.CreateToken(absl::ZeroDuration(), "")->text;
    return *enrolment.Enrol(tls::ParseEnrolmentToken(token)->secret, Csr(), "node1");
  }

  static std::string Csr(const std::string& name = "agent") { return *tls::MakeCsr(*tls::GenerateKey(), name); }
  // Over a link that was opened with `certificate`.
  absl::StatusOr<std::string> Renew(const std::string& certificate, const std::string& csr = Csr()) {
    return renewal_->Renew(first_.id, *tls::Fingerprint(certificate), csr);
  }
  bool Good(const std::string& certificate) {
    const auto host = AuthenticateHost(*catalog_, certificate);
    if (!host.ok()) {
      EXPECT_EQ(base::ReasonOf(host.status()), "UNAUTHENTICATED");
      return false;
    }
    EXPECT_EQ(*host, first_.id);
    return true;
  }
  int Events(const std::string& type) {
    const auto events = catalog_->Read([&](const catalog::Stores& s) { return s.events.List("", {}); });
    int count = 0;
    for (const catalog::Event& event : events->items) count += event.type == type;
    return count;
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  testing::ManualClock clock_;
  base::SystemRandom random_;
  std::unique_ptr<tls::CertificateAuthority> authority_;
  std::unique_ptr<catalog::Catalog> catalog_;
  std::unique_ptr<Renewal> renewal_;
  EnrolledHost first_;
};

TEST_F(RenewalTest, BothAreGoodUntilTheNewOneIsUsed) {
  const std::string renewed = *Renew(first_.certificate_pem);
  EXPECT_TRUE(Good(first_.certificate_pem)) << "the answer may be lost";
  Open();
  EXPECT_TRUE(Good(first_.certificate_pem));
  EXPECT_TRUE(Good(renewed));
  EXPECT_FALSE(Good(first_.certificate_pem)) << "refused from the first use of the new one on";
  EXPECT_TRUE(Good(renewed));
  Open();
  EXPECT_TRUE(Good(renewed));
  EXPECT_FALSE(Good(first_.certificate_pem));
  EXPECT_EQ(Events("HOST_CERTIFICATE_RENEWED"), 1);
  const tls::CertificateInfo info = *tls::Inspect(renewed);
  EXPECT_LE(info.not_after, clock_.Now() + absl::Hours(48));
  EXPECT_GT(info.not_after, clock_.Now() + absl::Hours(47));
}

TEST_F(RenewalTest, TheNameIsTheHostsWhateverTheRequestSays) {
  const std::string renewed = *Renew(first_.certificate_pem, Csr("another-host"));
  EXPECT_EQ(tls::Inspect(renewed)->common_name, first_.id.value);
  EXPECT_TRUE(Good(renewed));
}

TEST_F(RenewalTest, AnUnusedNewOneGivesWayToTheNext) {
  const std::string lost = *Renew(first_.certificate_pem);
  const std::string renewed = *Renew(first_.certificate_pem);
  EXPECT_FALSE(Good(lost));
  EXPECT_TRUE(Good(first_.certificate_pem));
  EXPECT_TRUE(Good(renewed));
  // A link that was opened with the new one asks as well, also before and after the first use.
  const std::string third = *Renew(renewed);
  EXPECT_TRUE(Good(renewed));
  EXPECT_TRUE(Good(third));
  EXPECT_FALSE(Good(renewed));
}

TEST_F(RenewalTest, AnOldLinkGetsNothing) {
  const std::string renewed = *Renew(first_.certificate_pem);
  ASSERT_TRUE(Good(renewed));
  EXPECT_EQ(base::ReasonOf(Renew(first_.certificate_pem).status()), "UNAUTHENTICATED") << "its certificate is refused";
  // Whoever has the machine now: the link of the one before still stands when it asks.
  const std::string unused = *Renew(renewed);
  const EnrolledHost again = Enrol();
  ASSERT_EQ(again.id, first_.id);
  EXPECT_FALSE(Good(renewed));
  EXPECT_FALSE(Good(unused)) << "what was given before the new enrolment";
  EXPECT_TRUE(absl::IsUnauthenticated(Renew(renewed).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(Renew(unused).status()));
  EXPECT_TRUE(absl::IsUnauthenticated(renewal_->Renew(first_.id, "", Csr()).status()));
  EXPECT_TRUE(Good(again.certificate_pem));
}

TEST_F(RenewalTest, ARemovedHostGetsNone) {
  const std::string unused = *Renew(first_.certificate_pem);
  ASSERT_TRUE(catalog_->Write([&](catalog::Stores& s) { return s.hosts.Revoke(first_.id); }).ok());
  EXPECT_TRUE(absl::IsUnauthenticated(Renew(first_.certificate_pem).status()));
  EXPECT_FALSE(Good(first_.certificate_pem));
  EXPECT_FALSE(Good(unused));
}

TEST_F(RenewalTest, ABadRequestChangesNothing) {
  for (const std::string& csr : {std::string(), std::string("rubbish"), std::string(tls::kCsrSizeMax + 1, 'x')}) {
    EXPECT_EQ(base::ReasonOf(Renew(first_.certificate_pem, csr).status()), "CERTIFICATE_REQUEST_INVALID");
  }
  EXPECT_EQ(Events("HOST_CERTIFICATE_RENEWED"), 0);
  EXPECT_TRUE(Good(first_.certificate_pem));
}

}  // namespace
}  // namespace umbra::auth
