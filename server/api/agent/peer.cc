#include "server/api/agent/peer.h"

#include <grpc/grpc_security_constants.h>
#include <grpcpp/security/auth_context.h>

#include <vector>

namespace umbra::api {

std::string CertificateOf(const grpc::CallbackServerContext& context) {
  const auto auth = context.auth_context();
  if (!auth || !auth->IsPeerAuthenticated()) return {};
  const std::vector<grpc::string_ref> values = auth->FindPropertyValues(GRPC_X509_PEM_CERT_PROPERTY_NAME);
  return values.size() == 1 ? std::string(values[0].data(), values[0].size()) : std::string();
}

}  // namespace umbra::api
