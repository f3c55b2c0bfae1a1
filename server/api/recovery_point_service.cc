#include "server/api/recovery_point_service.h"

#include <algorithm>
#include <vector>

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/api/point_files.h"
#include "server/maintenance/protection.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

// For the record, not for essays.
constexpr size_t kRequesterSizeMax = 256;
constexpr size_t kHoldNoteSizeMax = 4096;

catalog::RecoveryPointStore::Kind KindOf(v1::ListRecoveryPointsRequest::Filter filter) {
  using Kind = catalog::RecoveryPointStore::Kind;
  switch (filter) {
    case v1::ListRecoveryPointsRequest::FILTER_REMOVED:
      return Kind::kRemoved;
    case v1::ListRecoveryPointsRequest::FILTER_HELD:
      return Kind::kHeld;
    case v1::ListRecoveryPointsRequest::FILTER_LOCKED:
      return Kind::kLocked;
    default:
      return Kind::kAny;
  }
}

v1::RecoveryPoint::Health HealthOf(const std::vector<catalog::Damage>& damage) {
  if (damage.empty()) return v1::RecoveryPoint::HEALTH_UNSPECIFIED;
  const bool healed = std::ranges::all_of(damage, [](const catalog::Damage& d) { return d.healed_time.has_value(); });
  return healed ? v1::RecoveryPoint::HEALTH_HEALED : v1::RecoveryPoint::HEALTH_DAMAGED;
}

}  // namespace

grpc::ServerUnaryReactor* RecoveryPointService::ListRecoveryPoints(grpc::CallbackServerContext* context,
                                                                   const v1::ListRecoveryPointsRequest* request,
                                                                   v1::ListRecoveryPointsResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
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
  if (!request.repository().empty()) {
    ASSIGN_OR_RETURN(filter.repository, ParseRepositoryName(request.repository(), "repository"));
  }
  if (!v1::ListRecoveryPointsRequest::Filter_IsValid(request.filter())) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "filter: no such value");
  }
  filter.show_removed = request.show_deleted();
  filter.kind = KindOf(request.filter());
  filter.now = clock_.Now();
  const std::string list = fmt::format("recoveryPoints of {}{}{} in {} filter={}", request.virtual_machine(),
                                       request.file_set(), request.show_deleted() ? " with deleted" : "",
                                       request.repository(), static_cast<int>(request.filter()));
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
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
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
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::RecoveryPointId id, ParseRecoveryPointName(request->parent(), "parent"));
    ASSIGN_OR_RETURN(const auto point,
                     catalog_.Read([&](const catalog::Stores& s) { return s.recovery_points.Get(id); }));
    ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, repositories_.Find(point.repository));
    return ListPointFiles(point, *repository->repository, *request, *response);
  });
}

absl::Status RecoveryPointService::Apply(const std::string& name, const std::string& requester, const char* event_type,
                                         Change change, v1::RecoveryPoint& response) {
  ASSIGN_OR_RETURN(const catalog::RecoveryPointId id, ParseRecoveryPointName(name, "name"));
  if (requester.size() > kRequesterSizeMax) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "requester: at most {} bytes",
                       kRequesterSizeMax);
  }
  ASSIGN_OR_RETURN(const catalog::RecoveryPoint point,
                   maintenance::ChangeProtection(catalog_, repositories_, clock_, id, {change, event_type, requester}));
  ToProto(point, &response);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* RecoveryPointService::DeleteRecoveryPoint(grpc::CallbackServerContext* context,
                                                                    const v1::DeleteRecoveryPointRequest* request,
                                                                    v1::RecoveryPoint* response) {
  return door_.Unary(context, request, response, [=, this] {
    const auto change = [&](repo::Repository& repository, const std::string& id) {
      return repository.RemoveRecoveryPoint(id, {request->requester(), undelete_window_});
    };
    return Apply(request->name(), request->requester(), "RECOVERY_POINT_REMOVED", change, *response);
  });
}

grpc::ServerUnaryReactor* RecoveryPointService::UndeleteRecoveryPoint(grpc::CallbackServerContext* context,
                                                                      const v1::UndeleteRecoveryPointRequest* request,
                                                                      v1::RecoveryPoint* response) {
  return door_.Unary(context, request, response, [=, this] {
    const auto change = [](repo::Repository& repository, const std::string& id) {
      return repository.UndeleteRecoveryPoint(id);
    };
    return Apply(request->name(), request->requester(), "RECOVERY_POINT_UNDELETED", change, *response);
  });
}

grpc::ServerUnaryReactor* RecoveryPointService::HoldRecoveryPoint(grpc::CallbackServerContext* context,
                                                                  const v1::HoldRecoveryPointRequest* request,
                                                                  v1::RecoveryPoint* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    if (request->note().size() > kHoldNoteSizeMax) {
      return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "note: at most {} bytes",
                         kHoldNoteSizeMax);
    }
    const auto change = [&](repo::Repository& repository, const std::string& id) {
      return repository.HoldRecoveryPoint(id, request->requester(), request->note());
    };
    return Apply(request->name(), request->requester(), "RECOVERY_POINT_HELD", change, *response);
  });
}

grpc::ServerUnaryReactor* RecoveryPointService::ReleaseRecoveryPoint(grpc::CallbackServerContext* context,
                                                                     const v1::ReleaseRecoveryPointRequest* request,
                                                                     v1::RecoveryPoint* response) {
  return door_.Unary(context, request, response, [=, this] {
    const auto change = [](repo::Repository& repository, const std::string& id) {
      return repository.ReleaseRecoveryPoint(id);
    };
    return Apply(request->name(), request->requester(), "RECOVERY_POINT_RELEASED", change, *response);
  });
}

grpc::ServerUnaryReactor* RecoveryPointService::LockRecoveryPoint(grpc::CallbackServerContext* context,
                                                                  const v1::LockRecoveryPointRequest* request,
                                                                  v1::RecoveryPoint* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    if (!request->has_until_time()) {
      return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "until_time: is needed");
    }
    const absl::Time until =
        absl::FromUnixSeconds(request->until_time().seconds()) + absl::Nanoseconds(request->until_time().nanos());
    const auto change = [&](repo::Repository& repository, const std::string& id) {
      return repository.LockRecoveryPoint(id, until, request->requester());
    };
    return Apply(request->name(), request->requester(), "RECOVERY_POINT_LOCKED", change, *response);
  });
}

}  // namespace umbra::api
