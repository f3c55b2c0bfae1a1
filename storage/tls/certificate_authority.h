// The daemon's own certificate authority: makes the server's certificate and signs those of agents.
#ifndef UMBRA_STORAGE_TLS_CERTIFICATE_AUTHORITY_H_
#define UMBRA_STORAGE_TLS_CERTIFICATE_AUTHORITY_H_

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"

namespace umbra::tls {

// A request holds one P-256 key and a subject: 16 KiB is ten times that.
inline constexpr size_t kCsrSizeMax = 16 * 1024;
// The authority outlives the machines it vouches for; replacing it means enrolling every agent again.
inline constexpr absl::Duration kAuthorityLifetime = absl::Hours(24 * 365 * 20);
// Made anew at each start of the daemon, so this only has to be longer than a daemon stays up.
inline constexpr absl::Duration kServerLifetime = absl::Hours(24 * 365 * 3);
// An agent asks for its next one when two thirds are over: four months for a host that is off now and then.
inline constexpr absl::Duration kAgentLifetime = absl::Hours(24 * 365);
// Certificates start this much in the past, for machines whose clocks are behind ours; those of short lives a tenth.
inline constexpr absl::Duration kClockSkew = absl::Hours(1);

struct ServerCertificate {
  std::string key_pem;
  std::string
      chain_pem;  // the certificate, then the authority's, so that an enrolling agent can find and pin the latter
};

// Thread-safe.
class CertificateAuthority {
 public:
  // Loads "<folder>/authority.pem", or makes it when there is none. Key and certificate live in this one file (mode
  // 0600, replaced atomically), so an interrupted first start leaves either nothing or all of it. Errors: DATA_LOSS /
  // AUTHORITY_DAMAGED  the file is there but unusable; it is never replaced, because every agent would
  //                                        lose its daemon: restore it from a backup, or remove it and enrol again.
  //         those of base::Filesystem.
  static absl::StatusOr<std::unique_ptr<CertificateAuthority>> Open(base::Filesystem& filesystem, base::Clock& clock,
                                                                    base::Random& random, const std::string& folder);
  // The file in `folder`.
  static std::string PathIn(const std::string& folder);
  ~CertificateAuthority();
  CertificateAuthority(const CertificateAuthority&) = delete;
  CertificateAuthority& operator=(const CertificateAuthority&) = delete;

  const std::string& certificate_pem() const { return certificate_pem_; }
  // SHA-256 of the certificate, 64 lower-case hexadecimal characters.
  const std::string& fingerprint() const { return fingerprint_; }

  // A new key and a serverAuth certificate for `names` (DNS names and IP addresses), kServerName and the loopback
  // names. INVALID_ARGUMENT / CERTIFICATE_INVALID for a name that is neither.
  absl::StatusOr<ServerCertificate> IssueServerCertificate(const std::vector<std::string>& names);

  // A clientAuth certificate for the key in `csr_pem` with the common name `host_id` ([a-z0-9-], 1 to 64 characters),
  // good for `lifetime` from now on. Nothing of the request but its key is used.
  // INVALID_ARGUMENT / CERTIFICATE_REQUEST_INVALID: larger than kCsrSizeMax, not a request, not P-256, signature wrong.
  absl::StatusOr<std::string> SignAgentCertificate(std::string_view csr_pem, std::string_view host_id,
                                                   absl::Duration lifetime = kAgentLifetime);

 private:
  struct Impl;
  CertificateAuthority(std::unique_ptr<Impl> impl, base::Clock& clock, base::Random& random);

  const std::unique_ptr<Impl> impl_;
  base::Clock& clock_;
  base::Random& random_;
  std::string certificate_pem_;  // constant after Open
  std::string fingerprint_;      // constant after Open
};

}  // namespace umbra::tls

#endif  // UMBRA_STORAGE_TLS_CERTIFICATE_AUTHORITY_H_
