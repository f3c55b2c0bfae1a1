#include "storage/tls/certificate_authority.h"

#include <openssl/bn.h>
#include <openssl/err.h>
#include <openssl/pem.h>

#include <algorithm>
#include <span>

#include "storage/base/status.h"
#include "storage/tls/openssl.h"
#include "storage/tls/x509.h"

namespace umbra::tls {
namespace {

constexpr char kFileName[] = "authority.pem";
constexpr char kAuthorityCommonName[] = "Umbra certificate authority";
constexpr uint64_t kAuthorityFileSizeMax = 64 * base::kKiB;
constexpr size_t kSerialSize = 16;  // 128 random bits: never seen twice, and unpredictable as CAs should be

struct Extension {
  int nid;
  std::string value;  // OpenSSL's configuration syntax, see x509v3_config(5)
};

struct CertificatePlan {
  std::string common_name;
  absl::Duration lifetime;
  std::vector<Extension> extensions;
};

absl::Status SetSerial(X509* certificate, base::Random& random) {
  std::byte bytes[kSerialSize];
  random.Fill(bytes);
  bytes[0] &= std::byte{0x7f};  // a positive number
  bytes[0] |= std::byte{0x40};  // of the full length
  std::unique_ptr<BIGNUM, Freer<BN_free>> number(
      BN_bin2bn(reinterpret_cast<const unsigned char*>(bytes), kSerialSize, nullptr));
  if (number == nullptr || BN_to_ASN1_INTEGER(number.get(), X509_get_serialNumber(certificate)) == nullptr) {
    return OpenSslError("set serial number");
  }
  return absl::OkStatus();
}

absl::Status SetValidity(X509* certificate, absl::Time now, absl::Duration lifetime) {
  const absl::Duration skew = std::min(kClockSkew, lifetime / 10);
  if (ASN1_TIME_set(X509_getm_notBefore(certificate), absl::ToTimeT(now - skew)) == nullptr ||
      ASN1_TIME_set(X509_getm_notAfter(certificate), absl::ToTimeT(now + lifetime)) == nullptr) {
    return OpenSslError("set validity");
  }
  return absl::OkStatus();
}

absl::Status SetCommonName(X509* certificate, std::string_view name) {
  const auto* text = reinterpret_cast<const unsigned char*>(name.data());
  if (X509_NAME_add_entry_by_NID(X509_get_subject_name(certificate), NID_commonName, MBSTRING_UTF8, text,
                                 static_cast<int>(name.size()), -1, 0) != 1) {
    return OpenSslError("set common name");
  }
  return absl::OkStatus();
}

absl::Status AddExtensions(X509* certificate, X509* issuer, const std::vector<Extension>& extensions) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  for (const Extension& extension : extensions) {
    ExtensionPtr made(X509V3_EXT_conf_nid(nullptr, &context, extension.nid, extension.value.c_str()));
    if (made == nullptr || X509_add_ext(certificate, made.get(), -1) != 1) return OpenSslError("add extension");
  }
  return absl::OkStatus();
}

// `issuer` may be null: the certificate then signs itself.
absl::StatusOr<CertificatePtr> MakeCertificate(const CertificatePlan& plan, EVP_PKEY* subject_key, X509* issuer,
                                               EVP_PKEY* issuer_key, absl::Time now, base::Random& random) {
  CertificatePtr certificate(X509_new());
  if (certificate == nullptr) return OpenSslError("make certificate");
  X509* const raw = certificate.get();
  if (issuer == nullptr) issuer = raw;
  RETURN_IF_ERROR(SetSerial(raw, random));
  RETURN_IF_ERROR(SetValidity(raw, now, plan.lifetime));
  RETURN_IF_ERROR(SetCommonName(raw, plan.common_name));
  if (X509_set_version(raw, X509_VERSION_3) != 1 || X509_set_pubkey(raw, subject_key) != 1 ||
      X509_set_issuer_name(raw, X509_get_subject_name(issuer)) != 1) {
    return OpenSslError("make certificate");
  }
  RETURN_IF_ERROR(AddExtensions(raw, issuer, plan.extensions));
  if (X509_sign(raw, issuer_key, EVP_sha256()) == 0) return OpenSslError("sign certificate");
  return certificate;
}

CertificatePlan AuthorityPlan() {
  return {kAuthorityCommonName,
          kAuthorityLifetime,
          {{NID_basic_constraints, "critical,CA:TRUE,pathlen:0"},
           {NID_key_usage, "critical,keyCertSign,cRLSign"},
           {NID_subject_key_identifier, "hash"}}};
}

CertificatePlan LeafPlan(std::string common_name, absl::Duration lifetime, const std::string& usage) {
  return {std::move(common_name),
          lifetime,
          {{NID_basic_constraints, "critical,CA:FALSE"},
           {NID_key_usage, "critical,digitalSignature"},
           {NID_ext_key_usage, usage},
           {NID_subject_key_identifier, "hash"},
           {NID_authority_key_identifier, "keyid"}}};
}

bool IsIpAddress(const std::string& name) {
  std::unique_ptr<ASN1_OCTET_STRING, Freer<ASN1_OCTET_STRING_free>> address(a2i_IPADDRESS(name.c_str()));
  ERR_clear_error();
  return address != nullptr;
}

bool IsDnsName(const std::string& name) {
  return !name.empty() && name.size() <= 253 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '.' ||
           c == '_';
  });
}

// "DNS:a,IP:b": every name was checked, so none can smuggle another one in behind a comma.
absl::StatusOr<std::string> SubjectAltNames(std::vector<std::string> names) {
  names.insert(names.end(), {std::string(kServerName), "localhost", "127.0.0.1", "::1"});
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  std::string text;
  for (const std::string& name : names) {
    const bool ip = IsIpAddress(name);
    if (!ip && !IsDnsName(name)) {
      return base::Error(absl::StatusCode::kInvalidArgument, "CERTIFICATE_INVALID",
                         "'{}' is neither a DNS name nor an IP address", name);
    }
    text += fmt::format("{}{}:{}", text.empty() ? "" : ",", ip ? "IP" : "DNS", name);
  }
  return text;
}

absl::Status InvalidRequest(std::string_view why) {
  ERR_clear_error();
  return base::Error(absl::StatusCode::kInvalidArgument, "CERTIFICATE_REQUEST_INVALID", "certificate request: {}", why);
}

// Our agents only make P-256 keys; other kinds are refused before OpenSSL computes with them.
bool IsP256(EVP_PKEY* key) {
  char group[32] = {};
  size_t size = 0;
  return key != nullptr && EVP_PKEY_get_base_id(key) == EVP_PKEY_EC &&
         EVP_PKEY_get_group_name(key, group, sizeof(group), &size) == 1 && std::string_view(group) == "prime256v1";
}

absl::StatusOr<RequestPtr> ReadRequest(std::string_view pem) {
  if (pem.size() > kCsrSizeMax) return InvalidRequest(fmt::format("larger than {} bytes", kCsrSizeMax));
  BioPtr bio(BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())));
  RequestPtr request(PEM_read_bio_X509_REQ(bio.get(), nullptr, nullptr, nullptr));
  if (request == nullptr) return InvalidRequest("not a PKCS#10 request in PEM form");
  EVP_PKEY* const key = X509_REQ_get0_pubkey(request.get());
  if (!IsP256(key)) return InvalidRequest("the key must be EC P-256");
  if (X509_REQ_verify(request.get(), key) != 1) return InvalidRequest("its signature is wrong");
  return request;
}

bool IsHostId(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  });
}

}  // namespace

struct CertificateAuthority::Impl {
  KeyPtr key;
  CertificatePtr certificate;
};

namespace {

absl::Status Damaged(const std::string& path, const absl::Status& why) {
  return base::Error(absl::StatusCode::kDataLoss, "AUTHORITY_DAMAGED",
                     "{}: {}. Restore the file from a backup; or remove it and enrol every agent again", path,
                     base::MessageOf(why));
}

absl::Status CreateFile(base::Filesystem& filesystem, base::Clock& clock, base::Random& random,
                        const std::string& folder, const std::string& path) {
  ASSIGN_OR_RETURN(const KeyPtr key, GenerateKeyObject());
  ASSIGN_OR_RETURN(const CertificatePtr certificate,
                   MakeCertificate(AuthorityPlan(), key.get(), nullptr, key.get(), clock.Now(), random));
  ASSIGN_OR_RETURN(const std::string key_pem, WriteKey(key.get()));
  ASSIGN_OR_RETURN(const std::string certificate_pem, WriteCertificate(certificate.get()));
  RETURN_IF_ERROR(filesystem.MakeDirectories(folder));
  return filesystem.WriteFileAtomic(path, key_pem + certificate_pem);
}

}  // namespace

CertificateAuthority::CertificateAuthority(std::unique_ptr<Impl> impl, base::Clock& clock, base::Random& random)
    : impl_(std::move(impl)), clock_(clock), random_(random) {}

CertificateAuthority::~CertificateAuthority() = default;

std::string CertificateAuthority::PathIn(const std::string& folder) {
  return folder + "/" + kFileName;
}

absl::StatusOr<std::unique_ptr<CertificateAuthority>> CertificateAuthority::Open(base::Filesystem& filesystem,
                                                                                 base::Clock& clock,
                                                                                 base::Random& random,
                                                                                 const std::string& folder) {
  const std::string path = PathIn(folder);
  ASSIGN_OR_RETURN(const bool exists, filesystem.Exists(path));
  if (!exists) {
    RETURN_IF_ERROR(base::Annotate(CreateFile(filesystem, clock, random, folder, path), "create {}", path));
  }
  ASSIGN_OR_RETURN(const std::string text, filesystem.ReadFile(path, kAuthorityFileSizeMax));
  if (const absl::Status match = CheckKeyMatches(text, text); !match.ok()) return Damaged(path, match);

  auto impl = std::make_unique<Impl>();
  ASSIGN_OR_RETURN(impl->key, ReadKey(text));
  ASSIGN_OR_RETURN(impl->certificate, ReadCertificate(text));
  std::unique_ptr<CertificateAuthority> authority(new CertificateAuthority(std::move(impl), clock, random));
  ASSIGN_OR_RETURN(authority->certificate_pem_, WriteCertificate(authority->impl_->certificate.get()));
  ASSIGN_OR_RETURN(authority->fingerprint_, FingerprintOf(authority->impl_->certificate.get()));
  return authority;
}

absl::StatusOr<ServerCertificate> CertificateAuthority::IssueServerCertificate(const std::vector<std::string>& names) {
  CertificatePlan plan = LeafPlan(std::string(kServerName), kServerLifetime, "serverAuth");
  ASSIGN_OR_RETURN(std::string alt_names, SubjectAltNames(names));
  plan.extensions.push_back({NID_subject_alt_name, std::move(alt_names)});
  ASSIGN_OR_RETURN(const KeyPtr key, GenerateKeyObject());
  ASSIGN_OR_RETURN(const CertificatePtr certificate,
                   MakeCertificate(plan, key.get(), impl_->certificate.get(), impl_->key.get(), clock_.Now(), random_));
  ServerCertificate issued;
  ASSIGN_OR_RETURN(issued.key_pem, WriteKey(key.get()));
  ASSIGN_OR_RETURN(issued.chain_pem, WriteCertificate(certificate.get()));
  issued.chain_pem += certificate_pem_;
  return issued;
}

absl::StatusOr<std::string> CertificateAuthority::SignAgentCertificate(std::string_view csr_pem,
                                                                       std::string_view host_id,
                                                                       absl::Duration lifetime) {
  if (!IsHostId(host_id)) {
    return base::Error(absl::StatusCode::kInvalidArgument, "CERTIFICATE_INVALID", "'{}' is not a host id", host_id);
  }
  ASSIGN_OR_RETURN(const RequestPtr request, ReadRequest(csr_pem));
  ASSIGN_OR_RETURN(
      const CertificatePtr certificate,
      MakeCertificate(LeafPlan(std::string(host_id), lifetime, "clientAuth"), X509_REQ_get0_pubkey(request.get()),
                      impl_->certificate.get(), impl_->key.get(), clock_.Now(), random_));
  return WriteCertificate(certificate.get());
}

}  // namespace umbra::tls
