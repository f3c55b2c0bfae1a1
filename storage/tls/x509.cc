#include "storage/tls/x509.h"

#include <openssl/err.h>
#include <openssl/pem.h>

#include <ctime>

#include "storage/base/bytes.h"
#include "storage/base/status.h"
#include "storage/tls/openssl.h"

namespace umbra::tls {
namespace {

constexpr size_t kCommonNameSizeMax = 64;  // RFC 5280, ub-common-name

absl::Status InvalidPem(std::string_view what) {
  ERR_clear_error();
  return base::Error(absl::StatusCode::kInvalidArgument, "CERTIFICATE_INVALID", "not a usable {} in PEM form", what);
}

BioPtr ReadOnlyBio(std::string_view text) {
  return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

std::string BioText(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

absl::Time ToTime(const ASN1_TIME* time) {
  std::tm tm = {};
  if (ASN1_TIME_to_tm(time, &tm) != 1) return absl::InfinitePast();
  return absl::FromTM(tm, absl::UTCTimeZone());
}

std::string CommonNameOf(X509* certificate) {
  char text[256] = {};
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, text, sizeof(text));
  return size < 0 ? std::string() : std::string(text, static_cast<size_t>(size));
}

std::string SerialOf(X509* certificate) {
  const ASN1_INTEGER* serial = X509_get0_serialNumber(certificate);
  return base::ToHex(
      std::as_bytes(std::span(ASN1_STRING_get0_data(serial), static_cast<size_t>(ASN1_STRING_length(serial)))));
}

bool AddCommonName(X509_REQ* request, std::string_view name) {
  if (name.empty()) return true;
  return X509_NAME_add_entry_by_NID(X509_REQ_get_subject_name(request), NID_commonName, V_ASN1_UTF8STRING,
                                    reinterpret_cast<const unsigned char*>(name.data()), static_cast<int>(name.size()),
                                    -1, 0) == 1;
}

// Keys in our files are never encrypted; without this OpenSSL would ask on the terminal.
int NoPassphrase(char*, int, int, void*) {
  return -1;
}

}  // namespace

absl::Status OpenSslError(std::string_view what) {
  char text[256] = "no detail";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return base::Error(absl::StatusCode::kInternal, "INTERNAL", "{}: {}", what, text);
}

absl::StatusOr<KeyPtr> GenerateKeyObject() {
  KeyPtr key(EVP_EC_gen("P-256"));
  if (key == nullptr) return OpenSslError("generate key");
  return key;
}

absl::StatusOr<KeyPtr> ReadKey(std::string_view pem) {
  KeyPtr key(PEM_read_bio_PrivateKey(ReadOnlyBio(pem).get(), nullptr, NoPassphrase, nullptr));
  if (key == nullptr) return InvalidPem("private key");
  return key;
}

absl::StatusOr<CertificatePtr> ReadCertificate(std::string_view pem) {
  CertificatePtr certificate(PEM_read_bio_X509(ReadOnlyBio(pem).get(), nullptr, NoPassphrase, nullptr));
  if (certificate == nullptr) return InvalidPem("certificate");
  return certificate;
}

absl::StatusOr<std::string> WriteKey(EVP_PKEY* key) {
  BioPtr bio(BIO_new(BIO_s_secmem()));
  if (bio == nullptr || PEM_write_bio_PKCS8PrivateKey(bio.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return OpenSslError("write key");
  }
  return BioText(bio.get());
}

absl::StatusOr<std::string> WriteCertificate(X509* certificate) {
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || PEM_write_bio_X509(bio.get(), certificate) != 1) return OpenSslError("write certificate");
  return BioText(bio.get());
}

absl::StatusOr<std::string> FingerprintOf(X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  if (X509_digest(certificate, EVP_sha256(), digest, &size) != 1) return OpenSslError("digest certificate");
  return base::ToHex(std::as_bytes(std::span(digest, size)));
}

absl::StatusOr<std::string> WhyNotIssued(X509* authority, X509* leaf, int purpose, absl::Time now) {
  StorePtr store(X509_STORE_new());
  StoreContextPtr context(X509_STORE_CTX_new());
  if (store == nullptr || context == nullptr || X509_STORE_add_cert(store.get(), authority) != 1 ||
      X509_STORE_CTX_init(context.get(), store.get(), leaf, nullptr) != 1) {
    return OpenSslError("check certificate");
  }
  X509_STORE_CTX_set_purpose(context.get(), purpose);
  X509_STORE_CTX_set_time(context.get(), 0, absl::ToTimeT(now));
  if (X509_verify_cert(context.get()) == 1) return std::string();
  ERR_clear_error();
  return std::string(X509_verify_cert_error_string(X509_STORE_CTX_get_error(context.get())));
}

absl::StatusOr<std::string> GenerateKey() {
  ASSIGN_OR_RETURN(const KeyPtr key, GenerateKeyObject());
  return WriteKey(key.get());
}

absl::StatusOr<std::string> MakeCsr(std::string_view key_pem, std::string_view common_name) {
  ASSIGN_OR_RETURN(const KeyPtr key, ReadKey(key_pem));
  RequestPtr request(X509_REQ_new());
  if (request == nullptr || X509_REQ_set_version(request.get(), X509_REQ_VERSION_1) != 1 ||
      !AddCommonName(request.get(), common_name.substr(0, kCommonNameSizeMax)) ||
      X509_REQ_set_pubkey(request.get(), key.get()) != 1 ||
      X509_REQ_sign(request.get(), key.get(), EVP_sha256()) == 0) {
    return OpenSslError("make certificate request");
  }
  BioPtr bio(BIO_new(BIO_s_mem()));
  if (bio == nullptr || PEM_write_bio_X509_REQ(bio.get(), request.get()) != 1) return OpenSslError("write request");
  return BioText(bio.get());
}

absl::StatusOr<CertificateInfo> Inspect(std::string_view certificate_pem) {
  ASSIGN_OR_RETURN(const CertificatePtr certificate, ReadCertificate(certificate_pem));
  CertificateInfo info;
  info.common_name = CommonNameOf(certificate.get());
  info.serial = SerialOf(certificate.get());
  ASSIGN_OR_RETURN(info.fingerprint, FingerprintOf(certificate.get()));
  info.not_before = ToTime(X509_get0_notBefore(certificate.get()));
  info.not_after = ToTime(X509_get0_notAfter(certificate.get()));
  return info;
}

absl::StatusOr<std::string> Fingerprint(std::string_view certificate_pem) {
  ASSIGN_OR_RETURN(const CertificatePtr certificate, ReadCertificate(certificate_pem));
  return FingerprintOf(certificate.get());
}

absl::Status CheckClientCertificate(std::string_view certificate_pem, std::string_view authority_pem, absl::Time now) {
  ASSIGN_OR_RETURN(const CertificatePtr certificate, ReadCertificate(certificate_pem));
  ASSIGN_OR_RETURN(const CertificatePtr authority, ReadCertificate(authority_pem));
  ASSIGN_OR_RETURN(const std::string problem,
                   WhyNotIssued(authority.get(), certificate.get(), X509_PURPOSE_SSL_CLIENT, now));
  if (problem.empty()) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition, "CERTIFICATE_INVALID", "the certificate doesn't pass: {}",
                     problem);
}

absl::Status CheckKeyMatches(std::string_view certificate_pem, std::string_view key_pem) {
  ASSIGN_OR_RETURN(const CertificatePtr certificate, ReadCertificate(certificate_pem));
  ASSIGN_OR_RETURN(const KeyPtr key, ReadKey(key_pem));
  if (X509_check_private_key(certificate.get(), key.get()) == 1) return absl::OkStatus();
  ERR_clear_error();
  return base::Error(absl::StatusCode::kFailedPrecondition, "CERTIFICATE_INVALID",
                     "the certificate belongs to another private key");
}

}  // namespace umbra::tls
