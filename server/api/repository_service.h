// umbra.v1.RepositoryService: where recovery points are stored.
#ifndef UMBRA_SERVER_API_REPOSITORY_SERVICE_H_
#define UMBRA_SERVER_API_REPOSITORY_SERVICE_H_

#include "absl/status/status.h"
#include "server/api/door.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/repository.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class RepositoryService final : public v1::RepositoryService::CallbackService {
 public:
  RepositoryService(Door& door, catalog::Catalog& catalog, base::Clock& clock,
                    const maintenance::RepositorySet& repositories)
      : door_(door), catalog_(catalog), clock_(clock), repositories_(repositories) {}

 private:
  grpc::ServerUnaryReactor* ListRepositories(grpc::CallbackServerContext* context,
                                             const v1::ListRepositoriesRequest* request,
                                             v1::ListRepositoriesResponse* response) override;
  grpc::ServerUnaryReactor* GetRepository(grpc::CallbackServerContext* context, const v1::GetRepositoryRequest* request,
                                          v1::Repository* response) override;
  grpc::ServerUnaryReactor* RebuildCatalog(grpc::CallbackServerContext* context,
                                           const v1::RebuildCatalogRequest* request,
                                           v1::RebuildCatalogResponse* response) override;
  grpc::ServerUnaryReactor* ConfirmClock(grpc::CallbackServerContext* context, const v1::ConfirmClockRequest* request,
                                         v1::Repository* response) override;

  absl::Status List(const v1::ListRepositoriesRequest& request, v1::ListRepositoriesResponse& response);
  // Growth and health: what takes more than a few look-ups.
  absl::Status DescribeFurther(const maintenance::OpenRepository& repository, v1::Repository* out);
  absl::Status Rebuild(const v1::RebuildCatalogRequest& request, v1::RebuildCatalogResponse& response);
  absl::StatusOr<const maintenance::OpenRepository*> Find(const std::string& name) const;

  Door& door_;
  catalog::Catalog& catalog_;
  base::Clock& clock_;
  const maintenance::RepositorySet& repositories_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_REPOSITORY_SERVICE_H_
