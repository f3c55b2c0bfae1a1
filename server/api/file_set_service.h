// umbra.v1.FileSetService: file sets as the agents last reported them.
#ifndef UMBRA_SERVER_API_FILE_SET_SERVICE_H_
#define UMBRA_SERVER_API_FILE_SET_SERVICE_H_

#include "absl/status/status.h"
#include "server/api/door.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/file_set.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class FileSetService final : public v1::FileSetService::CallbackService {
 public:
  FileSetService(Door& door, catalog::Catalog& catalog) : door_(door), catalog_(catalog) {}

 private:
  grpc::ServerUnaryReactor* ListFileSets(grpc::CallbackServerContext* context, const v1::ListFileSetsRequest* request,
                                         v1::ListFileSetsResponse* response) override;
  grpc::ServerUnaryReactor* GetFileSet(grpc::CallbackServerContext* context, const v1::GetFileSetRequest* request,
                                       v1::FileSet* response) override;
  absl::Status List(const v1::ListFileSetsRequest& request, v1::ListFileSetsResponse& response);

  Door& door_;
  catalog::Catalog& catalog_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_FILE_SET_SERVICE_H_
