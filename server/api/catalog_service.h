// umbra.v1.CatalogService: the catalog, and its copies in the repositories.
#ifndef UMBRA_SERVER_API_CATALOG_SERVICE_H_
#define UMBRA_SERVER_API_CATALOG_SERVICE_H_

#include "absl/status/status.h"
#include "server/api/door.h"
#include "server/jobs/event_hub.h"
#include "server/maintenance/catalog_keeper.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/filesystem.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/catalog.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class CatalogService final : public v1::CatalogService::CallbackService {
 public:
  CatalogService(Door& door, catalog::Catalog& catalog, jobs::EventHub& events, base::Filesystem& filesystem,
                 const maintenance::RepositorySet& repositories, maintenance::CatalogKeeper& keeper)
      : door_(door),
        catalog_(catalog),
        events_(events),
        filesystem_(filesystem),
        repositories_(repositories),
        keeper_(keeper) {}

 private:
  grpc::ServerUnaryReactor* GetCatalog(grpc::CallbackServerContext* context, const v1::GetCatalogRequest* request,
                                       v1::Catalog* response) override;
  grpc::ServerUnaryReactor* BackUpCatalog(grpc::CallbackServerContext* context, const v1::BackUpCatalogRequest* request,
                                          v1::BackUpCatalogResponse* response) override;
  grpc::ServerUnaryReactor* CheckCatalog(grpc::CallbackServerContext* context, const v1::CheckCatalogRequest* request,
                                         v1::CheckCatalogResponse* response) override;

  absl::Status Describe(v1::Catalog* out);
  absl::StatusOr<int64_t> Size();

  Door& door_;
  catalog::Catalog& catalog_;
  jobs::EventHub& events_;
  base::Filesystem& filesystem_;
  const maintenance::RepositorySet& repositories_;
  maintenance::CatalogKeeper& keeper_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_CATALOG_SERVICE_H_
