// HTTP/1.1 over TLS: connections, limits, deadlines. Knows nothing of what is asked for.
//
// A few threads wait for all connections; none belongs to one. Against whoever is slow or sends too much:
//   hand-shake           10 s                       header      8 KiB and 100 lines, else 431
//   a whole request      15 s from its first byte   body        1 MiB, else 413
//   an answer            10 s without progress      pipelining  one request at a time, the next is read then
//   between requests     60 s                       connections see connection_book.h: newcomers take the places of
//                                                   those who ask for nothing, also of slow readers
// A client that goes away is noticed while its request is worked on (Exchange::WhenGone).
#ifndef UMBRA_SERVER_REST_HTTP_SERVER_H_
#define UMBRA_SERVER_REST_HTTP_SERVER_H_

#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "server/rest/connection_book.h"
#include "server/rest/http.h"
#include "server/rest/request_parser.h"
#include "server/rest/tls_context.h"
#include "storage/base/clock.h"

namespace umbra::rest {

struct HttpLimits : RequestLimits {
  absl::Duration handshake = absl::Seconds(10);
  absl::Duration request = absl::Seconds(15);
  absl::Duration write_stall = absl::Seconds(10);
  absl::Duration idle = absl::Seconds(60);
  ConnectionLimits connections;
  int thread_count = 2;
};

class HttpServer {
 public:
  // Called on a thread of the server: must not block. Answers through the exchange, there or later.
  using Handler = std::function<void(std::shared_ptr<Exchange>)>;
  // The answer to a request that isn't one (400, 413, 431), so that it looks like all others.
  using Refusal = std::function<Response(int status, std::string_view detail)>;

  // Listens at `address` ("address:port", port 0 takes a free one) and serves. `clock` outlives the server and so does
  // everything that the handler uses. FAILED_PRECONDITION / LISTEN_FAILED.
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& address, std::unique_ptr<TlsContext> tls,
                                                           const HttpLimits& limits, base::Clock& clock,
                                                           Handler handler, Refusal refusal);
  // Closes what is open. Nobody holds an exchange any more when this is called, or lets go of it because its client
  // went (see CloseAll).
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  // No new connections, and each that is open ends with its answer.
  void StopAccepting();
  // Closes every connection: their exchanges' clients are gone.
  void CloseAll();

  // "address:port" with the port that was taken.
  const std::string& address() const;
  size_t connection_count() const;

 private:
  struct Impl;
  explicit HttpServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_HTTP_SERVER_H_
