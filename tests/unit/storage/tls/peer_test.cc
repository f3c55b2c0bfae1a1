// Proves that first contact pins the right authority and refuses every other: a plain OpenSSL server on the loopback
// interface presents chains from honest and foreign authorities.
#include "storage/tls/peer.h"

#include <gtest/gtest.h>
#include <openssl/pem.h>
#include <signal.h>

#include <filesystem>
#include <thread>

#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"
#include "storage/tls/openssl.h"
#include "storage/tls/x509.h"

namespace umbra::tls {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(5);

// Accepts one connection, shakes hands, ends.
class OneShotServer {
 public:
  explicit OneShotServer(const ServerCertificate& identity) : context_(SSL_CTX_new(TLS_server_method())) {
    const CertificatePtr leaf = *ReadCertificate(identity.chain_pem);
    const KeyPtr key = *ReadKey(identity.key_pem);
    SSL_CTX_use_certificate(context_.get(), leaf.get());
    SSL_CTX_use_PrivateKey(context_.get(), key.get());
    const size_t second = identity.chain_pem.find("-----BEGIN", 1);
    if (second != std::string::npos) {
      SSL_CTX_add1_chain_cert(context_.get(), ReadCertificate(identity.chain_pem.substr(second))->get());
    }
    listener_.reset(BIO_new_accept("127.0.0.1:0"));
    EXPECT_EQ(BIO_do_accept(listener_.get()), 1);
    address_ = std::string("127.0.0.1:") + BIO_get_accept_port(listener_.get());
    thread_ = std::jthread([this] { Serve(); });
  }
  const std::string& address() const { return address_; }

 private:
  void Serve() {
    if (BIO_do_accept(listener_.get()) != 1) return;
    BioPtr connection(BIO_pop(listener_.get()));
    BioPtr tls(BIO_push(BIO_new_ssl(context_.get(), 0), connection.release()));
    BIO_do_handshake(tls.get());
    char byte;
    BIO_read(tls.get(), &byte, 1);
  }

  ContextPtr context_;
  BioPtr listener_;
  std::string address_;
  std::jthread thread_;
};

class PeerTest : public ::testing::Test {
 protected:
  PeerTest() {
    signal(SIGPIPE, SIG_IGN);
    std::string pattern = ::testing::TempDir() + "umbra-peer-XXXXXX";
    folder_ = mkdtemp(pattern.data());
    authority_ = *CertificateAuthority::Open(filesystem_, clock_, random_, folder_ + "/a");
    foreign_ = *CertificateAuthority::Open(filesystem_, clock_, random_, folder_ + "/b");
    identity_ = *authority_->IssueServerCertificate({});
  }
  ~PeerTest() override { std::filesystem::remove_all(folder_); }

  absl::StatusOr<std::string> Fetch(const ServerCertificate& identity, std::string_view pin) {
    OneShotServer server(identity);
    return FetchPinnedAuthority(server.address(), pin, clock_.Now(), kTimeout);
  }

  base::PosixFilesystem filesystem_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::string folder_;
  std::unique_ptr<CertificateAuthority> authority_;
  std::unique_ptr<CertificateAuthority> foreign_;
  ServerCertificate identity_;
};

TEST_F(PeerTest, FindsThePinnedAuthority) {
  const auto found = Fetch(identity_, authority_->fingerprint());
  ASSERT_TRUE(found.ok()) << base::Describe(found.status());
  EXPECT_EQ(*found, authority_->certificate_pem());
}

TEST_F(PeerTest, RefusesAnotherDaemon) {
  const auto found = Fetch(*foreign_->IssueServerCertificate({}), authority_->fingerprint());
  EXPECT_EQ(found.status().code(), absl::StatusCode::kPermissionDenied);
  EXPECT_EQ(base::ReasonOf(found.status()), "AUTHORITY_FINGERPRINT_MISMATCH");
}

// The authority's certificate is no secret: whoever shows it must also hold a certificate that it signed.
TEST_F(PeerTest, RefusesAForeignLeafBesideThePinnedAuthority) {
  ServerCertificate mixed = *foreign_->IssueServerCertificate({});
  mixed.chain_pem = mixed.chain_pem.substr(0, mixed.chain_pem.find("-----BEGIN", 1)) + authority_->certificate_pem();
  EXPECT_EQ(base::ReasonOf(Fetch(mixed, authority_->fingerprint()).status()), "AUTHORITY_FINGERPRINT_MISMATCH");
}

// An enrolled agent must not be able to pose as the daemon.
TEST_F(PeerTest, RefusesAnAgentsCertificateAsServer) {
  ServerCertificate agent;
  agent.key_pem = *GenerateKey();
  agent.chain_pem =
      *authority_->SignAgentCertificate(*MakeCsr(agent.key_pem, "x"), "host-1") + authority_->certificate_pem();
  EXPECT_EQ(base::ReasonOf(Fetch(agent, authority_->fingerprint()).status()), "AUTHORITY_FINGERPRINT_MISMATCH");
}

TEST_F(PeerTest, RefusesThePinnedLeafItself) {
  EXPECT_EQ(base::ReasonOf(Fetch(identity_, *Fingerprint(identity_.chain_pem)).status()),
            "AUTHORITY_FINGERPRINT_MISMATCH");
}

TEST_F(PeerTest, RefusesExpiredCertificates) {
  const auto found = PickPinnedAuthority({identity_.chain_pem, authority_->certificate_pem()},
                                         authority_->fingerprint(), clock_.Now() + kServerLifetime + absl::Hours(2));
  EXPECT_EQ(base::ReasonOf(found.status()), "AUTHORITY_FINGERPRINT_MISMATCH");
}

TEST_F(PeerTest, SaysWhenNobodyAnswers) {
  BioPtr listener(BIO_new_accept("127.0.0.1:0"));
  ASSERT_EQ(BIO_do_accept(listener.get()), 1);
  const std::string address = std::string("127.0.0.1:") + BIO_get_accept_port(listener.get());
  listener.reset();
  const auto found = FetchPinnedAuthority(address, authority_->fingerprint(), clock_.Now(), absl::Seconds(1));
  EXPECT_EQ(found.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(found.status()), "PEER_UNREACHABLE");
}

}  // namespace
}  // namespace umbra::tls
