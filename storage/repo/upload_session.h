// The UploadSession of a repository: checks chunks, fills packs, seals them in the background.
#ifndef UMBRA_STORAGE_REPO_UPLOAD_SESSION_H_
#define UMBRA_STORAGE_REPO_UPLOAD_SESSION_H_

#include <atomic>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/base_map.h"
#include "storage/repo/core.h"
#include "storage/repo/disk_map.h"
#include "storage/repo/pack.h"

namespace umbra::repo {

class PackingSession final : public UploadSession, private ChunksInFlight::Owner {
 public:
  explicit PackingSession(Core& core);
  ~PackingSession() override;

  absl::StatusOr<std::vector<uint8_t>> Wanted(std::span<const ChunkId> ids) override;
  absl::StatusOr<uint64_t> Put(const ChunkView& chunk) override;
  absl::StatusOr<std::unique_ptr<DiskMapWriter>> AddDiskMap(const std::string& vm_uuid, const std::string& disk,
                                                            uint64_t capacity_bytes) override;
  absl::StatusOr<std::vector<size_t>> CompareWithBase(const BaseDisk& base, std::span<const uint64_t> chunks,
                                                      std::span<const ChunkId> ids) override;
  absl::StatusOr<std::unique_ptr<DiskMapWriter>> AddDiskMapOn(const BaseDisk& base) override;
  absl::StatusOr<std::vector<Manifest>> Commit(std::vector<Manifest> manifests) override;
  void Abort() override;
  uint64_t stored_bytes() const override { return stored_bytes_; }

 private:
  friend class PackingDiskMapWriter;

  using DiskKey = std::pair<std::string, std::string>;  // vm_uuid, disk

  struct DiskMap {
    bool finished = false;
    DiskRoot root;
    std::string map_hash;
    uint64_t data_bytes = 0;
  };

  // A call that uses the session. Commit and Abort wait until none is left.
  class Call {
   public:
    explicit Call(PackingSession& session);
    ~Call();
    Call(const Call&) = delete;
    const absl::Status& status() const { return status_; }

   private:
    PackingSession& session_;
    absl::Status status_;
  };

  void SealSoon() override;

  // The plain length of a chunk that need not be sent; 0 when it isn't known.
  absl::StatusOr<uint32_t> KnownLength(const ChunkId& id);
  // The same for a chunk that is to be referred to: it is stored, or in one of this session's own packs. May wait for
  // the seal of another session's pack.
  absl::StatusOr<uint32_t> SafeLength(const ChunkId& id);
  // Stores a checked chunk or page, unless another thread was faster. Returns the bytes stored.
  absl::StatusOr<uint64_t> Store(const ChunkId& id, Codec codec, uint32_t plain_length, base::Bytes data);
  absl::StatusOr<ChunkId> StorePage(std::span<const ChunkId> ids);
  absl::Status FinishDiskMap(const DiskKey& key, DiskMap map);
  absl::StatusOr<std::shared_ptr<const BaseMap>> OpenBase(const BaseDisk& base);
  absl::StatusOr<std::unique_ptr<DiskMapWriter>> NewMap(const DiskKey& key, uint64_t capacity_bytes,
                                                        std::shared_ptr<const BaseMap> base);

  absl::Status OpenPackLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status FailLocked(const absl::Status& status) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void QueueSealLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  void SealLoop(std::stop_token stop);
  absl::Status Seal(PackWriter& pack);
  absl::Status SealEverything();

  // Ends the session for other calls; false when it has ended already.
  bool Close();
  absl::StatusOr<std::vector<Point>> BuildPoints(std::vector<Manifest> manifests);
  absl::StatusOr<std::vector<Manifest>> CommitClosed(std::vector<Manifest> manifests);
  void StopSealing();

  Core& core_;
  const ChunksInFlight::OwnerId owner_id_;  // under which this session's chunks are in core_.in_flight
  // Everything that the session was told is known, and what it sealed. Until the session ends: its points are visible by then.
  std::unique_ptr<PackLease> lease_;
  std::atomic<uint64_t> stored_bytes_{0};
  std::atomic<uint64_t> new_bytes_{0};  // of chunks that were stored, before compression

  absl::Mutex mu_;
  bool closed_ ABSL_GUARDED_BY(mu_) = false;
  int calls_ ABSL_GUARDED_BY(mu_) = 0;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);  // the first I/O error; what it hit is lost
  std::unique_ptr<PackWriter> open_pack_ ABSL_GUARDED_BY(mu_);
  std::deque<std::unique_ptr<PackWriter>> to_seal_ ABSL_GUARDED_BY(mu_);  // the front is being sealed
  std::map<DiskKey, DiskMap> maps_ ABSL_GUARDED_BY(mu_);
  // By all that names them; shared with the writers that build on them. Held to the end of the session.
  std::map<std::string, std::shared_ptr<const BaseMap>> bases_ ABSL_GUARDED_BY(mu_);
  std::jthread sealer_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_UPLOAD_SESSION_H_
