#include "server/api/file_set_service.h"

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/api/paging.h"
#include "storage/base/status.h"

namespace umbra::api {

grpc::ServerUnaryReactor* FileSetService::ListFileSets(grpc::CallbackServerContext* context,
                                                       const v1::ListFileSetsRequest* request,
                                                       v1::ListFileSetsResponse* response) {
  return door_.Unary(context, request, response, [=, this] { return List(*request, *response); });
}

absl::Status FileSetService::List(const v1::ListFileSetsRequest& request, v1::ListFileSetsResponse& response) {
  ASSIGN_OR_RETURN(const auto host, ParseHostNameOrAll(request.parent(), "parent"));
  const std::string list = request.parent() + "/fileSets";
  ASSIGN_OR_RETURN(const auto options, ListOptionsOf<catalog::VmKey>(request, list));
  using SetPage = catalog::Page<catalog::FileSet, catalog::VmKey>;
  ASSIGN_OR_RETURN(const SetPage page, catalog_.Read([&](const catalog::Stores& s) -> absl::StatusOr<SetPage> {
    if (host) RETURN_IF_ERROR(s.hosts.Get(*host).status());
    return s.file_sets.List(host, options);
  }));
  for (const catalog::FileSet& set : page.items) ToProto(set, response.add_file_sets());
  response.set_next_page_token(NextPageToken(page.next_key, list));
  return absl::OkStatus();
}

grpc::ServerUnaryReactor* FileSetService::GetFileSet(grpc::CallbackServerContext* context,
                                                     const v1::GetFileSetRequest* request, v1::FileSet* response) {
  return door_.Unary(context, request, response, [=, this]() -> absl::Status {
    ASSIGN_OR_RETURN(const catalog::VmKey key, ParseFileSetName(request->name(), "name"));
    ASSIGN_OR_RETURN(const catalog::FileSet set,
                     catalog_.Read([&](const catalog::Stores& s) { return s.file_sets.Get(key); }));
    ToProto(set, response);
    return absl::OkStatus();
  });
}

}  // namespace umbra::api
