// Target: what a stranger can send to the enrolment port, and the token that a person types.
#include "storage/tls/certificate_authority.h"
#include "storage/tls/enrolment_token.h"
#include "storage/tls/x509.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>

#include <filesystem>

#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::fuzz {
namespace {

// An authority in a folder that goes with the process.
class Authority {
 public:
  Authority() {
    char name[] = "/tmp/umbra-fuzz-XXXXXX";
    Require(mkdtemp(name) != nullptr, "a temporary folder");
    folder_ = name;
    auto made = tls::CertificateAuthority::Open(fs_, clock_, random_, folder_);
    Require(made.ok(), "a new authority");
    authority_ = *std::move(made);
  }
  ~Authority() { std::filesystem::remove_all(folder_); }
  tls::CertificateAuthority& operator*() { return *authority_; }

 private:
  base::PosixFilesystem fs_;
  base::SystemClock clock_;
  base::SystemRandom random_;
  std::string folder_;
  std::unique_ptr<tls::CertificateAuthority> authority_;
};

}  // namespace

std::vector<std::string> Seeds() {
  const std::string key = *tls::GenerateKey();
  return {"0" + *tls::MakeCsr(key, "host"),
          "1" + tls::FormatEnrolmentToken({std::string(64, 'a'), std::string(64, '0')})};
}

void TestOneInput(std::string_view input) {
  static Authority authority;
  if (input.empty()) return;
  if (input[0] % 2 == 0) {
    const auto certificate = (*authority).SignAgentCertificate(input.substr(1), "host-1");
    if (!certificate.ok()) return;
    const auto info = tls::Inspect(*certificate);
    Require(info.ok() && info->common_name == "host-1", "a signed certificate names the host that the daemon chose");
  } else {
    const auto token = tls::ParseEnrolmentToken(input.substr(1));
    if (!token.ok()) return;
    Require(token->secret.size() == 64 && token->fingerprint.size() == 64, "an accepted token has both parts");
  }
}

}  // namespace umbra::fuzz
