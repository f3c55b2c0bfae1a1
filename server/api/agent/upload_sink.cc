#include "server/api/agent/upload_sink.h"

#include <algorithm>
#include <optional>
#include <utility>

#include "server/api/agent/wire.h"
#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

template <typename... Args>
absl::Status Invalid(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kInvalidArgument, "UPLOAD_INVALID", format, std::forward<Args>(args)...);
}

}  // namespace

absl::StatusOr<std::vector<repo::ChunkId>> ParseIds(const std::string& raw, size_t count_max) {
  if (raw.size() % repo::kChunkIdSize != 0) return Invalid("chunk_ids: {} bytes are no whole number of ids", raw.size());
  std::vector<repo::ChunkId> ids(raw.size() / repo::kChunkIdSize);
  if (ids.size() > count_max) return Invalid("chunk_ids: {} ids, at most {} are taken at once", ids.size(), count_max);
  if (!ids.empty()) std::memcpy(ids.data(), raw.data(), raw.size());  // to nowhere not even nothing may be copied
  return ids;
}

absl::StatusOr<repo::BaseDisk> BaseOf(const OpenUpload& session, const std::string& recovery_point_id,
                                      const std::string& vm_uuid, const std::string& disk, int64_t capacity_bytes) {
  const bool offered = std::any_of(session.bases.begin(), session.bases.end(), [&](const store::v1::BasePoint& base) {
    return base.vm_uuid() == vm_uuid && base.recovery_point_id() == recovery_point_id;
  });
  if (!offered || capacity_bytes <= 0) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "CBT_BASE_UNUSABLE",
                       "recovery point {} is no base of this session for {}", recovery_point_id, vm_uuid);
  }
  return repo::BaseDisk{recovery_point_id, vm_uuid, disk, static_cast<uint64_t>(capacity_bytes)};
}

absl::Status UploadSink::Take(grpc::ByteBuffer& message) {
  const auto bytes = static_cast<int64_t>(message.Length());
  RETURN_IF_ERROR(Parse(message, request_));
  message.Clear();
  if (!session_) {
    ASSIGN_OR_RETURN(session_, find_(request_.session_id()));
  }
  // It is here already: what it costs, the sender waits for.
  if (session_->upload_limit != nullptr) pause_ = session_->upload_limit->Take(bytes, kUploadPauseMax);
  for (const store::v1::Chunk& chunk : request_.chunks()) RETURN_IF_ERROR(Put(chunk));
  return absl::OkStatus();
}

absl::Status UploadSink::Put(const store::v1::Chunk& chunk) {
  if (chunk.id().size() != repo::kChunkIdSize) return Invalid("chunk id of {} bytes", chunk.id().size());
  const std::optional<repo::Codec> codec = repo::ToCodec(chunk.codec());
  if (!codec) return Invalid("chunk {}: unknown codec {}", base::ToHex(base::AsBytes(chunk.id())), chunk.codec());
  repo::ChunkView view;
  view.id = repo::ChunkId::FromBytes(base::AsBytes(chunk.id()));
  view.plain_length = chunk.plain_length();
  view.codec = *codec;
  view.data = base::AsBytes(chunk.data());
  ASSIGN_OR_RETURN(const uint64_t stored_bytes, session_->upload->Put(view));
  result_.set_chunk_count(result_.chunk_count() + 1);
  result_.set_stored_bytes(result_.stored_bytes() + static_cast<int64_t>(stored_bytes));
  return absl::OkStatus();
}

absl::Status UploadSink::Finish(grpc::ByteBuffer& response) {
  Print(result_, response);
  return absl::OkStatus();
}

absl::Status DiskMapSink::Take(grpc::ByteBuffer& message) {
  RETURN_IF_ERROR(Parse(message, request_));
  message.Clear();
  if (!writer_) RETURN_IF_ERROR(Begin());
  if (on_base_) return TakeChanges();
  ASSIGN_OR_RETURN(const std::vector<repo::ChunkId> ids, ParseIds(request_.chunk_ids(), kMapIdsMax));
  return writer_->Append(ids);
}

absl::Status DiskMapSink::Begin() {
  ASSIGN_OR_RETURN(session_, find_(request_.session_id()));
  const std::vector<std::string>& vms = session_->assignment.vm_uuids;
  if (std::find(vms.begin(), vms.end(), request_.vm_uuid()) == vms.end()) {
    return Invalid("vm_uuid: {} is not part of the assignment", request_.vm_uuid());
  }
  if (request_.disk().empty()) return Invalid("disk: missing");
  if (request_.capacity_bytes() <= 0) return Invalid("capacity_bytes: {}", request_.capacity_bytes());
  on_base_ = !request_.base_recovery_point_id().empty();
  if (on_base_) {
    ASSIGN_OR_RETURN(const repo::BaseDisk base, BaseOf(*session_, request_.base_recovery_point_id(), request_.vm_uuid(),
                                                       request_.disk(), request_.capacity_bytes()));
    const uint64_t chunk_size = session_->repository.info().chunk_size_bytes;
    chunk_count_ = (base.capacity_bytes + chunk_size - 1) / chunk_size;
    ASSIGN_OR_RETURN(writer_, session_->upload->AddDiskMapOn(base));
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(writer_, session_->upload->AddDiskMap(request_.vm_uuid(), request_.disk(),
                                                         static_cast<uint64_t>(request_.capacity_bytes())));
  return absl::OkStatus();
}

// What lies between the runs is the base's.
absl::Status DiskMapSink::TakeChanges() {
  size_t left = kMapIdsMax;
  for (const store::v1::ChangedRun& run : request_.changes()) {
    ASSIGN_OR_RETURN(const std::vector<repo::ChunkId> ids, ParseIds(run.chunk_ids(), left));
    left -= ids.size();
    const auto first = static_cast<uint64_t>(run.first_chunk());
    if (run.first_chunk() < 0 || first < next_chunk_ || ids.empty()) {
      return Invalid("changes: a run at chunk {} is empty, or begins before {}", run.first_chunk(), next_chunk_);
    }
    RETURN_IF_ERROR(writer_->AppendBase(first - next_chunk_));
    RETURN_IF_ERROR(writer_->Append(ids));
    next_chunk_ = first + ids.size();
  }
  return absl::OkStatus();
}

absl::Status DiskMapSink::Finish(grpc::ByteBuffer& response) {
  if (!writer_) return Invalid("a disk map without a message");
  if (on_base_) RETURN_IF_ERROR(writer_->AppendBase(chunk_count_ - next_chunk_));
  ASSIGN_OR_RETURN(const uint64_t data_bytes, writer_->Finish());
  store::v1::PutDiskMapResponse result;
  result.set_data_bytes(static_cast<int64_t>(data_bytes));
  Print(result, response);
  return absl::OkStatus();
}

}  // namespace umbra::api
