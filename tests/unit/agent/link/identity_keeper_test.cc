// Proves when an agent asks for a new certificate and how often, that only a certificate for its own key, host and
// daemon is taken, that a power cut or a full disk at any moment leaves a whole identity that the daemon accepts, and
// that an agent whose new certificate is refused shows the one before.
#include "agent/link/identity_keeper.h"

#include <gtest/gtest.h>

#include <set>

#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"
#include "storage/tls/x509.h"
#include "tests/support/fault_filesystem.h"
#include "tests/support/manual_clock.h"
#include "tests/support/memory_filesystem.h"

namespace umbra::link {
namespace {

constexpr char kFolder[] = "/agent";
constexpr absl::Duration kYear = tls::kAgentLifetime;

class IdentityKeeperTest : public ::testing::Test {
 protected:
  IdentityKeeperTest() : authority_(MakeAuthority("/daemon")), first_(MakeIdentity()) {
    EXPECT_TRUE(SaveIdentity(files_, kFolder, first_).ok());
    keeper_ = MakeKeeper(files_);
  }

  std::unique_ptr<tls::CertificateAuthority> MakeAuthority(const std::string& folder) {
    return *tls::CertificateAuthority::Open(files_, clock_, random_, folder);
  }

  // As an enrolment gives it.
  Identity MakeIdentity() {
    Identity identity{.host_id = "host1", .daemon_address = "umbrad.example:7440", .key_pem = *tls::GenerateKey()};
    identity.certificate_pem = *authority_->SignAgentCertificate(*tls::MakeCsr(identity.key_pem, "agent"), "host1");
    identity.authority_pem = authority_->certificate_pem();
    return identity;
  }

  std::unique_ptr<IdentityKeeper> MakeKeeper(base::Filesystem& files) {
    return std::make_unique<IdentityKeeper>(files, kFolder, clock_, random_, **LoadIdentities(files, kFolder));
  }

  agent::v1::Certificate Sign(const agent::v1::CertificateRequest& request, const std::string& host = "host1",
                              absl::Duration lifetime = kYear) {
    agent::v1::Certificate answer;
    answer.set_certificate_pem(*authority_->SignAgentCertificate(request.certificate_request_pem(), host, lifetime));
    answer.set_ca_pem("rubbish, which nobody looks at");
    return answer;
  }

  // As the link's writer does, until the keeper asks; the time that it took.
  absl::Duration AwaitAsk(absl::Duration step, absl::Duration limit, agent::v1::CertificateRequest* request = nullptr) {
    const absl::Duration begin = clock_.Monotonic();
    while (clock_.Monotonic() - begin < limit) {
      if (auto asked = keeper_->Ask()) {
        if (request != nullptr) *request = *std::move(asked);
        return clock_.Monotonic() - begin;
      }
      clock_.Advance(step);
    }
    ADD_FAILURE() << "not asked in " << limit;
    return limit;
  }
  agent::v1::CertificateRequest Due() {
    agent::v1::CertificateRequest request;
    AwaitAsk(absl::Hours(6), kYear, &request);
    return request;
  }

  std::string ShownFingerprint() { return *tls::Fingerprint(keeper_->Current().identity.certificate_pem); }

  testing::MemoryFilesystem files_;
  testing::ManualClock clock_;
  base::SystemRandom random_;
  std::unique_ptr<tls::CertificateAuthority> authority_;  // the daemon's
  Identity first_;
  std::unique_ptr<IdentityKeeper> keeper_;
};

TEST_F(IdentityKeeperTest, AsksWhenTwoThirdsAreOverAndNotAllAtOnce) {
  EXPECT_FALSE(keeper_->Ask().has_value());
  std::set<int64_t> days;
  for (int i = 0; i < 20; ++i) {
    int64_t hours = 0;
    testing::ManualClock clock;
    IdentityKeeper keeper(files_, kFolder, clock, random_, {MakeIdentity(), std::nullopt});
    while (!keeper.Ask() && hours < 24 * 365) {
      clock.Advance(absl::Hours(1));
      ++hours;
    }
    EXPECT_GE(hours, 24 * 365 * 2 / 3 - 2);
    EXPECT_LE(hours, 24 * 365 * (2.0 / 3 + 1.0 / 20) + 2);
    days.insert(hours / 24);
  }
  EXPECT_GE(days.size(), 5u) << "within 18 days";
}

TEST_F(IdentityKeeperTest, ARestartDrawsNoNewLot) {
  const absl::Duration waited = AwaitAsk(absl::Hours(1), kYear);
  testing::ManualClock again;
  IdentityKeeper restarted(files_, kFolder, again, random_, **LoadIdentities(files_, kFolder));
  again.Advance(waited - absl::Hours(2));
  EXPECT_FALSE(restarted.Ask().has_value());
  again.Advance(absl::Hours(3));
  EXPECT_TRUE(restarted.Ask().has_value());
}

TEST_F(IdentityKeeperTest, TheAnswerIsOnTheDiskAndShown) {
  const agent::v1::CertificateRequest request = Due();
  EXPECT_EQ(keeper_->generation(), 0);
  keeper_->OnCertificate(Sign(request));
  EXPECT_EQ(keeper_->generation(), 1);
  const Identity shown = keeper_->Current().identity;
  EXPECT_NE(shown.key_pem, first_.key_pem);
  EXPECT_TRUE(tls::CheckKeyMatches(shown.certificate_pem, shown.key_pem).ok());
  EXPECT_EQ(shown.host_id, first_.host_id);
  EXPECT_EQ(shown.daemon_address, first_.daemon_address);
  EXPECT_EQ(shown.authority_pem, first_.authority_pem) << "the authority of the enrolment stays the root";
  const auto stored = LoadIdentities(files_, kFolder);
  ASSERT_TRUE(stored.ok() && stored->has_value());
  EXPECT_EQ(*tls::Fingerprint((*stored)->present.certificate_pem), ShownFingerprint());
  ASSERT_TRUE((*stored)->before.has_value());
  EXPECT_EQ(*tls::Fingerprint((*stored)->before->certificate_pem), *tls::Fingerprint(first_.certificate_pem));
  EXPECT_FALSE(keeper_->Ask().has_value()) << "the new one has its own time";
}

TEST_F(IdentityKeeperTest, AsksAgainWithGrowingPausesAndNewKeys) {
  agent::v1::CertificateRequest before = Due(), next;
  agent::v1::Certificate refusal;
  refusal.mutable_problem()->set_reason("SERVER_BUSY");
  absl::Duration last;
  for (int i = 0; i < 14; ++i) {
    keeper_->OnCertificate(refusal);
    last = AwaitAsk(absl::Seconds(20), absl::Hours(7), &next);
    EXPECT_GE(last, absl::Seconds(20));
    EXPECT_LE(last, i == 0 ? absl::Minutes(2) : absl::Hours(6) + absl::Seconds(20));
    EXPECT_NE(next.certificate_request_pem(), before.certificate_request_pem());
    before = next;
  }
  EXPECT_GE(last, absl::Hours(3));
  EXPECT_EQ(keeper_->generation(), 0);
  keeper_->OnCertificate(Sign(next));
  EXPECT_EQ(keeper_->generation(), 1);
}

TEST_F(IdentityKeeperTest, ALostAnswerIsAskedForOnTheNextStream) {
  const agent::v1::CertificateRequest lost = Due();
  keeper_->OnConnected();
  agent::v1::CertificateRequest request;
  EXPECT_LE(AwaitAsk(absl::Seconds(1), absl::Hours(1), &request), absl::Seconds(61));
  keeper_->OnCertificate(Sign(lost));
  EXPECT_EQ(keeper_->generation(), 0) << "for a key that was thrown away";
  AwaitAsk(absl::Seconds(1), absl::Minutes(3), &request);
  keeper_->OnCertificate(Sign(request));
  EXPECT_EQ(keeper_->generation(), 1);
}

TEST_F(IdentityKeeperTest, LateAgentsThatConnectTogetherAskOneAfterTheOther) {
  clock_.Advance(absl::Hours(24 * 300));
  std::set<int64_t> seconds;
  for (int i = 0; i < 20; ++i) {
    testing::ManualClock clock;
    clock.Advance(absl::Hours(24 * 300));
    IdentityKeeper late(files_, kFolder, clock, random_, **LoadIdentities(files_, kFolder));
    late.OnConnected();
    int64_t waited = 0;
    for (; !late.Ask() && waited < 100; ++waited) clock.Advance(absl::Seconds(1));
    EXPECT_LE(waited, 61);
    seconds.insert(waited);
  }
  EXPECT_GE(seconds.size(), 5u);
}

TEST_F(IdentityKeeperTest, NothingElseIsTaken) {
  const auto other = MakeAuthority("/other");
  const auto expect_refused = [&](agent::v1::Certificate answer, const char* what) {
    keeper_->OnCertificate(answer);
    EXPECT_EQ(keeper_->generation(), 0) << what;
    EXPECT_FALSE(*files_.Exists(IdentityBeforePath(kFolder))) << what;
  };
  expect_refused(Sign(Due(), "host2"), "of another host");
  AwaitAsk(absl::Minutes(1), absl::Hours(12));
  agent::v1::CertificateRequest another_key;
  another_key.set_certificate_request_pem(*tls::MakeCsr(*tls::GenerateKey(), "host1"));
  expect_refused(Sign(another_key), "for another key");
  agent::v1::CertificateRequest request;
  AwaitAsk(absl::Minutes(1), absl::Hours(12), &request);
  agent::v1::Certificate foreign;
  foreign.set_certificate_pem(*other->SignAgentCertificate(request.certificate_request_pem(), "host1"));
  expect_refused(foreign, "of another authority");
  AwaitAsk(absl::Minutes(1), absl::Hours(12), &request);
  const agent::v1::Certificate short_lived = Sign(request, "host1", absl::Hours(1));
  clock_.Advance(absl::Hours(2));
  expect_refused(short_lived, "over already");
  agent::v1::Certificate rubbish;
  rubbish.set_certificate_pem("rubbish");
  AwaitAsk(absl::Minutes(1), absl::Hours(12));
  expect_refused(rubbish, "no certificate");
  expect_refused(rubbish, "that nobody asked for");
  EXPECT_EQ(ShownFingerprint(), *tls::Fingerprint(first_.certificate_pem));
}

// Whatever of the two synced writes happened: what the next start finds is the old pair or the new one, whole, and the
// daemon accepts both until the new one is used.
TEST_F(IdentityKeeperTest, APowerCutAtAnyMomentLeavesOneOfTheTwo) {
  const uint64_t seed = 20261;
  SCOPED_TRACE(seed);
  base::SeededRandom luck(seed);
  const std::string old_fingerprint = *tls::Fingerprint(first_.certificate_pem);
  int old_found = 0, new_found = 0;
  for (uint64_t call = 1;; ++call) {
    testing::MemoryFilesystem disk;
    ASSERT_TRUE(SaveIdentity(disk, kFolder, first_).ok());
    ASSERT_TRUE(disk.SyncDirectory("/").ok());
    testing::FaultFilesystem files(disk);
    const Identity renewed = MakeIdentity();
    const std::string new_fingerprint = *tls::Fingerprint(renewed.certificate_pem);
    files.FailAt(call, testing::Fault::kIoError, /*for_good=*/true);
    const absl::Status saved = SaveRenewedIdentity(files, kFolder, renewed, first_);
    for (int cut = 0; cut < 20; ++cut) {
      const auto after = disk.AfterPowerCut(cut == 0 ? nullptr : &luck);
      const auto found = LoadIdentities(*after, kFolder);
      ASSERT_TRUE(found.ok() && found->has_value()) << base::Describe(found.status()) << " call " << call;
      const std::string present = *tls::Fingerprint((*found)->present.certificate_pem);
      if (saved.ok()) {
        EXPECT_EQ(present, new_fingerprint);
      } else {
        EXPECT_TRUE(present == old_fingerprint || present == new_fingerprint);
      }
      ++(present == old_fingerprint ? old_found : new_found);
    }
    if (!files.struck()) break;
    ASSERT_LT(call, 100u);
  }
  EXPECT_GT(old_found, 0);
  EXPECT_GT(new_found, 0);
}

TEST_F(IdentityKeeperTest, ADiskThatFailsKeepsThePresentPairAndAsksAgain) {
  testing::FaultFilesystem files(files_);
  keeper_ = MakeKeeper(files);
  const agent::v1::CertificateRequest request = Due();
  files.FailAt(1, testing::Fault::kNoSpace, true);
  keeper_->OnCertificate(Sign(request));
  EXPECT_TRUE(files.struck());
  EXPECT_EQ(keeper_->generation(), 0);
  EXPECT_EQ(ShownFingerprint(), *tls::Fingerprint(first_.certificate_pem));
  AwaitAsk(absl::Seconds(10), absl::Hours(1));
}

TEST_F(IdentityKeeperTest, ADamagedIdentityGivesWayToTheOneBefore) {
  keeper_->OnCertificate(Sign(Due()));
  ASSERT_TRUE(files_.WriteFileAtomic(IdentityPath(kFolder), "rubbish").ok());
  const auto found = LoadIdentities(files_, kFolder);
  ASSERT_TRUE(found.ok()) << base::Describe(found.status());
  EXPECT_EQ(*tls::Fingerprint((*found)->present.certificate_pem), *tls::Fingerprint(first_.certificate_pem));
  ASSERT_TRUE(files_.WriteFileAtomic(IdentityBeforePath(kFolder), "rubbish").ok());
  EXPECT_EQ(base::ReasonOf(LoadIdentities(files_, kFolder).status()), "IDENTITY_DAMAGED");
  // Who removes the identity wants to enrol again.
  ASSERT_TRUE(files_.Remove(IdentityPath(kFolder)).ok());
  EXPECT_FALSE(LoadIdentities(files_, kFolder)->has_value());
  ASSERT_TRUE(SaveIdentity(files_, kFolder, MakeIdentity()).ok());
  EXPECT_FALSE(*files_.Exists(IdentityBeforePath(kFolder)));
}

// A daemon whose catalog came back from a copy of before the renewal.
TEST_F(IdentityKeeperTest, ARefusedCertificateGivesWayToTheOneBeforeAndIsRenewedAgain) {
  keeper_->OnRefused(0);
  EXPECT_EQ(keeper_->generation(), 0) << "there is no other one";
  keeper_->OnCertificate(Sign(Due()));
  const std::string second = ShownFingerprint();
  keeper_->OnRefused(0);
  EXPECT_EQ(ShownFingerprint(), second) << "an older stream's refusal";
  keeper_->OnRefused(1);
  EXPECT_EQ(keeper_->generation(), 2);
  EXPECT_EQ(ShownFingerprint(), *tls::Fingerprint(first_.certificate_pem));
  keeper_->OnConnected();
  agent::v1::CertificateRequest request;
  AwaitAsk(absl::Seconds(1), absl::Seconds(61), &request);
  keeper_->OnCertificate(Sign(request));
  EXPECT_NE(ShownFingerprint(), second);
  const Identities stored = **LoadIdentities(files_, kFolder);
  EXPECT_EQ(*tls::Fingerprint(stored.before->certificate_pem), *tls::Fingerprint(first_.certificate_pem));
}

TEST_F(IdentityKeeperTest, OneThatIsOverIsNotTried) {
  const agent::v1::CertificateRequest request = Due();
  keeper_->OnCertificate(Sign(request, "host1", 2 * kYear));
  clock_.Advance(kYear);
  const std::string shown = ShownFingerprint();
  keeper_->OnRefused(1);
  EXPECT_EQ(ShownFingerprint(), shown);
}

}  // namespace
}  // namespace umbra::link
