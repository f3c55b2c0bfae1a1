// A server on 127.0.0.1:0 that a test writes as a conversation, over TCP, with TLS from the start or from a moment in
// it.
#ifndef UMBRA_TESTS_UNIT_SERVER_NOTIFICATIONS_SMALL_SERVER_H_
#define UMBRA_TESTS_UNIT_SERVER_NOTIFICATIONS_SMALL_SERVER_H_

#include <arpa/inet.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <functional>
#include <string>
#include <thread>
#include <utility>

#include "storage/base/status.h"
#include "storage/tls/certificate_authority.h"

namespace umbra::notifications {

// One connection. Blocking, with a limit of 10 s for each read.
class Connection {
 public:
  Connection(int fd, SSL_CTX* context) : fd_(fd), context_(context) {}
  ~Connection() {
    if (ssl_ != nullptr) SSL_free(ssl_);
    close(fd_);
  }

  bool BeginTls() {
    ssl_ = SSL_new(context_);
    SSL_set_fd(ssl_, fd_);
    return SSL_accept(ssl_) == 1;
  }
  bool is_tls() const { return ssl_ != nullptr; }

  void Send(const std::string& text) {
    if (ssl_ != nullptr) {
      SSL_write(ssl_, text.data(), static_cast<int>(text.size()));
    } else {
      (void)send(fd_, text.data(), text.size(), MSG_NOSIGNAL);
    }
  }
  // Without its end; empty at the end of the connection.
  std::string Line() {
    size_t end = 0;
    while ((end = buffer_.find("\r\n")) == std::string::npos) {
      if (!Fill()) return "";
    }
    std::string line = buffer_.substr(0, end);
    buffer_.erase(0, end + 2);
    return line;
  }
  std::string Bytes(size_t count) {
    while (buffer_.size() < count && Fill()) {
    }
    std::string bytes = buffer_.substr(0, count);
    buffer_.erase(0, count);
    return bytes;
  }

 private:
  bool Fill() {
    char part[4096];
    pollfd ready{fd_, POLLIN, 0};
    if ((ssl_ == nullptr || SSL_pending(ssl_) == 0) && poll(&ready, 1, 10'000) != 1) return false;
    const auto got =
        ssl_ != nullptr ? static_cast<ssize_t>(SSL_read(ssl_, part, sizeof(part))) : recv(fd_, part, sizeof(part), 0);
    if (got <= 0) return false;
    buffer_.append(part, static_cast<size_t>(got));
    return true;
  }

  const int fd_;
  SSL_CTX* const context_;
  SSL* ssl_ = nullptr;
  std::string buffer_;
};

// Calls `talk` for each connection, one after the other, on a thread of its own.
class SmallServer {
 public:
  SmallServer(const tls::ServerCertificate& certificate, std::function<void(Connection&)> talk,
              const char* listen_at = "127.0.0.1")
      : context_(SSL_CTX_new(TLS_server_method())), talk_(std::move(talk)) {
    signal(SIGPIPE, SIG_IGN);  // a peer that has gone is no end of the test, as in umbrad
    UseCertificate(certificate);
    fd_ = socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    UMBRA_CHECK(inet_pton(AF_INET, listen_at, &address.sin_addr) == 1);
    socklen_t size = sizeof(address);
    UMBRA_CHECK(bind(fd_, reinterpret_cast<sockaddr*>(&address), size) == 0 && listen(fd_, 8) == 0);
    UMBRA_CHECK(getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::jthread([this](std::stop_token stop) { Serve(std::move(stop)); });
  }
  ~SmallServer() {
    thread_.request_stop();
    thread_.join();
    close(fd_);
    SSL_CTX_free(context_);
  }
  int port() const { return port_; }

 private:
  void UseCertificate(const tls::ServerCertificate& certificate) {
    BIO* key_text = BIO_new_mem_buf(certificate.key_pem.data(), static_cast<int>(certificate.key_pem.size()));
    EVP_PKEY* key = PEM_read_bio_PrivateKey(key_text, nullptr, nullptr, nullptr);
    BIO* chain = BIO_new_mem_buf(certificate.chain_pem.data(), static_cast<int>(certificate.chain_pem.size()));
    X509* own = PEM_read_bio_X509(chain, nullptr, nullptr, nullptr);
    UMBRA_CHECK(SSL_CTX_use_certificate(context_, own) == 1 && SSL_CTX_use_PrivateKey(context_, key) == 1);
    X509_free(own);
    EVP_PKEY_free(key);
    BIO_free(chain);
    BIO_free(key_text);
  }
  void Serve(std::stop_token stop) {
    while (!stop.stop_requested()) {
      pollfd ready{fd_, POLLIN, 0};
      if (poll(&ready, 1, 20) != 1) continue;
      Connection connection(accept(fd_, nullptr, nullptr), context_);
      talk_(connection);
    }
  }

  SSL_CTX* const context_;
  const std::function<void(Connection&)> talk_;
  int fd_ = -1;
  int port_ = 0;
  std::jthread thread_;
};

}  // namespace umbra::notifications

#endif  // UMBRA_TESTS_UNIT_SERVER_NOTIFICATIONS_SMALL_SERVER_H_
