#include "server/api/repository_service.h"

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "server/api/unary.h"
#include "server/maintenance/rebuild.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

constexpr char kList[] = "repositories";

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
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<const maintenance::OpenRepository*> RepositoryService::Find(const std::string& name) const {
  ASSIGN_OR_RETURN(const catalog::RepositoryId id, ParseRepositoryName(name, "name"));
  return repositories_.Find(id);
}

grpc::ServerUnaryReactor* RepositoryService::ListRepositories(grpc::CallbackServerContext* context,
                                                              const v1::ListRepositoriesRequest* request,
                                                              v1::ListRepositoriesResponse* response) {
  return RunUnary(context, executor_, [=, this] { return List(*request, *response); });
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
  return RunUnary(context, executor_, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const maintenance::OpenRepository* repository, Find(request->name()));
    return Describe(*repository, response);
  });
}

grpc::ServerUnaryReactor* RepositoryService::RebuildCatalog(grpc::CallbackServerContext* context,
                                                            const v1::RebuildCatalogRequest* request,
                                                            v1::RebuildCatalogResponse* response) {
  return RunUnary(context, executor_, [=, this] { return Rebuild(*request, *response); });
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

}  // namespace umbra::api
