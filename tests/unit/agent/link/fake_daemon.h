// A gRPC server on 127.0.0.1 with a real certificate authority, that says what a test tells it to.
#ifndef UMBRA_TESTS_UNIT_AGENT_LINK_FAKE_DAEMON_H_
#define UMBRA_TESTS_UNIT_AGENT_LINK_FAKE_DAEMON_H_

#include <grpc/grpc_security_constants.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "agent/link/identity_keeper.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"
#include "storage/tls/x509.h"
#include "tests/support/temp_dir.h"

namespace umbra::link {

// Of the certificate that the caller showed; empty: none.
inline std::string FingerprintOf(const grpc::ServerContext& context) {
  const auto values = context.auth_context()->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  return values.empty() ? "" : *tls::Fingerprint(std::string_view(values[0].data(), values[0].size()));
}

class FakeDaemon {
 public:
  FakeDaemon() {
    authority_ = *tls::CertificateAuthority::Open(files_, clock_, random_, folder_.File("authority"));
    certificate_ = *authority_->IssueServerCertificate({});
  }
  ~FakeDaemon() { Stop(); }

  tls::CertificateAuthority& authority() { return *authority_; }
  base::Filesystem& files() { return files_; }
  base::SystemClock& clock() { return clock_; }
  base::Random& random() { return random_; }

  // Serves on `port` (0: a free one) with or without asking for client certificates.
  void Start(const std::vector<grpc::Service*>& services, bool demand_certificate, int port = 0) {
    grpc::SslServerCredentialsOptions options(demand_certificate ? GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY
                                                                 : GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
    options.pem_key_cert_pairs.push_back({certificate_.key_pem, certificate_.chain_pem});
    if (demand_certificate) options.pem_root_certs = authority_->certificate_pem();
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port), grpc::SslServerCredentials(options), &port_);
    for (grpc::Service* service : services) builder.RegisterService(service);
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void Stop() {
    if (server_ != nullptr) server_->Shutdown(std::chrono::system_clock::now());
    server_.reset();
  }

  // A keeper of a new identity, and of one before, in a folder of its own. `clock` null: the daemon's.
  std::unique_ptr<IdentityKeeper> MakeKeeper(base::Clock* clock = nullptr) {
    const std::string folder = folder_.File("agent-" + random_.Hex(4));
    const Identities identities{MakeIdentity(), MakeIdentity()};
    EXPECT_TRUE(SaveIdentity(files_, folder, identities.present).ok());
    return std::make_unique<IdentityKeeper>(files_, folder, clock == nullptr ? clock_ : *clock, random_, identities);
  }

  int port() const { return port_; }
  std::string address() const { return "127.0.0.1:" + std::to_string(port_); }

  // An agent's identity as an enrolment gives it.
  Identity MakeIdentity() {
    Identity identity{.host_id = "host1", .daemon_address = address(), .key_pem = *tls::GenerateKey()};
    identity.certificate_pem = *authority_->SignAgentCertificate(*tls::MakeCsr(identity.key_pem, "agent"), "host1");
    identity.authority_pem = authority_->certificate_pem();
    return identity;
  }

 private:
  testing::TempDir folder_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::unique_ptr<tls::CertificateAuthority> authority_;
  tls::ServerCertificate certificate_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

}  // namespace umbra::link

#endif  // UMBRA_TESTS_UNIT_AGENT_LINK_FAKE_DAEMON_H_
