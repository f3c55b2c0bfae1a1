// umbra.v1.DiskContentService: the bytes of disks in recovery points.
#ifndef UMBRA_SERVER_API_DISK_CONTENT_SERVICE_H_
#define UMBRA_SERVER_API_DISK_CONTENT_SERVICE_H_

#include "server/api/door.h"
#include "server/api/agent/stream_set.h"
#include "server/maintenance/repository_set.h"
#include "storage/catalog/catalog.h"
#include "umbra/v1/disk_content.grpc.pb.h"

namespace umbra::api {

// Thread-safe. What it is given outlives it.
class DiskContentService final : public v1::DiskContentService::CallbackService {
 public:
  DiskContentService(Door& door, catalog::Catalog& catalog, const maintenance::RepositorySet& repositories,
                     StreamSet& streams)
      : door_(door), catalog_(catalog), repositories_(repositories), streams_(streams) {}

 private:
  grpc::ServerWriteReactor<v1::DiskContent>* DownloadDisk(grpc::CallbackServerContext* context,
                                                          const v1::DownloadDiskRequest* request) override;

  Door& door_;
  catalog::Catalog& catalog_;
  const maintenance::RepositorySet& repositories_;
  StreamSet& streams_;
  // Reads take milliseconds each: other calls must not wait for them.
  Executor executor_{2};
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_DISK_CONTENT_SERVICE_H_
