#include "server/api/catalog_service.h"

#include "server/api/convert.h"
#include "server/api/names.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

void Describe(const repo::CatalogCopyInfo& copy, v1::CatalogCopy* out) {
  out->set_id(copy.id);
  if (!copy.damaged) ToProto(copy.create_time, out->mutable_create_time());
  out->set_stored_bytes(static_cast<int64_t>(copy.stored_bytes));
  out->set_damaged(copy.damaged);
}

}  // namespace

absl::StatusOr<int64_t> CatalogService::Size() {
  ASSIGN_OR_RETURN(const auto file, filesystem_.Open(catalog_.path(), base::OpenMode::kRead));
  ASSIGN_OR_RETURN(const uint64_t size, file->Size());
  return static_cast<int64_t>(size);
}

absl::Status CatalogService::Describe(v1::Catalog* out) {
  out->set_location(catalog_.path());
  ASSIGN_OR_RETURN(const int64_t size, Size());
  out->set_size_bytes(size);
  out->set_schema_version(catalog_.schema_version());
  out->set_newest_event(events_.Newest());
  const auto states = keeper_.States();
  for (const maintenance::OpenRepository& repository : repositories_.All()) {
    v1::CatalogCopyState* state = out->add_repositories();
    state->set_repository(NameOf(repository.id));
    ASSIGN_OR_RETURN(const auto copies, repository.repository->catalog_copies().List());
    for (const repo::CatalogCopyInfo& copy : copies) api::Describe(copy, state->add_copies());
    const auto known = states.find(repository.id);
    if (known == states.end() || known->second.last.ok()) continue;
    state->set_error_reason(base::ReasonOf(known->second.last));
    state->set_error_message(base::MessageOf(known->second.last));
  }
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* CatalogService::GetCatalog(grpc::CallbackServerContext* context, const v1::GetCatalogRequest* request,
                                                     v1::Catalog* response) {
  return door_.Unary(context, request, response, [=, this] { return Describe(response); });
}

grpc::ServerUnaryReactor* CatalogService::BackUpCatalog(grpc::CallbackServerContext* context,
                                                        const v1::BackUpCatalogRequest* request,
                                                        v1::BackUpCatalogResponse* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    RETURN_IF_ERROR(keeper_.CopyNow());
    return Describe(response->mutable_catalog());
  });
}

grpc::ServerUnaryReactor* CatalogService::CheckCatalog(grpc::CallbackServerContext* context,
                                                       const v1::CheckCatalogRequest* request,
                                                       v1::CheckCatalogResponse* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    RETURN_IF_ERROR(catalog_.Check());
    ASSIGN_OR_RETURN(const int64_t size, Size());
    response->set_size_bytes(size);
    return absl::OkStatus();
  });
}

}  // namespace umbra::api
