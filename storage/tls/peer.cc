#include "storage/tls/peer.h"

#include <openssl/err.h>

#include <algorithm>

#include "storage/base/status.h"
#include "storage/tls/openssl.h"

namespace umbra::tls {
namespace {

constexpr int kNapMilliseconds = 10;  // between looks at the socket while connecting
constexpr unsigned char kAlpnHttp2[] = {2, 'h', '2'};

absl::StatusOr<ContextPtr> UncheckedClientContext() {
  ContextPtr context(SSL_CTX_new(TLS_client_method()));
  if (context == nullptr || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_alpn_protos(context.get(), kAlpnHttp2, sizeof(kAlpnHttp2)) != 0) {
    return OpenSslError("set up TLS");
  }
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
  return context;
}

absl::Status Unreachable(const std::string& address) {
  const std::string detail = base::MessageOf(OpenSslError("TLS handshake"));
  return base::Error(absl::StatusCode::kUnavailable, "PEER_UNREACHABLE", "nobody answers at {} in TLS ({})", address,
                     detail);
}

absl::Status Mismatch(std::string_view fingerprint, std::string_view why) {
  return base::Error(absl::StatusCode::kPermissionDenied, "AUTHORITY_FINGERPRINT_MISMATCH",
                     "{}; expected the daemon whose authority has the fingerprint {}", why, fingerprint);
}

// OK when `authority` is one and issued `leaf` as a server's certificate that is valid at `now`.
absl::Status CheckIssued(X509* authority, X509* leaf, absl::Time now, std::string_view fingerprint) {
  ASSIGN_OR_RETURN(const std::string problem, WhyNotIssued(authority, leaf, X509_PURPOSE_SSL_SERVER, now));
  if (problem.empty()) return absl::OkStatus();
  return Mismatch(fingerprint, fmt::format("the server's certificate doesn't pass: {}", problem));
}

}  // namespace

absl::StatusOr<std::vector<std::string>> FetchPeerChain(const std::string& address, absl::Duration timeout) {
  ASSIGN_OR_RETURN(const ContextPtr context, UncheckedClientContext());
  BioPtr bio(BIO_new_ssl_connect(context.get()));
  if (bio == nullptr) return OpenSslError("set up connection");
  BIO_set_conn_hostname(bio.get(), address.c_str());
  const int seconds = std::max<int>(1, static_cast<int>(absl::ToInt64Seconds(timeout)));
  if (BIO_do_connect_retry(bio.get(), seconds, kNapMilliseconds) != 1) return Unreachable(address);

  SSL* ssl = nullptr;
  BIO_get_ssl(bio.get(), &ssl);
  STACK_OF(X509)* chain = ssl == nullptr ? nullptr : SSL_get_peer_cert_chain(ssl);
  if (chain == nullptr || sk_X509_num(chain) == 0) return Unreachable(address);
  std::vector<std::string> pems;
  for (int i = 0; i < sk_X509_num(chain); ++i) {
    ASSIGN_OR_RETURN(std::string pem, WriteCertificate(sk_X509_value(chain, i)));
    pems.push_back(std::move(pem));
  }
  return pems;
}

absl::StatusOr<std::string> PickPinnedAuthority(const std::vector<std::string>& chain, std::string_view fingerprint,
                                                absl::Time now) {
  if (chain.empty()) return Mismatch(fingerprint, "the server sent no certificate");
  ASSIGN_OR_RETURN(const CertificatePtr leaf, ReadCertificate(chain.front()));
  for (const std::string& pem : chain) {
    ASSIGN_OR_RETURN(const CertificatePtr authority, ReadCertificate(pem));
    ASSIGN_OR_RETURN(const std::string found, FingerprintOf(authority.get()));
    if (found != fingerprint) continue;
    RETURN_IF_ERROR(CheckIssued(authority.get(), leaf.get(), now, fingerprint));
    return pem;
  }
  return Mismatch(fingerprint, "another authority vouches for the server");
}

absl::StatusOr<std::string> FetchPinnedAuthority(const std::string& address, std::string_view fingerprint,
                                                 absl::Time now, absl::Duration timeout) {
  ASSIGN_OR_RETURN(const std::vector<std::string> chain, FetchPeerChain(address, timeout));
  absl::StatusOr<std::string> authority = PickPinnedAuthority(chain, fingerprint, now);
  if (!authority.ok()) return base::Annotate(authority.status(), "{}", address);
  return authority;
}

}  // namespace umbra::tls
