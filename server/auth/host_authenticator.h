// Which host a client certificate belongs to.
#ifndef UMBRA_SERVER_AUTH_HOST_AUTHENTICATOR_H_
#define UMBRA_SERVER_AUTH_HOST_AUTHENTICATOR_H_

#include <string_view>

#include "absl/status/statusor.h"
#include "storage/catalog/catalog.h"

namespace umbra::auth {

// The host of `certificate_pem`, which TLS has verified against our authority already. Asks the catalog each time, so a
// revocation counts from the next call on. The first use of a renewed certificate (renewal.h) makes it the host's own:
// the one before is refused from then on. Thread-safe; blocks for one indexed read, and at such a first use for a
// synced write. UNAUTHENTICATED / UNAUTHENTICATED: no certificate, unknown, revoked, or its name isn't that of the
// host.
absl::StatusOr<catalog::HostId> AuthenticateHost(catalog::Catalog& catalog, std::string_view certificate_pem);

}  // namespace umbra::auth

#endif  // UMBRA_SERVER_AUTH_HOST_AUTHENTICATOR_H_
