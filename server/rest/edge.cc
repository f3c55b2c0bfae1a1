#include "server/rest/edge.h"

#include <google/protobuf/descriptor.h>

#include <utility>

#include "server/rest/api_description.h"
#include "storage/base/status.h"

namespace umbra::rest {

absl::StatusOr<std::unique_ptr<Edge>> Edge::Start(EdgeOptions options, std::shared_ptr<grpc::Channel> channel,
                                                  base::Filesystem& filesystem, base::Clock& clock,
                                                  base::Random& random) {
  ASSIGN_OR_RETURN(RouteTable routes,
                   RouteTable::Make(*google::protobuf::DescriptorPool::generated_pool(), ServiceNames()));
  StaticFiles files;
  if (!options.dashboard_dir.empty()) {
    ASSIGN_OR_RETURN(files, StaticFiles::Read(filesystem, options.dashboard_dir));
  }
  ASSIGN_OR_RETURN(auto tls, TlsContext::Make(options.certificate.chain_pem, options.certificate.key_pem));
  std::unique_ptr<Edge> edge(new Edge);
  edge->tls_ = tls.get();
  edge->gateway_ = std::make_unique<Gateway>(std::move(channel), std::move(routes), std::move(files), clock, random,
                                             std::move(options.gateway));
  Gateway* const gateway = edge->gateway_.get();
  ASSIGN_OR_RETURN(edge->server_,
                   HttpServer::Start(
                       options.listen, std::move(tls), options.limits, clock,
                       [gateway](std::shared_ptr<Exchange> exchange) { gateway->Handle(std::move(exchange)); },
                       [gateway](int status, std::string_view detail) { return gateway->Refusal(status, detail); }));
  return edge;
}

absl::Status Edge::SetCertificate(const tls::ServerCertificate& certificate) {
  return tls_->Replace(certificate.chain_pem, certificate.key_pem);
}

Edge::~Edge() {
  if (server_ != nullptr) server_->StopAccepting();
  if (gateway_ != nullptr) gateway_->Stop();
  server_.reset();
}

}  // namespace umbra::rest
