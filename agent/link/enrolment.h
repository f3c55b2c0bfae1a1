// Trades a one-time token for this agent's identity.
#ifndef UMBRA_AGENT_LINK_ENROLMENT_H_
#define UMBRA_AGENT_LINK_ENROLMENT_H_

#include <string>

#include "absl/status/statusor.h"
#include "agent/link/identity.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"

namespace umbra::link {

struct EnrolOptions {
  std::string token;      // "<secret>.<fingerprint>", as `umbra host token` printed it
  std::string address;    // enrolment port of the daemon, "host:port"
  std::string host_name;  // of this machine
  std::string data_dir;   // gets the identity
};

// Finds the daemon's authority by the token's fingerprint, before the secret is sent anywhere; makes a key, which never
// leaves this machine; stores the identity. Blocks up to about half a minute. Replaces an older identity.
//
// Errors, each with what to do in its text: INVALID_ARGUMENT / ENROLMENT_TOKEN_INVALID no token at all;
// PERMISSION_DENIED / ENROLMENT_TOKEN_INVALID wrong, used or expired, or ENROLMENT_HOST_MISMATCH;
// PERMISSION_DENIED / AUTHORITY_FINGERPRINT_MISMATCH someone else answers, or the token is another daemon's: nothing was
// sent; UNAVAILABLE / PEER_UNREACHABLE nobody answers; those of base::Filesystem (the token is used up then).
absl::StatusOr<Identity> Enrol(base::Filesystem& files, base::Clock& clock, const EnrolOptions& options);

}  // namespace umbra::link

#endif  // UMBRA_AGENT_LINK_ENROLMENT_H_
