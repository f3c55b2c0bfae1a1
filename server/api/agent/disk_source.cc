#include "server/api/agent/disk_source.h"

#include <utility>
#include <vector>

#include "server/api/agent/wire.h"
#include "storage/base/status.h"

namespace umbra::api {

absl::Status DiskSource::Open() {
  store::v1::ReadDiskRequest request;
  RETURN_IF_ERROR(Parse(request_, request));
  request_.Clear();
  ASSIGN_OR_RETURN(const catalog::HostId host, identify_());
  key_ = {catalog::JobId(request.job_id()), request.attempt()};
  ASSIGN_OR_RETURN(const dispatch::Assignment assignment,
                   assignments_.Authorize(host, key_, catalog::JobKind::kRestore));
  if (assignment.recovery_point.value != request.recovery_point_id()) {
    return base::Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                       "recovery point {} is not part of the assignment", request.recovery_point_id());
  }
  if (request.first_chunk() < 0) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", "first_chunk: {}", request.first_chunk());
  }
  ASSIGN_OR_RETURN(const maintenance::OpenRepository* const open, repositories_.Find(assignment.repository));
  repo::Repository& repository = *open->repository;
  ASSIGN_OR_RETURN(reader_, repository.OpenDisk(request.recovery_point_id(), request.disk()));
  RETURN_IF_ERROR(reader_->Seek(static_cast<uint64_t>(request.first_chunk())));

  const base::Bytes id_key = repository.hasher().key();
  response_.set_id_suite(static_cast<uint32_t>(repository.info().id_suite));
  response_.set_id_key(id_key.data(), id_key.size());
  response_.set_capacity_bytes(static_cast<int64_t>(reader_->capacity_bytes()));
  response_.set_chunk_size_bytes(repository.info().chunk_size_bytes);
  return absl::OkStatus();
}

absl::StatusOr<bool> DiskSource::Next(grpc::ByteBuffer& message) {
  if (at_end_) return false;
  if (!reader_) RETURN_IF_ERROR(Open());
  RETURN_IF_ERROR(assignments_.CheckAlive(key_));
  ASSIGN_OR_RETURN(const std::vector<repo::DiskChunk> chunks, reader_->Next(kReadBatchBytes));
  for (const repo::DiskChunk& from : chunks) {
    store::v1::ReadDiskResponse::Item& item = *response_.add_items();
    item.set_offset_bytes(static_cast<int64_t>(from.offset_bytes));
    store::v1::Chunk& chunk = *item.mutable_chunk();
    chunk.set_id(from.chunk.id.bytes.data(), from.chunk.id.bytes.size());
    chunk.set_plain_length(from.chunk.plain_length);
    chunk.set_codec(static_cast<uint32_t>(from.chunk.codec));
    chunk.set_data(from.chunk.data.data(), from.chunk.data.size());
  }
  // The end travels with a message of its own, also when the disk ends in zeros.
  at_end_ = chunks.empty();
  response_.set_done_bytes(static_cast<int64_t>(at_end_ ? reader_->capacity_bytes() : reader_->position_bytes()));
  Print(response_, message);
  response_.Clear();
  return true;
}

}  // namespace umbra::api
