#include "server/api/repository_service.h"

#include <set>
#include <string>
#include <vector>

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/maintenance/rebuild.h"
#include "server/maintenance/verify_plan.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr char kList[] = "repositories";
// A month, and a little to compare with the month before.
constexpr int kDaysShown = 35;

absl::Status Describe(const maintenance::OpenRepository& repository, v1::Repository* out) {
  ASSIGN_OR_RETURN(const repo::RepositoryStats stats, repository.repository->Stats());
  const repo::RepositoryInfo& info = repository.repository->info();
  out->set_name(NameOf(repository.id));
  out->set_location(repository.location);
  out->set_uuid(info.uuid);
  out->set_format_version(static_cast<int32_t>(info.format_version));
  out->set_chunk_size_bytes(info.chunk_size_bytes);
  ToProto(info.create_time, out->mutable_create_time());
  out->set_recovery_point_count(static_cast<int64_t>(stats.recovery_point_count));
  out->set_logical_bytes(static_cast<int64_t>(stats.logical_bytes));
  out->set_unique_bytes(static_cast<int64_t>(stats.unique_bytes));
  out->set_stored_bytes(static_cast<int64_t>(stats.stored_bytes));
  out->set_chunk_count(static_cast<int64_t>(stats.chunk_count));
  out->set_pack_count(static_cast<int64_t>(stats.pack_count));
  out->set_free_bytes(static_cast<int64_t>(stats.free_bytes));
  out->set_dedup_ratio(RatioOf(out->logical_bytes(), out->unique_bytes()));
  out->set_compression_ratio(RatioOf(out->unique_bytes(), out->stored_bytes()));
  if (const absl::Duration ahead = repository.repository->ClockAhead(); ahead > absl::ZeroDuration()) {
    ToProto(ahead, out->mutable_clock_ahead());
  }
  return absl::OkStatus();
}

void DescribeDays(const std::vector<catalog::RepositoryDay>& days, v1::Repository* out) {
  for (size_t i = 0; i < days.size(); ++i) {
    v1::RepositoryDay* day = out->add_days();
    const absl::Time begin = absl::UnixEpoch() + absl::Hours(24) * days[i].day;
    day->set_date(absl::FormatTime("%Y-%m-%d", begin, absl::UTCTimeZone()));
    day->set_recovery_point_count(days[i].figures.recovery_point_count);
    day->set_logical_bytes(days[i].figures.logical_bytes);
    day->set_unique_bytes(days[i].figures.unique_bytes);
    day->set_stored_bytes(days[i].figures.stored_bytes);
    if (i > 0) day->set_growth_bytes(days[i].figures.stored_bytes - days[i - 1].figures.stored_bytes);
  }
}

void DescribeVerification(const std::vector<maintenance::PackAge>& packs, const std::vector<repo::QuarantinedPack>& quarantine,
                          const std::vector<catalog::Damage>& damage, v1::VerificationState* out) {
  for (const maintenance::PackAge& pack : packs) {
    if (!pack.verified) out->set_never_verified_count(out->never_verified_count() + 1);
    if (pack.verified && !out->has_oldest_verify_time()) ToProto(pack.since, out->mutable_oldest_verify_time());
  }
  out->set_quarantined_pack_count(static_cast<int64_t>(quarantine.size()));
  out->set_damaged_place_count(static_cast<int64_t>(damage.size()));
  std::set<std::string> points;
  for (const catalog::Damage& place : damage) points.insert(NameOf(place.recovery_point));
  for (const std::string& point : points) out->add_damaged_recovery_points(point);
}

}  // namespace

absl::StatusOr<const maintenance::OpenRepository*> RepositoryService::Find(const std::string& name) const {
  ASSIGN_OR_RETURN(const catalog::RepositoryId id, ParseRepositoryName(name, "name"));
  return repositories_.Find(id);
}

grpc::ServerUnaryReactor* RepositoryService::ListRepositories(grpc::CallbackServerContext* context,
                                                              const v1::ListRepositoriesRequest* request,
                                                              v1::ListRepositoriesResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

absl::Status RepositoryService::List(const v1::ListRepositoriesRequest& request,
                                     v1::ListRepositoriesResponse& response) {
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<std::string>(request, kList));
  for (const maintenance::OpenRepository& repository : repositories_.All()) {
    if (options.after_key && repository.id.value <= *options.after_key) continue;
    if (response.repositories_size() == options.page_size) {
      const v1::Repository& last = response.repositories(response.repositories_size() - 1);
      response.set_next_page_token(MakePageToken(kList, ParseRepositoryName(last.name(), "name")->value));
      break;
    }
    RETURN_IF_ERROR(Describe(repository, response.add_repositories()));
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* RepositoryService::GetRepository(grpc::CallbackServerContext* context,
                                                           const v1::GetRepositoryRequest* request,
                                                           v1::Repository* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, Find(request->name()));
    RETURN_IF_ERROR(Describe(*repository, response));
    return DescribeFurther(*repository, response);
  });
}

grpc::ServerUnaryReactor* RepositoryService::RebuildCatalog(grpc::CallbackServerContext* context,
                                                            const v1::RebuildCatalogRequest* request,
                                                            v1::RebuildCatalogResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return Rebuild(*request, *response); });
}

absl::Status RepositoryService::DescribeFurther(const maintenance::OpenRepository& repository, v1::Repository* out) {
  ASSIGN_OR_RETURN(const auto days, catalog_.Read([&](const catalog::Stores& stores) {
    return stores.figures.Days(repository.id, kDaysShown);
  }));
  DescribeDays(days, out);
  ASSIGN_OR_RETURN(const auto packs, maintenance::PacksByAge(catalog_, repository, catalog::VerifyLevel::kFull));
  ASSIGN_OR_RETURN(const auto damage, catalog_.Read([&](const catalog::Stores& stores) {
    return stores.verify.OpenDamage(repository.id);
  }));
  DescribeVerification(packs, repository.repository->ListQuarantine(), damage, out->mutable_verification());
  return absl::OkStatus();
}

absl::Status RepositoryService::Rebuild(const v1::RebuildCatalogRequest& request,
                                        v1::RebuildCatalogResponse& response) {
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, Find(request.name()));
  ASSIGN_OR_RETURN(const maintenance::RebuildReport report,
                   maintenance::RebuildCatalog(catalog_, *repository, clock_, maintenance::RebuildMode::kFull));
  response.set_found_count(report.found_count);
  response.set_added_count(report.added_count);
  response.set_removed_count(report.removed_count);
  for (const std::string& problem : report.problems) response.add_problems(problem);
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* RepositoryService::ConfirmClock(grpc::CallbackServerContext* context,
                                                          const v1::ConfirmClockRequest* request,
                                                          v1::Repository* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, Find(request->name()));
    RETURN_IF_ERROR(repository->repository->ConfirmClock(request->requester()));
    return Describe(*repository, response);
  });
}

}  // namespace umbra::api
