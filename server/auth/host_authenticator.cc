#include "server/auth/host_authenticator.h"

#include "storage/base/status.h"
#include "storage/tls/x509.h"

namespace umbra::auth {
namespace {

absl::Status Refused(std::string_view why) {
  return base::Error(absl::StatusCode::kUnauthenticated, "UNAUTHENTICATED", "the client certificate {}", why);
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
  return host->id;
}

}  // namespace umbra::auth
