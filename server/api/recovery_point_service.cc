#include "server/api/recovery_point_service.h"

#include <algorithm>
#include <vector>

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/api/point_files.h"
#include "server/api/unary.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

v1::RecoveryPoint::Health HealthOf(const std::vector<catalog::Damage>& damage) {
  if (damage.empty()) return v1::RecoveryPoint::HEALTH_UNSPECIFIED;
  const bool healed = std::ranges::all_of(damage, [](const catalog::Damage& d) { return d.healed_time.has_value(); });
  return healed ? v1::RecoveryPoint::HEALTH_HEALED : v1::RecoveryPoint::HEALTH_DAMAGED;
}

}  // namespace

grpc::ServerUnaryReactor* RecoveryPointService::ListRecoveryPoints(grpc::CallbackServerContext* context,
                                                                   const v1::ListRecoveryPointsRequest* request,
                                                                   v1::ListRecoveryPointsResponse* response) {
  return RunUnary(context, executor_, [=, this] { return List(*request, *response); });
}

absl::Status RecoveryPointService::List(const v1::ListRecoveryPointsRequest& request,
                                        v1::ListRecoveryPointsResponse& response) {
  catalog::RecoveryPointStore::Filter filter;
  if (!request.virtual_machine().empty()) {
    // The machine may be gone from the inventory: its points are still there.
    ASSIGN_OR_RETURN(filter.vm, ParseVmName(request.virtual_machine(), "virtual_machine"));
  }
  if (!request.file_set().empty()) {
    if (filter.vm.has_value()) {
      return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "file_set: not together with virtual_machine");
    }
    ASSIGN_OR_RETURN(filter.vm, ParseFileSetName(request.file_set(), "file_set"));
  }
  const std::string list = "recoveryPoints of " + request.virtual_machine() + request.file_set();
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<catalog::RecoveryPointKey>(request, list));
  ASSIGN_OR_RETURN(const auto page,
                   catalog_.Read([&](const catalog::Stores& s) { return s.recovery_points.List(filter, options); }));
  for (const catalog::RecoveryPoint& point : page.items) ToProto(point, response.add_recovery_points());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* RecoveryPointService::GetRecoveryPoint(grpc::CallbackServerContext* context,
                                                                 const v1::GetRecoveryPointRequest* request,
                                                                 v1::RecoveryPoint* response) {
  return RunUnary(context, executor_, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::RecoveryPointId id, ParseRecoveryPointName(request->name(), "name"));
    ASSIGN_OR_RETURN(const auto point,
                     catalog_.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); }));
    ASSIGN_OR_RETURN(const auto damage, catalog_.Read([&](const catalog::Stores& s) { return s.verify.DamageOf(id); }));
    ASSIGN_OR_RETURN(const auto check,
                     catalog_.Read([&](const catalog::Stores& s) { return s.verify.GetPointCheck(id); }));
    ToProto(point, response);
    for (const catalog::Damage& place : damage) ToProto(place, response->add_damage());
    response->set_health(HealthOf(damage));
    if (check.has_value()) ToProto(check->verify_time, response->mutable_verify_time());
    return absl::OkStatus();
  });
}

grpc::ServerUnaryReactor* RecoveryPointService::ListRecoveryPointFiles(grpc::CallbackServerContext* context,
                                                                       const v1::ListRecoveryPointFilesRequest* request,
                                                                       v1::ListRecoveryPointFilesResponse* response) {
  return RunUnary(context, executor_, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::RecoveryPointId id, ParseRecoveryPointName(request->parent(), "parent"));
    ASSIGN_OR_RETURN(const auto point,
                     catalog_.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); }));
    ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, repositories_.Find(point.repository));
    return ListPointFiles(point, *repository->repository, *request, *response);
  });
}

}  // namespace umbra::api
