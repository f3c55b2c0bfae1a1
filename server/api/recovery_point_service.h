// umbra.v1.RecoveryPointService: the backup catalog.
#ifndef UMBRA_SERVER_API_RECOVERY_POINT_SERVICE_H_
#define UMBRA_SERVER_API_RECOVERY_POINT_SERVICE_H_

#include "absl/status/status.h"
#include "server/api/agent/executor.h"
#include "server/maintenance/repository_set.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/recovery_point.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class RecoveryPointService final : public v1::RecoveryPointService::CallbackService {
 public:
  RecoveryPointService(Executor& executor, catalog::Catalog& catalog, const maintenance::RepositorySet& repositories)
      : executor_(executor), catalog_(catalog), repositories_(repositories) {}

 private:
  grpc::ServerUnaryReactor* ListRecoveryPoints(grpc::CallbackServerContext* context,
                                               const v1::ListRecoveryPointsRequest* request,
                                               v1::ListRecoveryPointsResponse* response) override;
  grpc::ServerUnaryReactor* GetRecoveryPoint(grpc::CallbackServerContext* context,
                                             const v1::GetRecoveryPointRequest* request,
                                             v1::RecoveryPoint* response) override;
  grpc::ServerUnaryReactor* ListRecoveryPointFiles(grpc::CallbackServerContext* context,
                                                   const v1::ListRecoveryPointFilesRequest* request,
                                                   v1::ListRecoveryPointFilesResponse* response) override;
  absl::Status List(const v1::ListRecoveryPointsRequest& request, v1::ListRecoveryPointsResponse& response);

  Executor& executor_;
  catalog::Catalog& catalog_;
  const maintenance::RepositorySet& repositories_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_RECOVERY_POINT_SERVICE_H_
