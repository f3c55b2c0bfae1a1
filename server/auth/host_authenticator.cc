#include "server/auth/host_authenticator.h"

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/tls/x509.h"

namespace umbra::auth {
namespace {

absl::Status Refused(std::string_view why) {
  return base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "the client certificate {}", why);
}

// A catalog that can't be written keeps nobody out: the next use tries again.
void TakeIntoUse(catalog::Catalog& catalog, const catalog::HostId& host, const tls::CertificateInfo& info) {
  bool used = false;
  const absl::Status s = catalog.Write([&](catalog::Stores& stores) -> absl::Status {
    ASSIGN_OR_RETURN(used, stores.hosts.UseNextCertificate(host, info.fingerprint));
    return absl::OkStatus();
  });
  if (!s.ok()) {
    base::Log("auth")->warn("new certificate not taken into use host={} error={}", host, base::Describe(s));
  } else if (used) {
    base::Log("auth")->info("new certificate in use, the one before is refused host={} serial={}", host, info.serial);
  }
}

}  // namespace

absl::StatusOr<catalog::HostId> AuthenticateHost(catalog::Catalog& catalog, std::string_view certificate_pem) {
  const auto info = tls::Inspect(certificate_pem);
  if (!info.ok()) return Refused("is missing or unreadable");
  const auto host = catalog.Read([&](const catalog::Stores& stores) -> absl::StatusOr<catalog::Host> {
    return stores.hosts.FindByFingerprint(info->fingerprint);
  });
  if (!host.ok()) return absl::IsNotFound(host.status()) ? Refused("belongs to no enrolled host") : host.status();
  if (host->revoked) return Refused("was revoked");
  if (host->id.value != info->common_name) return Refused("names another host");
  if (info->fingerprint != host->certificate_fingerprint) TakeIntoUse(catalog, host->id, *info);
  return host->id;
}

}  // namespace umbra::auth
