#include "server/rest/tls_context.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <climits>
#include <cstring>
#include <string_view>

#include "storage/base/status.h"

namespace umbra::rest {
namespace {

constexpr char kCiphers12[] =
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-"
    "SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";

// ---- A socket as OpenSSL sees it; its own would raise SIGPIPE when the peer has gone ----

int SocketOf(BIO* bio) {
  return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio)));
}

int Finish(BIO* bio, ssize_t result, int retry_flag) {
  BIO_clear_retry_flags(bio);
  if (result < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    BIO_set_flags(bio, retry_flag | BIO_FLAGS_SHOULD_RETRY);
  }
  return static_cast<int>(result);
}

int ReadSocket(BIO* bio, char* bytes, int count) {
  return Finish(bio, recv(SocketOf(bio), bytes, static_cast<size_t>(count), 0), BIO_FLAGS_READ);
}

int WriteSocket(BIO* bio, const char* bytes, int count) {
  return Finish(bio, send(SocketOf(bio), bytes, static_cast<size_t>(count), MSG_NOSIGNAL), BIO_FLAGS_WRITE);
}

long ControlSocket(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

const BIO_METHOD* SocketMethod() {
  static const BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "umbra socket");
    BIO_meth_set_read(made, ReadSocket);
    BIO_meth_set_write(made, WriteSocket);
    BIO_meth_set_ctrl(made, ControlSocket);
    return made;
  }();
  return method;
}

// ---- The context ----

absl::Status TlsError(std::string_view what) {
  char text[256] = "no details";
  if (const unsigned long code = ERR_get_error(); code != 0) ERR_error_string_n(code, text, sizeof(text));
  ERR_clear_error();
  return base::Error(absl::StatusCode::kInvalidArgument, "CERTIFICATE_INVALID", "{}: {}", what, text);
}

struct Free {
  void operator()(BIO* bio) const { BIO_free(bio); }
  void operator()(X509* certificate) const { X509_free(certificate); }
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};

std::unique_ptr<BIO, Free> MemoryOf(const std::string& text) {
  return std::unique_ptr<BIO, Free>(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
}

absl::Status UseChain(SSL_CTX* context, const std::string& pem) {
  const auto bio = MemoryOf(pem);
  const std::unique_ptr<X509, Free> own(PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr));
  if (own == nullptr || SSL_CTX_use_certificate(context, own.get()) != 1) return TlsError("certificate");
  while (X509* next = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) {
    if (SSL_CTX_add0_chain_cert(context, next) == 1) continue;
    X509_free(next);
    return TlsError("certificate chain");
  }
  ERR_clear_error();  // the end of the text is an error too
  return absl::OkStatus();
}

absl::Status UseKey(SSL_CTX* context, const std::string& pem) {
  const auto bio = MemoryOf(pem);
  // Without a password callback OpenSSL would ask on the terminal.
  const auto no_password = [](char*, int, int, void*) { return 0; };
  const std::unique_ptr<EVP_PKEY, Free> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_password, nullptr));
  if (key == nullptr || SSL_CTX_use_PrivateKey(context, key.get()) != 1) return TlsError("key");
  if (SSL_CTX_check_private_key(context) != 1) return TlsError("the key isn't the certificate's");
  return absl::OkStatus();
}

// HTTP/1.1, or nothing when the client asks for none of what we speak.
int SelectProtocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                   unsigned int offered_size, void*) {
  static constexpr std::string_view kHttp11 = "http/1.1";
  for (unsigned int at = 0; at < offered_size;) {
    const unsigned int size = offered[at];
    if (at + 1 + size > offered_size) break;
    if (std::string_view(reinterpret_cast<const char*>(offered + at + 1), size) == kHttp11) {
      *out = offered + at + 1;
      *out_size = static_cast<unsigned char>(size);
      return SSL_TLSEXT_ERR_OK;
    }
    at += 1 + size;
  }
  return SSL_TLSEXT_ERR_ALERT_FATAL;
}

}  // namespace

absl::StatusOr<TlsContext::ContextPtr> TlsContext::MakeContext(const std::string& chain_pem,
                                                               const std::string& key_pem) {
  ContextPtr context(SSL_CTX_new(TLS_server_method()));
  SSL_CTX* const raw = context.get();
  if (raw == nullptr) return TlsError("TLS");
  SSL_CTX_set_min_proto_version(raw, TLS1_2_VERSION);
  SSL_CTX_set_options(raw, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
  // Idle connections give their buffers back: 34 KiB each, of thousands of event streams.
  SSL_CTX_set_mode(raw, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_session_cache_mode(raw, SSL_SESS_CACHE_OFF);
  if (SSL_CTX_set_cipher_list(raw, kCiphers12) != 1) return TlsError("ciphers");
  SSL_CTX_set_alpn_select_cb(raw, SelectProtocol, nullptr);
  RETURN_IF_ERROR(UseChain(raw, chain_pem));
  RETURN_IF_ERROR(UseKey(raw, key_pem));
  return context;
}

void FreeContext::operator()(ssl_ctx_st* context) const {
  SSL_CTX_free(context);
}

absl::StatusOr<std::unique_ptr<TlsContext>> TlsContext::Make(const std::string& chain_pem, const std::string& key_pem) {
  ASSIGN_OR_RETURN(ContextPtr context, MakeContext(chain_pem, key_pem));
  return std::unique_ptr<TlsContext>(new TlsContext(std::move(context)));
}

absl::Status TlsContext::Replace(const std::string& chain_pem, const std::string& key_pem) {
  ASSIGN_OR_RETURN(ContextPtr context, MakeContext(chain_pem, key_pem));
  absl::MutexLock lock(&mu_);
  context_.swap(context);
  return absl::OkStatus();
}

std::unique_ptr<TlsSession> TlsContext::NewSession(int socket) {
  SSL* const ssl = [this] {
    absl::MutexLock lock(&mu_);
    return SSL_new(context_.get());  // which keeps the context
  }();
  if (ssl == nullptr) return nullptr;
  std::unique_ptr<TlsSession> session(new TlsSession(ssl));
  BIO* const bio = BIO_new(SocketMethod());
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(socket)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_accept_state(ssl);
  return session;
}

TlsSession::~TlsSession() {
  SSL_free(ssl_);
}

Transferred TlsSession::Outcome(int result) {
  if (result > 0) return {Transfer::kDone, static_cast<size_t>(result)};
  const int error = SSL_get_error(ssl_, result);
  if (error == SSL_ERROR_WANT_READ) return {Transfer::kWantRead, 0};
  if (error == SSL_ERROR_WANT_WRITE) return {Transfer::kWantWrite, 0};
  broken_ = error != SSL_ERROR_ZERO_RETURN;
  ERR_clear_error();
  return {Transfer::kClosed, 0};
}

Transferred TlsSession::HandShake() {
  ERR_clear_error();
  return Outcome(SSL_do_handshake(ssl_));
}

bool TlsSession::greeted() const {
  return SSL_get_state(ssl_) != TLS_ST_BEFORE;
}

Transferred TlsSession::Read(char* bytes, size_t count) {
  ERR_clear_error();
  return Outcome(SSL_read(ssl_, bytes, static_cast<int>(std::min<size_t>(count, INT_MAX))));
}

Transferred TlsSession::Write(const char* bytes, size_t count) {
  ERR_clear_error();
  return Outcome(SSL_write(ssl_, bytes, static_cast<int>(std::min<size_t>(count, INT_MAX))));
}

void TlsSession::SayGoodbye() {
  if (broken_ || SSL_is_init_finished(ssl_) != 1) return;
  ERR_clear_error();
  (void)SSL_shutdown(ssl_);
  ERR_clear_error();
}

}  // namespace umbra::rest
