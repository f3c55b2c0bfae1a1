// What a restore reads: the chunks of one disk, in order.
#ifndef UMBRA_SERVER_API_AGENT_DISK_SOURCE_H_
#define UMBRA_SERVER_API_AGENT_DISK_SOURCE_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/statusor.h"
#include "server/api/agent/outbound_stream.h"
#include "server/dispatch/assignment_table.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/tuning.h"
#include "storage/catalog/ids.h"
#include "storage/repo/repository.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::api {

// Stored bytes in one message: large enough to drown the cost of a message, small enough for two per stream in memory.
inline constexpr uint64_t kReadBatchBytes = 1024 * 1024;

// Who asks.
using IdentifyHost = std::function<absl::StatusOr<catalog::HostId>()>;

// StoreService.ReadDisk. Who asks is checked with the first message; that the assignment is alive, with each.
class DiskSource final : public StreamSource {
 public:
  // All outlive the source but `request`, which is emptied.
  DiskSource(IdentifyHost identify, const dispatch::AssignmentTable& assignments,
             const maintenance::RepositorySet& repositories, grpc::ByteBuffer request)
      : identify_(std::move(identify)),
        assignments_(assignments),
        repositories_(repositories),
        request_(std::move(request)) {}

  absl::StatusOr<bool> Next(grpc::ByteBuffer& message) override;

 private:
  absl::Status Open();

  const base::GivesBackMemory gives_back_;
  const IdentifyHost identify_;
  const dispatch::AssignmentTable& assignments_;
  const maintenance::RepositorySet& repositories_;
  grpc::ByteBuffer request_;

  dispatch::AssignmentKey key_;
  std::unique_ptr<repo::DiskReader> reader_;
  store::v1::ReadDiskResponse response_;  // the first one is begun by Open; its buffers are used again
  bool at_end_ = false;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_DISK_SOURCE_H_
