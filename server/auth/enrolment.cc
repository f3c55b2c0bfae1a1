#include "server/auth/enrolment.h"

#include <algorithm>
#include <cstddef>

#include "storage/base/bytes.h"
#include "storage/base/invalid.h"
#include "storage/base/log.h"
#include "storage/base/sha256.h"
#include "storage/base/status.h"
#include "storage/tls/enrolment_token.h"
#include "storage/tls/x509.h"

namespace umbra::auth {
namespace {

using base::Invalid;

constexpr size_t kSecretSize = 32;
constexpr int kHostPageSize = 500;

std::string HashOf(std::string_view secret) {
  return base::ToHex(base::Sha256(secret));
}

absl::Status CheckHostName(const std::string& name) {
  const bool fine =
      !name.empty() && name.size() <= kHostNameSizeMax && std::all_of(name.begin(), name.end(), [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
               c == '_';
      });
  return fine ? absl::OkStatus() : Invalid("host_name: not a host name (letters, digits, '.', '-', '_')");
}

absl::Status TokenRefused() {
  return base::Error(absl::StatusCode::kPermissionDenied, "ENROLMENT_TOKEN_INVALID",
                     "the enrolment token is wrong, was used or has expired");
}

}  // namespace

absl::StatusOr<NewToken> Enrolment::CreateToken(absl::Duration lifetime, const std::string& host_pattern) {
  if (lifetime == absl::ZeroDuration()) lifetime = kTokenLifetimeDefault;
  if (lifetime < absl::ZeroDuration() || lifetime > kTokenLifetimeMax) {
    return Invalid("ttl: must be between 0 and {}", absl::FormatDuration(kTokenLifetimeMax));
  }
  if (host_pattern.size() > kHostPatternSizeMax) {
    return Invalid("host_pattern: longer than {} characters", kHostPatternSizeMax);
  }
  const std::string secret = random_.Hex(kSecretSize);
  catalog::EnrolmentToken token;
  token.hash = HashOf(secret);
  token.host_pattern = host_pattern;
  token.create_time = clock_.Now();
  token.expire_time = token.create_time + lifetime;
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    RETURN_IF_ERROR(stores.tokens.Prune(token.create_time - kTokenLifetimeMax));
    return stores.tokens.Insert(token);
  }));
  return NewToken{tls::FormatEnrolmentToken({secret, authority_.fingerprint()}), token.expire_time};
}

absl::StatusOr<EnrolledHost> Enrolment::Enrol(std::string_view secret, std::string_view csr_pem,
                                              const std::string& host_name) {
  const std::string hash = HashOf(secret);
  // Strangers are turned away before anything is computed or written for them; Register decides for good.
  const auto known = catalog_.Read([&](const catalog::Stores& stores) { return stores.tokens.Get(hash); });
  if (!known.ok()) return absl::IsNotFound(known.status()) ? TokenRefused() : known.status();
  RETURN_IF_ERROR(CheckHostName(host_name));

  EnrolledHost enrolled;
  ASSIGN_OR_RETURN(enrolled.id, IdFor(host_name));
  ASSIGN_OR_RETURN(enrolled.certificate_pem, authority_.SignAgentCertificate(csr_pem, enrolled.id.value, lifetime_));
  ASSIGN_OR_RETURN(const tls::CertificateInfo info, tls::Inspect(enrolled.certificate_pem));
  catalog::Host host;
  host.id = enrolled.id;
  host.display_name = host_name;
  host.certificate_serial = info.serial;
  host.certificate_fingerprint = info.fingerprint;
  host.create_time = clock_.Now();
  host.last_seen_time = host.create_time;
  RETURN_IF_ERROR(Register(host, hash));
  base::Log("auth")->info("host enrolled host={} name={} serial={}", host.id, host_name, info.serial);
  return enrolled;
}

absl::StatusOr<catalog::HostId> Enrolment::IdFor(const std::string& host_name) {
  catalog::ListOptions<catalog::HostId> options{.page_size = kHostPageSize};
  do {
    ASSIGN_OR_RETURN(const auto page,
                     catalog_.Read([&](const catalog::Stores& stores) { return stores.hosts.List(options); }));
    for (const catalog::Host& host : page.items) {
      if (host.display_name == host_name) return host.id;
    }
    options.after_key = page.next_key;
  } while (options.after_key);
  return catalog::HostId(random_.Uuid());
}

absl::Status Enrolment::Register(catalog::Host host, const std::string& token_hash) {
  return catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    RETURN_IF_ERROR(stores.tokens.Consume(token_hash, host.display_name, host.create_time));
    catalog::Event event;
    event.time = host.create_time;
    event.type = "HOST_ENROLLED";
    event.resource = "hosts/" + host.id.value;
    event.message = fmt::format("{} enrolled", host.display_name);
    if (auto known = stores.hosts.Get(host.id); known.ok()) {
      known->certificate_serial = host.certificate_serial;
      known->certificate_fingerprint = host.certificate_fingerprint;
      event.message += " again; its certificate before is refused";
      RETURN_IF_ERROR(stores.hosts.Update(*known));
      RETURN_IF_ERROR(stores.hosts.DropNextCertificate(host.id));
    } else {
      RETURN_IF_ERROR(stores.hosts.Insert(host));
    }
    return stores.events.Append(event).status();
  });
}

}  // namespace umbra::auth
