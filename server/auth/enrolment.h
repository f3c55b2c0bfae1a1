// How a machine becomes a host: a one-time token, made here and carried by a person, is traded for a certificate.
#ifndef UMBRA_SERVER_AUTH_ENROLMENT_H_
#define UMBRA_SERVER_AUTH_ENROLMENT_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/catalog/catalog.h"
#include "storage/tls/certificate_authority.h"

namespace umbra::auth {

inline constexpr absl::Duration kTokenLifetimeDefault = absl::Hours(1);
inline constexpr absl::Duration kTokenLifetimeMax = absl::Hours(24 * 7);
inline constexpr size_t kHostPatternSizeMax = 255;
inline constexpr size_t kHostNameSizeMax = 253;

struct NewToken {
  std::string text;  // secret and fingerprint; shown once, only a hash of the secret is kept
  absl::Time expire_time;
};

struct EnrolledHost {
  catalog::HostId id;
  std::string certificate_pem;
};

// Thread-safe. What it is given outlives it. Calls block for a read or a synced write of the catalog.
class Enrolment {
 public:
  // Certificates are good for `lifetime`.
  Enrolment(catalog::Catalog& catalog, base::Clock& clock, base::Random& random, tls::CertificateAuthority& authority,
            absl::Duration lifetime = tls::kAgentLifetime)
      : catalog_(catalog), clock_(clock), random_(random), authority_(authority), lifetime_(lifetime) {}

  // A token that one host may use within `lifetime` (zero: kTokenLifetimeDefault) if its name matches `host_pattern`
  // (shell-style: * ? [a-z]; empty: any). Durable when OK.
  // INVALID_ARGUMENT / INVALID_REQUEST: lifetime negative or above kTokenLifetimeMax, pattern too long.
  absl::StatusOr<NewToken> CreateToken(absl::Duration lifetime, const std::string& host_pattern);

  // Uses the token up and registers a host with a certificate for the key in `csr_pem`: both or neither, durably.
  // A name that is enrolled already keeps its id, and with it its machines, jobs and recovery points; its certificate
  // before is refused from now on. So a token that isn't bound to a pattern may replace any host's identity.
  // A stranger learns nothing from the errors about tokens that exist.
  // PERMISSION_DENIED / ENROLMENT_TOKEN_INVALID    wrong, used or expired.
  // PERMISSION_DENIED / ENROLMENT_HOST_MISMATCH    token fine, but not for this name; it stays usable.
  // INVALID_ARGUMENT  / CERTIFICATE_REQUEST_INVALID, INVALID_REQUEST (host name); the token stays usable.
  absl::StatusOr<EnrolledHost> Enrol(std::string_view secret, std::string_view csr_pem, const std::string& host_name);

  // The authority's certificate, PEM, for the new host to trust.
  const std::string& authority_pem() const { return authority_.certificate_pem(); }

 private:
  // The id of the host that has this name; a new one when none has.
  absl::StatusOr<catalog::HostId> IdFor(const std::string& host_name);
  absl::Status Register(catalog::Host host, const std::string& token_hash);

  catalog::Catalog& catalog_;
  base::Clock& clock_;
  base::Random& random_;
  tls::CertificateAuthority& authority_;
  const absl::Duration lifetime_;
};

}  // namespace umbra::auth

#endif  // UMBRA_SERVER_AUTH_ENROLMENT_H_
