// The daemon's data service as transfers see it: what is known, upload, commit, read. agent/link implements it over
// gRPC, tests in memory. Messages are those of umbra/store/v1, which also documents their limits.
//
// Threads: every method may be called from several threads at once; each blocks until the daemon has answered.
// Errors, on every call: UNAVAILABLE the daemon can't be reached or the link broke; every call but Commit may be
// repeated as it is (RetryingStore does). NOT_FOUND / SESSION_NOT_FOUND the daemon has given the session up, for
// example because it restarted: run the job again. CANCELLED the assignment was stopped. Others are the daemon's own.
#ifndef UMBRA_AGENT_TRANSFER_CHUNK_STORE_CLIENT_H_
#define UMBRA_AGENT_TRANSFER_CHUNK_STORE_CLIENT_H_

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/base/bytes.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::transfer {

// Where a finished disk's map belongs.
struct DiskMapTarget {
  std::string session_id;
  std::string vm_uuid;
  std::string disk;
  uint64_t capacity_bytes = 0;
};

// Consecutive chunks of a map that may be something else than in its base.
struct ChangedIds {
  uint64_t first_chunk = 0;
  base::Bytes ids;  // 32 bytes for each
};

// A disk on its way back, in order. One thread at a time.
class DiskStream {
 public:
  virtual ~DiskStream() = default;

  // Fills `message` with the next stretch; false after the last one. A stream that failed is finished: open another at
  // the first chunk that is missing.
  virtual absl::StatusOr<bool> Next(store::v1::ReadDiskResponse* message) = 0;
};

class ChunkStoreClient {
 public:
  virtual ~ChunkStoreClient() = default;

  virtual absl::StatusOr<store::v1::OpenSessionResponse> OpenSession(const store::v1::OpenSessionRequest& request) = 0;

  // FAILED_PRECONDITION / CBT_BASE_UNUSABLE: no increment can start from this disk of this recovery point.
  virtual absl::StatusOr<store::v1::CheckBaseResponse> CheckBase(const store::v1::CheckBaseRequest& request) = 0;

  // One byte for each id: 1 wanted, 0 known.
  virtual absl::StatusOr<store::v1::NegotiateResponse> Negotiate(const store::v1::NegotiateRequest& request) = 0;

  // Sends one batch, which fits one message, and waits until the daemon has checked and taken every chunk of it.
  // A chunk that was taken before is taken again without harm.
  virtual absl::StatusOr<store::v1::UploadResponse> Upload(const store::v1::UploadRequest& batch) = 0;

  // `ids`: 32 bytes for each chunk of the disk, in order.
  virtual absl::StatusOr<store::v1::PutDiskMapResponse> PutDiskMap(const DiskMapTarget& target, base::Bytes ids) = 0;

  // A map that is the base's but for `changes`, which ascend and are apart. FAILED_PRECONDITION / CBT_BASE_UNUSABLE.
  virtual absl::StatusOr<store::v1::PutDiskMapResponse> PutChangedMap(const DiskMapTarget& target,
                                                                      const std::string& base_recovery_point_id,
                                                                      std::span<const ChangedIds> changes) = 0;

  // All recovery points or none. After UNAVAILABLE it is not known which; asking again gives the first answer again.
  virtual absl::StatusOr<store::v1::CommitResponse> Commit(const store::v1::CommitRequest& request) = 0;

  virtual absl::Status AbortSession(const store::v1::AbortSessionRequest& request) = 0;

  // The stream may not outlive this client.
  virtual absl::StatusOr<std::unique_ptr<DiskStream>> ReadDisk(const store::v1::ReadDiskRequest& request) = 0;
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_CHUNK_STORE_CLIENT_H_
