// umbra.v1.RepositoryKeyService: keys that open a repository.
#ifndef UMBRA_SERVER_API_REPOSITORY_KEY_SERVICE_H_
#define UMBRA_SERVER_API_REPOSITORY_KEY_SERVICE_H_

#include "absl/status/statusor.h"
#include "server/api/door.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/random.h"
#include "umbra/v1/repository_key.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class RepositoryKeyService final : public v1::RepositoryKeyService::CallbackService {
 public:
  RepositoryKeyService(Door& door, base::Random& random, const maintenance::RepositorySet& repositories)
      : door_(door), random_(random), repositories_(repositories) {}

 private:
  grpc::ServerUnaryReactor* ListRepositoryKeys(grpc::CallbackServerContext* context,
                                               const v1::ListRepositoryKeysRequest* request,
                                               v1::ListRepositoryKeysResponse* response) override;
  grpc::ServerUnaryReactor* CreateRepositoryKey(grpc::CallbackServerContext* context,
                                                const v1::CreateRepositoryKeyRequest* request,
                                                v1::CreateRepositoryKeyResponse* response) override;
  grpc::ServerUnaryReactor* DeleteRepositoryKey(grpc::CallbackServerContext* context,
                                                const v1::DeleteRepositoryKeyRequest* request,
                                                google::protobuf::Empty* response) override;
  grpc::ServerUnaryReactor* RotateRepositoryKeys(grpc::CallbackServerContext* context,
                                                 const v1::RotateRepositoryKeysRequest* request,
                                                 v1::RotateRepositoryKeysResponse* response) override;

  absl::Status List(const v1::ListRepositoryKeysRequest& request, v1::ListRepositoryKeysResponse& response);
  absl::Status Create(const v1::CreateRepositoryKeyRequest& request, v1::CreateRepositoryKeyResponse& response);
  absl::Status Delete(const v1::DeleteRepositoryKeyRequest& request);
  absl::Status Rotate(const v1::RotateRepositoryKeysRequest& request, v1::RotateRepositoryKeysResponse& response);
  absl::StatusOr<const maintenance::OpenRepository*> Find(const std::string& parent) const;

  Door& door_;
  base::Random& random_;
  const maintenance::RepositorySet& repositories_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_REPOSITORY_KEY_SERVICE_H_
