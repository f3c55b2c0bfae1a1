// The text that a person carries from daemon to agent: "<secret>.<fingerprint of the daemon's authority>".
#ifndef UMBRA_STORAGE_TLS_ENROLMENT_TOKEN_H_
#define UMBRA_STORAGE_TLS_ENROLMENT_TOKEN_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace umbra::tls {

struct EnrolmentToken {
  std::string secret;       // 32 random bytes, 64 lower-case hexadecimal characters
  std::string fingerprint;  // SHA-256 of the authority's certificate, 64 lower-case hexadecimal characters
};

std::string FormatEnrolmentToken(const EnrolmentToken& token);

// INVALID_ARGUMENT / ENROLMENT_TOKEN_INVALID for anything else. White space around it is ignored.
absl::StatusOr<EnrolmentToken> ParseEnrolmentToken(std::string_view text);

}  // namespace umbra::tls

#endif  // UMBRA_STORAGE_TLS_ENROLMENT_TOKEN_H_
