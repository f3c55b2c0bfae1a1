// Disk -> chunks -> store, as a pipeline with a fixed memory budget:
//
//   caller: BlockReader -> slots of the pool        (blocks while the budget is used up: back-pressure on the reader)
//   workers: zero test, id                          (a zero chunk ends here; so does one that is on its way already)
//   askers:  Negotiate in batches, several at once  (a known chunk ends here)
//   workers: compress into an upload batch          (before hashing more: it frees memory)
//   uploaders: Upload, several batches at once
//
// The map of the disk is an array of ids by chunk number, so the order of all this doesn't matter.
#ifndef UMBRA_AGENT_TRANSFER_BACKUP_PIPELINE_H_
#define UMBRA_AGENT_TRANSFER_BACKUP_PIPELINE_H_

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/transfer/cancellation.h"
#include "agent/transfer/chunk_store_client.h"
#include "agent/transfer/processor_share.h"
#include "agent/transfer/progress_meter.h"
#include "agent/transfer/read_planner.h"
#include "storage/base/threads.h"
#include "storage/repo/chunk.h"

namespace umbra::transfer {

struct BackupSettings {
  uint64_t memory_bytes = 32 * base::kMiB;          // plain chunks between reader and upload; at least 8 chunks
  int workers = 2;                                  // hash and compress: the CPU part
  int askers = 2;                                   // Negotiate calls in flight
  int uploaders = 3;                                // Upload calls in flight; a few more batches wait
  uint64_t upload_batch_bytes = 2560 * base::kKiB;  // plus at most one chunk it stays below the 4 MiB of a message
  std::function<base::ThreadTimes()> thread_times = base::ReadThreadTimes;  // called by the workers
  base::Threads* threads = &base::SystemThreads();  // its threads are started here, and wait here
};

class BackupPipeline {
 public:
  // `session` as the store gave it. INTERNAL when this version can't work with its chunk size or id suite.
  // `store`, `meter` and `cancellation` must outlive the pipeline.
  static absl::StatusOr<std::unique_ptr<BackupPipeline>> Create(ChunkStoreClient& store,
                                                                const store::v1::OpenSessionResponse& session,
                                                                ProgressMeter& meter, Cancellation& cancellation,
                                                                const BackupSettings& settings);
  // Stops at once; waits for calls to the store that are under way.
  ~BackupPipeline();

  // As the session asks for.
  uint32_t chunk_size() const { return chunk_size_; }
  const repo::ChunkHasher& hasher() const { return hasher_; }

  // Reads of the disk what `plan` says, sends what the store lacks and hands in the map. Blocks; one disk at a time, on
  // one thread. `meter_disk` is the disk's number in the meter. After an error the pipeline gives the same error for
  // ever. Errors: those of the reader and of the store; CANCELLED or whatever the cancellation says.
  absl::Status BackUpDisk(hypervisor::BlockReader& reader, const DiskMapTarget& target, const DiskReadPlan& plan,
                          size_t meter_disk);

 private:
  // Room for one plain chunk.
  struct Slot {
    std::byte* data = nullptr;
    uint32_t length = 0;  // of the chunk: less than the chunk size only at the end of the disk
    uint32_t filled = 0;
    uint64_t chunk = 0;
    repo::ChunkId id;
  };
  using AskBatch = std::vector<Slot*>;
  struct UploadBatch {
    store::v1::UploadRequest request;
    std::vector<repo::ChunkId> ids;
    uint64_t plain_bytes = 0;
    uint64_t stored_bytes = 0;
  };
  struct FreeDeleter {
    void operator()(void* p) const { std::free(p); }
  };

  // For when something else is the limit, and for when compressing is.
  struct Compressions {
    repo::Compression usual;
    repo::Compression fast;
  };

  BackupPipeline(ChunkStoreClient& store, std::string session_id, uint32_t chunk_size, const Compressions& compressions,
                 repo::ChunkHasher hasher, ProgressMeter& meter, Cancellation& cancellation,
                 const BackupSettings& settings);

  // Reader side, on the caller's thread.
  absl::Status StartDisk(const DiskMapTarget& target, const DiskReadPlan& plan, size_t meter_disk);
  absl::Status ReadDisk(hypervisor::BlockReader& reader, const ReadPlan& plan);
  absl::Status PutMap(const DiskMapTarget& target, const DiskReadPlan& plan);
  // Reads and sends again what the map names and the store doesn't have any more.
  absl::Status SendMissing(hypervisor::BlockReader& reader, const DiskReadPlan& plan);
  absl::StatusOr<ReadPlan> PlanMissing(const DiskReadPlan& plan);
  absl::Status TakePiece(uint64_t offset_bytes, base::Bytes data);
  absl::StatusOr<Slot*> SlotFor(uint64_t chunk, uint32_t length, size_t piece_bytes);
  absl::Status Drain();

  // Threads.
  void RunWorker();
  void RunAsker();
  void RunUploader();
  void Hash(Slot* slot);
  absl::Status Compress(Slot* slot, const repo::Compression& how, std::vector<std::byte>& scratch);
  absl::Status Ask(const AskBatch& batch);
  absl::Status Send(UploadBatch& batch);

  void Fail(const absl::Status& why);
  void EndChunkLocked(Slot* slot) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  const repo::Compression& CompressionLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  void SealLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  bool StoppedLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stop_ || !error_.ok(); }

  ChunkStoreClient& store_;
  const std::string session_id_;
  const uint32_t chunk_size_;
  const Compressions compressions_;
  const repo::ChunkHasher hasher_;
  ProgressMeter& meter_;
  Cancellation& cancellation_;
  const BackupSettings settings_;

  // The disk that is under way; set by the caller's thread while the pipeline is empty. A chunk's entry of the map is
  // written by the one worker that has its slot. From calloc, so that the holes of a big disk take no memory.
  std::unique_ptr<repo::ChunkId[], FreeDeleter> map_;
  uint64_t capacity_bytes_ = 0;
  uint64_t received_bytes_ = 0;
  uint64_t planned_bytes_ = 0;
  size_t meter_disk_ = 0;
  absl::flat_hash_map<uint64_t, Slot*> partial_;  // chunks of which a piece is missing; the caller's thread only

  std::unique_ptr<std::byte[]> memory_;
  std::vector<Slot> slots_;
  std::vector<UploadBatch> batches_;
  size_t ask_batch_max_ = 0;

  // Every slot is in exactly one of: free_, partial_, a queue, or in the hands of the thread that counts itself in
  // hashing_, asking_ or compressing_.
  absl::Mutex mu_;
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  bool draining_ ABSL_GUARDED_BY(mu_) = false;  // no more is read: unfinished batches go out as they are
  std::vector<Slot*> free_ ABSL_GUARDED_BY(mu_);
  std::deque<Slot*> to_hash_ ABSL_GUARDED_BY(mu_);
  AskBatch open_ask_ ABSL_GUARDED_BY(mu_);
  std::deque<AskBatch> to_ask_ ABSL_GUARDED_BY(mu_);
  std::deque<Slot*> to_compress_ ABSL_GUARDED_BY(mu_);
  UploadBatch* open_upload_ ABSL_GUARDED_BY(mu_) = nullptr;
  std::deque<UploadBatch*> to_upload_ ABSL_GUARDED_BY(mu_);
  std::vector<UploadBatch*> free_batches_ ABSL_GUARDED_BY(mu_);
  int hashing_ ABSL_GUARDED_BY(mu_) = 0;
  int asking_ ABSL_GUARDED_BY(mu_) = 0;
  int compressing_ ABSL_GUARDED_BY(mu_) = 0;
  ProcessorShare share_ ABSL_GUARDED_BY(mu_);  // of the workers while they compress
  // Chunks between their id and the store's "taken": the same chunk again needs neither asking nor sending. Bounded by
  // the memory budget; later ones the store itself knows.
  absl::flat_hash_set<repo::ChunkId, repo::ChunkIdHash> under_way_ ABSL_GUARDED_BY(mu_);

  std::optional<Cancellation::Guard> on_cancel_;
  std::vector<std::unique_ptr<base::Thread>> threads_;
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_BACKUP_PIPELINE_H_
