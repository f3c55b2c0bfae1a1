// What the two upload streams of a session do with their messages.
#ifndef UMBRA_SERVER_API_AGENT_UPLOAD_SINK_H_
#define UMBRA_SERVER_API_AGENT_UPLOAD_SINK_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/api/agent/inbound_stream.h"
#include "server/api/agent/upload_sessions.h"
#include "storage/repo/repository.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::api {

inline constexpr size_t kNegotiateIdsMax = 8192;  // as umbra.store.v1 says
inline constexpr size_t kMapIdsMax = 65536;       // as umbra.store.v1 says
// No message waits longer for its repository's limit: an agent gives an upload two minutes. Only where very many
// streams share a very low limit does this let more through than it says.
inline constexpr absl::Duration kUploadPauseMax = absl::Seconds(60);

// INVALID_ARGUMENT / UPLOAD_INVALID when `raw` isn't a whole number of ids, or more than `count_max`.
absl::StatusOr<std::vector<repo::ChunkId>> ParseIds(const std::string& raw, size_t count_max);

// A disk that a map is built on, of one of the session's bases and its own virtual machine. FAILED_PRECONDITION /
// CBT_BASE_UNUSABLE for any other recovery point.
absl::StatusOr<repo::BaseDisk> BaseOf(const OpenUpload& session, const std::string& recovery_point_id,
                                      const std::string& vm_uuid, const std::string& disk, int64_t capacity_bytes);

// Finds a session of the calling host by its id.
using FindSession = std::function<absl::StatusOr<UploadSessions::Handle>(const std::string& session_id)>;

// StoreService.Upload.
class UploadSink final : public StreamSink {
 public:
  explicit UploadSink(FindSession find) : find_(std::move(find)) {}
  absl::Status Take(grpc::ByteBuffer& message) override;
  // What the repository's limit says to the message that was taken.
  absl::Duration Pause() override { return pause_; }
  absl::Status Finish(grpc::ByteBuffer& response) override;

 private:
  absl::Status Put(const store::v1::Chunk& chunk);

  const FindSession find_;
  UploadSessions::Handle session_;
  store::v1::UploadRequest request_;  // its buffers are used again for each message
  store::v1::UploadResponse result_;
  absl::Duration pause_;
};

// StoreService.PutDiskMap.
class DiskMapSink final : public StreamSink {
 public:
  explicit DiskMapSink(FindSession find) : find_(std::move(find)) {}
  absl::Status Take(grpc::ByteBuffer& message) override;
  absl::Status Finish(grpc::ByteBuffer& response) override;

 private:
  absl::Status Begin();
  absl::Status TakeChanges();

  const FindSession find_;
  bool on_base_ = false;            // only changes come
  uint64_t next_chunk_ = 0;         // of a map on a base
  uint64_t chunk_count_ = 0;        // the same
  UploadSessions::Handle session_;  // before writer_, which must not outlive it
  std::unique_ptr<repo::DiskMapWriter> writer_;
  store::v1::PutDiskMapRequest request_;
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_UPLOAD_SINK_H_
