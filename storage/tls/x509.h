// Keys, certificate requests and certificates as PEM text. What both ends of a link need; no policy.
//
// Errors: INVALID_ARGUMENT / CERTIFICATE_INVALID for text that isn't what it should be; INTERNAL / INTERNAL when
// OpenSSL itself fails (out of entropy, out of memory). Everything here is thread-safe.
#ifndef UMBRA_STORAGE_TLS_X509_H_
#define UMBRA_STORAGE_TLS_X509_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace umbra::tls {

// Name that every daemon's server certificate carries beside its addresses. An agent expects this name instead of the
// address it dialled, so a daemon may move or sit behind NAT. Only our own authority can issue it: it signs agents for
// clientAuth alone.
inline constexpr std::string_view kServerName = "umbrad";

// A new EC P-256 private key, PKCS#8 PEM. The caller keeps it secret (mode 0600).
absl::StatusOr<std::string> GenerateKey();

// A request for `key_pem`, signed with it. `common_name` is only a hint, which our authority ignores: it may be empty,
// and what is beyond the 64 bytes that X.509 allows is cut off.
absl::StatusOr<std::string> MakeCsr(std::string_view key_pem, std::string_view common_name);

struct CertificateInfo {
  std::string common_name;  // of the subject
  std::string serial;       // lower-case hexadecimal
  std::string fingerprint;  // SHA-256 over the DER form, 64 lower-case hexadecimal characters
  absl::Time not_before;
  absl::Time not_after;
};

// Looks into the first certificate of `certificate_pem`. Checks no signature.
absl::StatusOr<CertificateInfo> Inspect(std::string_view certificate_pem);

// Inspect(...).fingerprint.
absl::StatusOr<std::string> Fingerprint(std::string_view certificate_pem);

// OK when the authority of `authority_pem` issued `certificate_pem` as a client's certificate and it is valid at `now`;
// FAILED_PRECONDITION / CERTIFICATE_INVALID otherwise.
absl::Status CheckClientCertificate(std::string_view certificate_pem, std::string_view authority_pem, absl::Time now);

// OK when `certificate_pem` holds the public half of `key_pem`; FAILED_PRECONDITION / CERTIFICATE_INVALID otherwise.
absl::Status CheckKeyMatches(std::string_view certificate_pem, std::string_view key_pem);

}  // namespace umbra::tls

#endif  // UMBRA_STORAGE_TLS_X509_H_
