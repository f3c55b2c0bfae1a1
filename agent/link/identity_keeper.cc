#include "agent/link/identity_keeper.h"

#include <algorithm>
#include <charconv>
#include <limits>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/tls/x509.h"

namespace umbra::link {
namespace {

// Of a certificate's life: two thirds, then a part of a twentieth that the certificate itself decides.
constexpr double kUsedUp = 2.0 / 3;
constexpr double kSpread = 1.0 / 20;
// Agents that are late, and connect together because their daemon was down for long, ask within this time; those with
// short certificates within a hundredth of their life.
constexpr absl::Duration kLateSpreadMax = absl::Minutes(1);
// Between requests: from "the daemon was busy" to "something is wrong for days, and there are months to put it right".
constexpr absl::Duration kFirstPauseMax = absl::Minutes(1);
constexpr absl::Duration kLastPauseMax = absl::Hours(6);

// 0 to 1, evenly over all certificates, and always the same for one: a restart of the agent draws no new lot.
double LotOf(const tls::CertificateInfo& info) {
  uint32_t number = 0;
  const std::string_view digits = std::string_view(info.fingerprint).substr(0, 8);
  std::from_chars(digits.data(), digits.data() + digits.size(), number, 16);
  return static_cast<double>(number) / std::numeric_limits<uint32_t>::max();
}

// Loaded identities have certificates that can be read.
tls::CertificateInfo InfoOf(const Identity& identity) {
  return tls::Inspect(identity.certificate_pem).value_or(tls::CertificateInfo());
}

}  // namespace

IdentityKeeper::IdentityKeeper(base::Filesystem& files, std::string data_dir, base::Clock& clock, base::Random& random,
                               Identities identities)
    : files_(files),
      data_dir_(std::move(data_dir)),
      clock_(clock),
      random_(random),
      shown_(std::move(identities.present)),
      other_(std::move(identities.before)) {
  absl::MutexLock lock(&mu_);
  PlanLocked();
}

IdentityKeeper::Shown IdentityKeeper::Current() {
  absl::MutexLock lock(&mu_);
  return {shown_, generation_};
}

int64_t IdentityKeeper::generation() {
  absl::MutexLock lock(&mu_);
  return generation_;
}

absl::Duration IdentityKeeper::LifeLocked() const {
  const tls::CertificateInfo info = InfoOf(shown_);
  return info.not_after - info.not_before;
}

void IdentityKeeper::PlanLocked() {
  const tls::CertificateInfo info = InfoOf(shown_);
  const absl::Duration life = LifeLocked();
  ask_at_ = info.not_before + life * (kUsedUp + kSpread * LotOf(info));
  backoff_.emplace(random_, transfer::Backoff::Limits{.first = std::min(kFirstPauseMax, life / 60),
                                                      .last = std::min(kLastPauseMax, life / 20)});
  asked_key_pem_.clear();
}

void IdentityKeeper::OnConnected() {
  absl::MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  if (asked_key_pem_.empty() && ask_at_ > now) return;
  asked_key_pem_.clear();
  ask_at_ = now + std::min(kLateSpreadMax, LifeLocked() / 100) * random_.Fraction();
}

std::optional<agent::v1::CertificateRequest> IdentityKeeper::Ask() {
  absl::MutexLock lock(&mu_);
  const absl::Time now = clock_.Now();
  if (now < ask_at_) return std::nullopt;
  ask_at_ = now + backoff_->Next();
  absl::StatusOr<std::string> key = tls::GenerateKey();
  const absl::StatusOr<std::string> request = key.ok() ? tls::MakeCsr(*key, shown_.host_id) : key.status();
  if (!request.ok()) {
    base::Log("link")->warn("no new certificate asked for error=\"{}\"", base::Describe(request.status()));
    return std::nullopt;
  }
  asked_key_pem_ = *std::move(key);
  base::Log("link")->info("new certificate asked for host={} present_until=\"{}\"", shown_.host_id,
                          absl::FormatTime(InfoOf(shown_).not_after, absl::UTCTimeZone()));
  agent::v1::CertificateRequest message;
  message.set_certificate_request_pem(*request);
  return message;
}

absl::StatusOr<Identity> IdentityKeeper::CheckAndStore(const agent::v1::Certificate& certificate,
                                                       const std::string& key_pem, const Identity& present) {
  if (certificate.certificate_pem().empty()) {
    return base::MakeError(absl::StatusCode::kUnavailable, certificate.problem().reason(),
                           certificate.problem().message());
  }
  if (key_pem.empty()) {
    return base::MakeError(absl::StatusCode::kFailedPrecondition, "CERTIFICATE_INVALID", "nobody asked for it");
  }
  // The authority of the enrolment stays the root, whatever the answer calls one.
  Identity renewed = present;
  renewed.key_pem = key_pem;
  renewed.certificate_pem = certificate.certificate_pem();
  RETURN_IF_ERROR(tls::CheckKeyMatches(renewed.certificate_pem, renewed.key_pem));
  RETURN_IF_ERROR(tls::CheckClientCertificate(renewed.certificate_pem, present.authority_pem, clock_.Now()));
  ASSIGN_OR_RETURN(const tls::CertificateInfo info, tls::Inspect(renewed.certificate_pem));
  if (info.common_name != present.host_id) {
    return base::MakeError(absl::StatusCode::kFailedPrecondition, "CERTIFICATE_INVALID", "it names another host");
  }
  RETURN_IF_ERROR(base::Annotate(SaveRenewedIdentity(files_, data_dir_, renewed, present), "store it"));
  return renewed;
}

void IdentityKeeper::OnCertificate(const agent::v1::Certificate& certificate) {
  std::string key_pem;
  Identity present;
  {
    absl::MutexLock lock(&mu_);
    key_pem.swap(asked_key_pem_);
    present = shown_;
  }
  absl::StatusOr<Identity> renewed = CheckAndStore(certificate, key_pem, present);
  if (!renewed.ok()) {
    base::Log("link")->warn("no new certificate, asking again later error=\"{}\"", base::Describe(renewed.status()));
    return;
  }
  absl::MutexLock lock(&mu_);
  other_ = std::move(present);
  shown_ = *std::move(renewed);
  ++generation_;
  PlanLocked();
  base::Log("link")->info("new certificate host={} until=\"{}\"", shown_.host_id,
                          absl::FormatTime(InfoOf(shown_).not_after, absl::UTCTimeZone()));
}

void IdentityKeeper::OnRefused(int64_t generation) {
  absl::MutexLock lock(&mu_);
  if (generation != generation_ || !other_ || InfoOf(*other_).not_after <= clock_.Now()) return;
  std::swap(shown_, *other_);
  ++generation_;
  PlanLocked();
  base::Log("link")->warn("certificate refused, the other one is tried host={} serial={}", shown_.host_id,
                          InfoOf(shown_).serial);
}

}  // namespace umbra::link
