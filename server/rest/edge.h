// The REST edge as a whole: HTTP server and gateway, started and stopped in their order.
#ifndef UMBRA_SERVER_REST_EDGE_H_
#define UMBRA_SERVER_REST_EDGE_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "server/rest/gateway.h"
#include "server/rest/http_server.h"
#include "server/rest/tls_context.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/random.h"
#include "storage/tls/certificate_authority.h"

namespace umbra::rest {

struct EdgeOptions {
  std::string listen;                  // "IP:PORT"; port 0 takes a free one
  tls::ServerCertificate certificate;  // chain and key
  std::string dashboard_dir;           // empty: no dashboard
  HttpLimits limits;
  GatewayOptions gateway;
};

class Edge {
 public:
  // `channel` leads to the services of umbra.v1; it and the others outlive the edge.
  // FAILED_PRECONDITION / LISTEN_FAILED, INVALID_ARGUMENT / CERTIFICATE_INVALID, FAILED_PRECONDITION / CONFIG_INVALID
  // (dashboard_dir).
  static absl::StatusOr<std::unique_ptr<Edge>> Start(EdgeOptions options, std::shared_ptr<grpc::Channel> channel,
                                                     base::Filesystem& filesystem, base::Clock& clock,
                                                     base::Random& random);
  // Takes no connection any more, gives calls under way two seconds to end, cancels the others and closes everything.
  // Before the services stop.
  ~Edge();

  // Connections that begin from now on are shown `certificate`; event streams and others that are open go on. When it
  // can't be used, nothing changes: INVALID_ARGUMENT / CERTIFICATE_INVALID. Thread-safe.
  absl::Status SetCertificate(const tls::ServerCertificate& certificate);

  // "address:port" with the port that was taken.
  const std::string& address() const { return server_->address(); }

 private:
  Edge() = default;

  std::unique_ptr<Gateway> gateway_;
  std::unique_ptr<HttpServer> server_;
  TlsContext* tls_ = nullptr;  // the server's
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_EDGE_H_
