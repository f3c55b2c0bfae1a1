// Finding the daemon's certificate authority over an untrusted network, by a fingerprint that came another way.
#ifndef UMBRA_STORAGE_TLS_PEER_H_
#define UMBRA_STORAGE_TLS_PEER_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace umbra::tls {

// Connects to `address` ("host:port", "[v6]:port"), shakes hands (TLS 1.2 or newer) WITHOUT checking who answers, hangs
// up and returns the certificates that it sent, leaf first, PEM. Blocks up to `timeout` (whole seconds, at least one).
// The process must ignore SIGPIPE: OpenSSL writes to a socket that the other end may have closed.
// UNAVAILABLE / PEER_UNREACHABLE when nobody answers in TLS.
absl::StatusOr<std::vector<std::string>> FetchPeerChain(const std::string& address, absl::Duration timeout);

// The authority's certificate of the daemon at `address`: the one in its chain with the SHA-256 `fingerprint`, which
// must also be an authority and have issued the leaf for serverAuth. Only a daemon that holds that authority's
// signature passes; use the result as the only root of the connection that carries the secret. PERMISSION_DENIED /
// AUTHORITY_FINGERPRINT_MISMATCH: someone else answers there, or the token is from another daemon. `now` is the time at
// which the certificates must be valid.
absl::StatusOr<std::string> FetchPinnedAuthority(const std::string& address, std::string_view fingerprint,
                                                 absl::Time now, absl::Duration timeout);

// The same check for a chain that was fetched already.
absl::StatusOr<std::string> PickPinnedAuthority(const std::vector<std::string>& chain, std::string_view fingerprint,
                                                absl::Time now);

}  // namespace umbra::tls

#endif  // UMBRA_STORAGE_TLS_PEER_H_
