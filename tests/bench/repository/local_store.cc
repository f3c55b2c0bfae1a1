#include "tests/bench/repository/local_store.h"

#include <utility>
#include <vector>

#include "storage/base/status.h"

namespace umbra::bench {
namespace {

// As the daemon's: stored bytes of one message.
constexpr uint64_t kReadBatchBytes = base::kMiB;

std::vector<repo::ChunkId> IdsOf(base::Bytes raw) {
  std::vector<repo::ChunkId> ids(raw.size() / repo::kChunkIdSize);
  std::memcpy(ids.data(), raw.data(), ids.size() * repo::kChunkIdSize);
  return ids;
}

class LocalStream final : public transfer::DiskStream {
 public:
  LocalStream(repo::Repository& repository, std::unique_ptr<repo::DiskReader> reader)
      : repository_(repository), reader_(std::move(reader)) {}

  absl::StatusOr<bool> Next(store::v1::ReadDiskResponse* message) override {
    if (at_end_) return false;
    message->Clear();
    if (std::exchange(first_, false)) {
      const base::Bytes key = repository_.hasher().key();
      message->set_id_suite(static_cast<uint32_t>(repository_.info().id_suite));
      message->set_id_key(key.data(), key.size());
      message->set_capacity_bytes(static_cast<int64_t>(reader_->capacity_bytes()));
      message->set_chunk_size_bytes(repository_.info().chunk_size_bytes);
    }
    ASSIGN_OR_RETURN(const std::vector<repo::DiskChunk> chunks, reader_->Next(kReadBatchBytes));
    for (const repo::DiskChunk& from : chunks) {
      store::v1::ReadDiskResponse::Item& item = *message->add_items();
      item.set_offset_bytes(static_cast<int64_t>(from.offset_bytes));
      store::v1::Chunk& chunk = *item.mutable_chunk();
      chunk.set_id(from.chunk.id.bytes.data(), from.chunk.id.bytes.size());
      chunk.set_plain_length(from.chunk.plain_length);
      chunk.set_codec(static_cast<uint32_t>(from.chunk.codec));
      chunk.set_data(from.chunk.data.data(), from.chunk.data.size());
    }
    at_end_ = chunks.empty();
    message->set_done_bytes(static_cast<int64_t>(at_end_ ? reader_->capacity_bytes() : reader_->position_bytes()));
    return true;
  }

 private:
  repo::Repository& repository_;
  const std::unique_ptr<repo::DiskReader> reader_;
  bool first_ = true;
  bool at_end_ = false;
};

}  // namespace

absl::StatusOr<store::v1::OpenSessionResponse> LocalStore::OpenSession(const store::v1::OpenSessionRequest&) {
  session_ = repository_.BeginSession();
  const base::Bytes key = repository_.hasher().key();
  store::v1::OpenSessionResponse response;
  response.set_session_id("local");
  response.set_chunk_size_bytes(repository_.info().chunk_size_bytes);
  response.set_id_suite(static_cast<uint32_t>(repository_.info().id_suite));
  response.set_id_key(key.data(), key.size());
  response.set_compression_level(options_.compression_level);
  response.set_fast_compression_level(options_.compression_level);
  return response;
}

absl::StatusOr<store::v1::CheckBaseResponse> LocalStore::CheckBase(const store::v1::CheckBaseRequest& request) {
  const repo::BaseDisk base{request.recovery_point_id(), request.vm_uuid(), request.disk(),
                            static_cast<uint64_t>(request.capacity_bytes())};
  const std::vector<uint64_t> chunks(request.chunks().begin(), request.chunks().end());
  ASSIGN_OR_RETURN(const std::vector<size_t> different,
                   session_->CompareWithBase(base, chunks, IdsOf(base::AsBytes(request.chunk_ids()))));
  store::v1::CheckBaseResponse response;
  for (const size_t i : different) response.add_different(request.chunks(static_cast<int>(i)));
  return response;
}

absl::StatusOr<store::v1::NegotiateResponse> LocalStore::Negotiate(const store::v1::NegotiateRequest& request) {
  ASSIGN_OR_RETURN(const std::vector<uint8_t> wanted, session_->Wanted(IdsOf(base::AsBytes(request.chunk_ids()))));
  store::v1::NegotiateResponse response;
  response.set_wanted(wanted.data(), wanted.size());
  return response;
}

absl::StatusOr<store::v1::UploadResponse> LocalStore::Upload(const store::v1::UploadRequest& batch) {
  store::v1::UploadResponse response;
  for (const store::v1::Chunk& chunk : batch.chunks()) {
    repo::ChunkView view;
    view.id = repo::ChunkId::FromBytes(base::AsBytes(chunk.id()));
    view.plain_length = chunk.plain_length();
    view.codec = static_cast<repo::Codec>(chunk.codec());
    view.data = base::AsBytes(chunk.data());
    ASSIGN_OR_RETURN(const uint64_t stored_bytes, session_->Put(view));
    response.set_chunk_count(response.chunk_count() + 1);
    response.set_stored_bytes(response.stored_bytes() + static_cast<int64_t>(stored_bytes));
  }
  return response;
}

absl::StatusOr<store::v1::PutDiskMapResponse> LocalStore::PutDiskMap(const transfer::DiskMapTarget& target,
                                                                     base::Bytes ids) {
  ASSIGN_OR_RETURN(const auto writer, session_->AddDiskMap(target.vm_uuid, target.disk, target.capacity_bytes));
  RETURN_IF_ERROR(writer->Append(IdsOf(ids)));
  ASSIGN_OR_RETURN(const uint64_t data_bytes, writer->Finish());
  store::v1::PutDiskMapResponse response;
  response.set_data_bytes(static_cast<int64_t>(data_bytes));
  return response;
}

absl::StatusOr<store::v1::PutDiskMapResponse> LocalStore::PutChangedMap(const transfer::DiskMapTarget& target,
                                                                        const std::string& base_recovery_point_id,
                                                                        std::span<const transfer::ChangedIds> changes) {
  ASSIGN_OR_RETURN(const auto writer, session_->AddDiskMapOn({base_recovery_point_id, target.vm_uuid, target.disk,
                                                              target.capacity_bytes}));
  uint64_t next = 0;
  for (const transfer::ChangedIds& run : changes) {
    RETURN_IF_ERROR(writer->AppendBase(run.first_chunk - next));
    RETURN_IF_ERROR(writer->Append(IdsOf(run.ids)));
    next = run.first_chunk + run.ids.size() / repo::kChunkIdSize;
  }
  const uint64_t chunk_size = repository_.info().chunk_size_bytes;
  RETURN_IF_ERROR(writer->AppendBase((target.capacity_bytes + chunk_size - 1) / chunk_size - next));
  ASSIGN_OR_RETURN(const uint64_t data_bytes, writer->Finish());
  store::v1::PutDiskMapResponse response;
  response.set_data_bytes(static_cast<int64_t>(data_bytes));
  return response;
}

absl::StatusOr<store::v1::CommitResponse> LocalStore::Commit(const store::v1::CommitRequest& request) {
  ASSIGN_OR_RETURN(const auto manifests, session_->Commit({request.manifests().begin(), request.manifests().end()}));
  store::v1::CommitResponse response;
  for (const repo::Manifest& manifest : manifests) response.add_recovery_point_ids(manifest.recovery_point_id());
  response.set_stored_bytes(static_cast<int64_t>(session_->stored_bytes()));
  session_.reset();
  return response;
}

absl::Status LocalStore::AbortSession(const store::v1::AbortSessionRequest&) {
  session_.reset();
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<transfer::DiskStream>> LocalStore::ReadDisk(const store::v1::ReadDiskRequest& request) {
  ASSIGN_OR_RETURN(auto reader, repository_.OpenDisk(request.recovery_point_id(), request.disk()));
  RETURN_IF_ERROR(reader->Seek(static_cast<uint64_t>(request.first_chunk())));
  return std::make_unique<LocalStream>(repository_, std::move(reader));
}

}  // namespace umbra::bench
