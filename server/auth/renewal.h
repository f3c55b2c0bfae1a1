// How a host keeps its identity: over its live link it gets a new certificate before the present one ends.
#ifndef UMBRA_SERVER_AUTH_RENEWAL_H_
#define UMBRA_SERVER_AUTH_RENEWAL_H_

#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"
#include "storage/tls/certificate_authority.h"

namespace umbra::auth {

// Thread-safe. What it is given outlives it.
class Renewal {
 public:
  // New certificates are good for `lifetime`.
  Renewal(catalog::Catalog& catalog, base::Clock& clock, tls::CertificateAuthority& authority, absl::Duration lifetime)
      : catalog_(catalog), clock_(clock), authority_(authority), lifetime_(lifetime) {}

  // A certificate for the key in `csr_pem`, in the name of `host` whatever the request says. It is good from now on,
  // and so is the one that the host has, until the new one is used for the first time (AuthenticateHost). An earlier
  // new one that wasn't used is refused from now on: the host that asks again hasn't got it. Durable when OK.
  //
  // `link_fingerprint` is that of the certificate that the link was opened with. A link outlives its certificate: who
  // was removed, or enrolled anew meanwhile, gets nothing by way of an old link.
  //
  // UNAUTHENTICATED  / UNAUTHENTICATED              the host is gone, or that certificate is refused by now: end the
  // link. INVALID_ARGUMENT / CERTIFICATE_REQUEST_INVALID
  absl::StatusOr<std::string> Renew(const catalog::HostId& host, const std::string& link_fingerprint,
                                    std::string_view csr_pem);

  // The authority's certificate, PEM.
  const std::string& authority_pem() const { return authority_.certificate_pem(); }

 private:
  catalog::Catalog& catalog_;
  base::Clock& clock_;
  tls::CertificateAuthority& authority_;
  const absl::Duration lifetime_;
};

}  // namespace umbra::auth

#endif  // UMBRA_SERVER_AUTH_RENEWAL_H_
