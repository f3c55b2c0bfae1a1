#include "agent/transfer/retrying_store.h"

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::transfer {

RetryingStore::RetryingStore(ChunkStoreClient& inner, base::Clock& clock, base::Random& random,
                             const Cancellation& cancellation, RetrySettings settings, int64_t upload_bytes_per_second,
                             RateLimit* host_upload)
    : inner_(inner),
      clock_(clock),
      random_(random),
      cancellation_(cancellation),
      settings_(settings),
      upload_limit_(clock, upload_bytes_per_second),
      host_upload_(host_upload) {}

template <typename Call>
std::invoke_result_t<Call> RetryingStore::Retry(const char* what, Call call) {
  Backoff backoff(random_, settings_.backoff);
  const absl::Duration start = clock_.Monotonic();
  while (true) {
    RETURN_IF_ERROR(cancellation_.Check());
    auto answer = call();
    if (answer.ok() || answer.status().code() != absl::StatusCode::kUnavailable) return answer;
    const absl::Duration wait = backoff.Next();
    if (clock_.Monotonic() + wait - start > settings_.grace) {
      return base::Error(absl::StatusCode::kUnavailable, "AGENT_LOST", "{} failed for {}: {}", what,
                         absl::FormatDuration(settings_.grace), base::MessageOf(answer.status()));
    }
    base::Log("transfer")->warn("call to the daemon failed, trying again call={} wait_ms={} error=\"{}\"", what,
                                absl::ToInt64Milliseconds(wait), base::Describe(answer.status()));
    RETURN_IF_ERROR(cancellation_.Wait(clock_, wait));
  }
}

absl::StatusOr<store::v1::OpenSessionResponse> RetryingStore::OpenSession(const store::v1::OpenSessionRequest& request) {
  return Retry("OpenSession", [&] { return inner_.OpenSession(request); });
}

absl::StatusOr<store::v1::CheckBaseResponse> RetryingStore::CheckBase(const store::v1::CheckBaseRequest& request) {
  return Retry("CheckBase", [&] { return inner_.CheckBase(request); });
}

absl::StatusOr<store::v1::NegotiateResponse> RetryingStore::Negotiate(const store::v1::NegotiateRequest& request) {
  return Retry("Negotiate", [&] { return inner_.Negotiate(request); });
}

absl::StatusOr<store::v1::UploadResponse> RetryingStore::Upload(const store::v1::UploadRequest& batch) {
  const auto bytes = static_cast<int64_t>(batch.ByteSizeLong());
  RETURN_IF_ERROR(upload_limit_.Take(bytes, cancellation_));
  if (host_upload_ != nullptr) RETURN_IF_ERROR(host_upload_->Take(bytes, cancellation_));
  return Retry("Upload", [&] { return inner_.Upload(batch); });
}

absl::StatusOr<store::v1::PutDiskMapResponse> RetryingStore::PutDiskMap(const DiskMapTarget& target, base::Bytes ids) {
  return Retry("PutDiskMap", [&] { return inner_.PutDiskMap(target, ids); });
}

absl::StatusOr<store::v1::PutDiskMapResponse> RetryingStore::PutChangedMap(const DiskMapTarget& target,
                                                                           const std::string& base_recovery_point_id,
                                                                           std::span<const ChangedIds> changes) {
  return Retry("PutDiskMap", [&] { return inner_.PutChangedMap(target, base_recovery_point_id, changes); });
}

absl::StatusOr<store::v1::CommitResponse> RetryingStore::Commit(const store::v1::CommitRequest& request) {
  return Retry("Commit", [&] { return inner_.Commit(request); });
}

absl::Status RetryingStore::AbortSession(const store::v1::AbortSessionRequest& request) {
  return inner_.AbortSession(request);  // the daemon ends forgotten sessions by itself
}

absl::StatusOr<std::unique_ptr<DiskStream>> RetryingStore::ReadDisk(const store::v1::ReadDiskRequest& request) {
  return Retry("ReadDisk", [&] { return inner_.ReadDisk(request); });
}

}  // namespace umbra::transfer
