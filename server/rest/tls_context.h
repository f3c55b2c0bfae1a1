// TLS of the HTTP server: what it offers, and a certificate that it shows.
#ifndef UMBRA_SERVER_REST_TLS_CONTEXT_H_
#define UMBRA_SERVER_REST_TLS_CONTEXT_H_

#include <memory>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"

struct ssl_ctx_st;
struct ssl_st;

namespace umbra::rest {

// As SSL_read and SSL_write mean it.
enum class Transfer {
  kDone,       // `count` bytes, more than 0; or the hand-shake is over
  kWantRead,   // wait until the socket can be read, then call again
  kWantWrite,  // until it can be written
  kClosed,     // the peer said goodbye, or there was an error: nothing more can be done
};
struct Transferred {
  Transfer outcome = Transfer::kClosed;
  size_t count = 0;
};

// One TLS connection over a non-blocking socket that is somebody else's. One thread at a time.
class TlsSession {
 public:
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  Transferred HandShake();
  // The client's hello is there, whole.
  bool greeted() const;
  Transferred Read(char* bytes, size_t count);
  // May take less than `count`. The bytes may lie elsewhere when the same write is tried again.
  Transferred Write(const char* bytes, size_t count);
  // Says goodbye when that is possible without waiting.
  void SayGoodbye();

 private:
  friend class TlsContext;
  explicit TlsSession(ssl_st* ssl) : ssl_(ssl) {}
  Transferred Outcome(int result);

  ssl_st* const ssl_;
  bool broken_ = false;
};

struct FreeContext {
  void operator()(ssl_ctx_st* context) const;
};

// TLS 1.2 and 1.3 with forward secrecy and authenticated ciphers only, no renegotiation, HTTP/1.1 by ALPN. Thread-safe.
class TlsContext {
 public:
  // `chain_pem`: the certificate, then those that vouch for it. INVALID_ARGUMENT / CERTIFICATE_INVALID.
  static absl::StatusOr<std::unique_ptr<TlsContext>> Make(const std::string& chain_pem, const std::string& key_pem);
  TlsContext(const TlsContext&) = delete;
  TlsContext& operator=(const TlsContext&) = delete;

  // Connections that begin from now on are shown this certificate; others go on as they are. As Make: when it can't be
  // used nothing changes.
  absl::Status Replace(const std::string& chain_pem, const std::string& key_pem);

  // The server's side over `socket`; null when memory is short.
  std::unique_ptr<TlsSession> NewSession(int socket);

 private:
  using ContextPtr = std::unique_ptr<ssl_ctx_st, FreeContext>;

  explicit TlsContext(ContextPtr context) : context_(std::move(context)) {}
  static absl::StatusOr<ContextPtr> MakeContext(const std::string& chain_pem, const std::string& key_pem);

  absl::Mutex mu_;  // the context is whole: sessions keep the one that they began with
  ContextPtr context_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_TLS_CONTEXT_H_
