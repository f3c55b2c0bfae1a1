// A repository as the agent's transfer sees it, without the daemon between: what the library alone is measured with.
//
// Every call goes to the repository's own session and readers in the caller's thread; nothing is checked less than the
// daemon does. One upload session at a time.
#ifndef UMBRA_TESTS_BENCH_REPOSITORY_LOCAL_STORE_H_
#define UMBRA_TESTS_BENCH_REPOSITORY_LOCAL_STORE_H_

#include <memory>

#include "agent/transfer/chunk_store_client.h"
#include "storage/repo/repository.h"

namespace umbra::bench {

struct LocalStoreOptions {
  // One way for every chunk, so that bytes and seconds belong together; the daemon's agents change to a faster one
  // while their processors are the limit (docs/adr/0006).
  int compression_level = 1;
};

class LocalStore final : public transfer::ChunkStoreClient {
 public:
  // `repository` outlives the store.
  LocalStore(repo::Repository& repository, const LocalStoreOptions& options)
      : repository_(repository), options_(options) {}

  absl::StatusOr<store::v1::OpenSessionResponse> OpenSession(const store::v1::OpenSessionRequest& request) override;
  absl::StatusOr<store::v1::CheckBaseResponse> CheckBase(const store::v1::CheckBaseRequest& request) override;
  absl::StatusOr<store::v1::NegotiateResponse> Negotiate(const store::v1::NegotiateRequest& request) override;
  absl::StatusOr<store::v1::UploadResponse> Upload(const store::v1::UploadRequest& batch) override;
  absl::StatusOr<store::v1::PutDiskMapResponse> PutDiskMap(const transfer::DiskMapTarget& target,
                                                           base::Bytes ids) override;
  absl::StatusOr<store::v1::PutDiskMapResponse> PutChangedMap(const transfer::DiskMapTarget& target,
                                                              const std::string& base_recovery_point_id,
                                                              std::span<const transfer::ChangedIds> changes) override;
  absl::StatusOr<store::v1::CommitResponse> Commit(const store::v1::CommitRequest& request) override;
  absl::Status AbortSession(const store::v1::AbortSessionRequest& request) override;
  absl::StatusOr<std::unique_ptr<transfer::DiskStream>> ReadDisk(const store::v1::ReadDiskRequest& request) override;

 private:
  repo::Repository& repository_;
  const LocalStoreOptions options_;
  std::unique_ptr<repo::UploadSession> session_;
};

}  // namespace umbra::bench

#endif  // UMBRA_TESTS_BENCH_REPOSITORY_LOCAL_STORE_H_
