// umbra.v1.RecoveryPointService: the backup catalog.
#ifndef UMBRA_SERVER_API_RECOVERY_POINT_SERVICE_H_
#define UMBRA_SERVER_API_RECOVERY_POINT_SERVICE_H_

#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/api/door.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/recovery_point.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class RecoveryPointService final : public v1::RecoveryPointService::CallbackService {
 public:
  // A removed point can be undeleted for `undelete_window`.
  RecoveryPointService(Door& door, catalog::Catalog& catalog, base::Clock& clock,
                       const maintenance::RepositorySet& repositories, absl::Duration undelete_window)
      : door_(door),
        catalog_(catalog),
        clock_(clock),
        repositories_(repositories),
        undelete_window_(undelete_window) {}

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
  grpc::ServerUnaryReactor* DeleteRecoveryPoint(grpc::CallbackServerContext* context,
                                                const v1::DeleteRecoveryPointRequest* request,
                                                v1::RecoveryPoint* response) override;
  grpc::ServerUnaryReactor* UndeleteRecoveryPoint(grpc::CallbackServerContext* context,
                                                  const v1::UndeleteRecoveryPointRequest* request,
                                                  v1::RecoveryPoint* response) override;
  grpc::ServerUnaryReactor* HoldRecoveryPoint(grpc::CallbackServerContext* context,
                                              const v1::HoldRecoveryPointRequest* request,
                                              v1::RecoveryPoint* response) override;
  grpc::ServerUnaryReactor* ReleaseRecoveryPoint(grpc::CallbackServerContext* context,
                                                 const v1::ReleaseRecoveryPointRequest* request,
                                                 v1::RecoveryPoint* response) override;
  grpc::ServerUnaryReactor* LockRecoveryPoint(grpc::CallbackServerContext* context,
                                              const v1::LockRecoveryPointRequest* request,
                                              v1::RecoveryPoint* response) override;

  using Change = absl::FunctionRef<absl::StatusOr<repo::PointProtection>(repo::Repository&, const std::string& id)>;
  absl::Status Apply(const std::string& name, const std::string& requester, const char* event, Change change,
                     v1::RecoveryPoint& response);
  absl::Status List(const v1::ListRecoveryPointsRequest& request, v1::ListRecoveryPointsResponse& response);

  Door& door_;
  catalog::Catalog& catalog_;
  base::Clock& clock_;
  const maintenance::RepositorySet& repositories_;
  const absl::Duration undelete_window_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_RECOVERY_POINT_SERVICE_H_
