// OpenSSL's objects with owners, for the .cc files of this room only.
#ifndef UMBRA_STORAGE_TLS_OPENSSL_H_
#define UMBRA_STORAGE_TLS_OPENSSL_H_

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"
#include "absl/time/time.h"

namespace umbra::tls {

template <auto kFree>
struct Freer {
  template <typename T>
  void operator()(T* object) const {
    kFree(object);
  }
};

using KeyPtr = std::unique_ptr<EVP_PKEY, Freer<EVP_PKEY_free>>;
using CertificatePtr = std::unique_ptr<X509, Freer<X509_free>>;
using RequestPtr = std::unique_ptr<X509_REQ, Freer<X509_REQ_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, Freer<X509_EXTENSION_free>>;
using BioPtr = std::unique_ptr<BIO, Freer<BIO_free_all>>;
using ContextPtr = std::unique_ptr<SSL_CTX, Freer<SSL_CTX_free>>;
using StorePtr = std::unique_ptr<X509_STORE, Freer<X509_STORE_free>>;
using StoreContextPtr = std::unique_ptr<X509_STORE_CTX, Freer<X509_STORE_CTX_free>>;

// INTERNAL / INTERNAL with OpenSSL's own text; empties its error queue.
absl::Status OpenSslError(std::string_view what);

absl::StatusOr<KeyPtr> GenerateKeyObject();
absl::StatusOr<KeyPtr> ReadKey(std::string_view pem);
absl::StatusOr<CertificatePtr> ReadCertificate(std::string_view pem);
absl::StatusOr<std::string> WriteKey(EVP_PKEY* key);
absl::StatusOr<std::string> WriteCertificate(X509* certificate);
absl::StatusOr<std::string> FingerprintOf(X509* certificate);

// Empty when `authority` is one and issued `leaf` for `purpose` (X509_PURPOSE_...), and both are valid at `now`; else
// OpenSSL's words for why not.
absl::StatusOr<std::string> WhyNotIssued(X509* authority, X509* leaf, int purpose, absl::Time now);

}  // namespace umbra::tls

#endif  // UMBRA_STORAGE_TLS_OPENSSL_H_
