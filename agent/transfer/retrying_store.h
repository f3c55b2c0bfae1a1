// Lets a transfer live through a short loss of the link: calls that broke are made again, for a bounded time.
#ifndef UMBRA_AGENT_TRANSFER_RETRYING_STORE_H_
#define UMBRA_AGENT_TRANSFER_RETRYING_STORE_H_

#include <functional>
#include <memory>

#include "agent/transfer/backoff.h"
#include "agent/transfer/cancellation.h"
#include "agent/transfer/chunk_store_client.h"
#include "agent/transfer/rate_limit.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"

namespace umbra::transfer {

struct RetrySettings {
  // One call is tried again for this long after its first failure. Longer than a restart of a switch or of the daemon;
  // not so long that a guest's scratch file grows without anybody reading.
  absl::Duration grace = absl::Seconds(30);
  Backoff::Limits backoff = {.first = absl::Milliseconds(200), .last = absl::Seconds(3)};
};

// Decorates another client, which must outlive it. Repeats a call that failed with UNAVAILABLE; when the grace is over
// the answer is UNAVAILABLE / AGENT_LOST. AbortSession and the messages of a DiskStream are not repeated. Uploads wait
// for their turn when there is a limit: their own, and one that all uploads of the host share.
class RetryingStore final : public ChunkStoreClient {
 public:
  RetryingStore(ChunkStoreClient& inner, base::Clock& clock, base::Random& random, const Cancellation& cancellation,
                RetrySettings settings = {}, int64_t upload_bytes_per_second = 0, RateLimit* host_upload = nullptr);

  absl::StatusOr<store::v1::OpenSessionResponse> OpenSession(const store::v1::OpenSessionRequest& request) override;
  absl::StatusOr<store::v1::CheckBaseResponse> CheckBase(const store::v1::CheckBaseRequest& request) override;
  absl::StatusOr<store::v1::NegotiateResponse> Negotiate(const store::v1::NegotiateRequest& request) override;
  absl::StatusOr<store::v1::UploadResponse> Upload(const store::v1::UploadRequest& batch) override;
  absl::StatusOr<store::v1::PutDiskMapResponse> PutDiskMap(const DiskMapTarget& target, base::Bytes ids) override;
  absl::StatusOr<store::v1::PutDiskMapResponse> PutChangedMap(const DiskMapTarget& target,
                                                              const std::string& base_recovery_point_id,
                                                              std::span<const ChangedIds> changes) override;
  absl::StatusOr<store::v1::CommitResponse> Commit(const store::v1::CommitRequest& request) override;
  absl::Status AbortSession(const store::v1::AbortSessionRequest& request) override;
  absl::StatusOr<std::unique_ptr<DiskStream>> ReadDisk(const store::v1::ReadDiskRequest& request) override;

 private:
  template <typename Call>
  std::invoke_result_t<Call> Retry(const char* what, Call call);

  ChunkStoreClient& inner_;
  base::Clock& clock_;
  base::Random& random_;
  const Cancellation& cancellation_;
  const RetrySettings settings_;
  RateLimit upload_limit_;
  RateLimit* const host_upload_;  // may be null
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_RETRYING_STORE_H_
