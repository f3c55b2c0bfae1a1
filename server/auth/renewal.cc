#include "server/auth/renewal.h"

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/tls/x509.h"

namespace umbra::auth {
namespace {

absl::Status Refused(std::string_view why) {
  return base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "no new certificate: {}", why);
}

absl::StatusOr<catalog::Host> HostOfLink(const catalog::Stores& stores, const catalog::HostId& id,
                                         const std::string& link_fingerprint) {
  auto host = stores.hosts.Get(id);
  if (absl::IsNotFound(host.status())) return Refused("this host was removed");
  RETURN_IF_ERROR(host.status());
  const bool good =
      link_fingerprint == host->certificate_fingerprint || link_fingerprint == host->next_certificate_fingerprint;
  if (link_fingerprint.empty() || !good)
    return Refused("the link was opened with a certificate that is refused by now; connect again");
  return host;
}

}  // namespace

absl::StatusOr<std::string> Renewal::Renew(const catalog::HostId& host, const std::string& link_fingerprint,
                                           std::string_view csr_pem) {
  // Looked at twice: nothing is signed for a stranger, and the answer counts for the moment of the writing.
  RETURN_IF_ERROR(
      catalog_.Read([&](const catalog::Stores& stores) { return HostOfLink(stores, host, link_fingerprint); })
          .status());
  ASSIGN_OR_RETURN(const std::string pem, authority_.SignAgentCertificate(csr_pem, host.value, lifetime_));
  ASSIGN_OR_RETURN(const tls::CertificateInfo info, tls::Inspect(pem));
  const std::string until = absl::FormatTime("%Y-%m-%d %H:%M:%S UTC", info.not_after, absl::UTCTimeZone());
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::Host row, HostOfLink(stores, host, link_fingerprint));
    RETURN_IF_ERROR(stores.hosts.SetNextCertificate(host, info.serial, info.fingerprint));
    catalog::Event event;
    event.time = clock_.Now();
    event.type = "HOST_CERTIFICATE_RENEWED";
    event.resource = "hosts/" + host.value;
    event.message = fmt::format("{} got a new certificate, good until {}; the one before is refused once it is used",
                                row.display_name, until);
    return stores.events.Append(event).status();
  }));
  base::Log("auth")->info("certificate renewed host={} serial={} until=\"{}\"", host, info.serial, until);
  return pem;
}

}  // namespace umbra::auth
