// Store -> disk: every chunk is decompressed and its id computed again before one byte of it is written.
#ifndef UMBRA_AGENT_TRANSFER_DISK_RESTORER_H_
#define UMBRA_AGENT_TRANSFER_DISK_RESTORER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/transfer/backoff.h"
#include "agent/transfer/cancellation.h"
#include "agent/transfer/chunk_store_client.h"
#include "agent/transfer/progress_meter.h"
#include "storage/base/aligned_buffer.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/base/threads.h"
#include "storage/repo/chunk.h"

namespace umbra::transfer {

struct RestoreSettings {
  // Decompress, check, write. Twice as many as cores: those that write wait for the disk, which takes about as long as the rest.
  int workers = 4;
  // Messages (1-4 MiB each) between the link and the workers.
  int queue_messages = 8;
  // A cut stream is opened again, at the first chunk that is missing, for this long without any progress.
  absl::Duration link_grace = absl::Seconds(30);
  Backoff::Limits backoff = {.first = absl::Milliseconds(200), .last = absl::Seconds(3)};
  base::Threads* threads = &base::SystemThreads();  // its threads are started here, and wait here
};

// What to restore: one disk of a recovery point, for a running assignment.
struct DiskSource {
  std::string job_id;
  int32_t attempt = 0;
  std::string recovery_point_id;
  std::string disk;
  uint64_t capacity_bytes = 0;  // as the recovery point says
  // A part of it: from this chunk on, up to the end of the chunk that holds the byte before this offset. Zero: to the end.
  uint64_t first_chunk = 0;
  uint64_t end_bytes = 0;
};

// Restores one disk. One use, one thread.
class DiskRestorer {
 public:
  // Everything must outlive the restorer. `writer` is not finished by it.
  DiskRestorer(ChunkStoreClient& store, hypervisor::BlockWriter& writer, ProgressMeter& meter, size_t meter_disk,
               const Cancellation& cancellation, base::Clock& clock, base::Random& random, RestoreSettings settings = {});
  ~DiskRestorer();

  // The writer's disk isn't empty: it holds what `seed` reads, and keeps what isn't written. Call before Run; must outlive the restorer.
  // Where it can't be read it counts as something else, and is written.
  // A chunk that is at its place already, by its id, is neither decoded nor written, and zeros are written where the disk
  // holds something else: a restore over an older state of the disk writes what differs, and one that was cut goes on from what
  // it had written. The seed is read by one thread at a time, each place before it is written.
  void UseSeed(hypervisor::BlockReader& seed) { seed_ = &seed; }

  // Blocks until every chunk is written. What isn't written are zero chunks, and with a seed what was there.
  // Errors: DATA_LOSS / CHUNK_DAMAGED names chunk, disk and offset: the chunk was not written; UNAVAILABLE / AGENT_LOST
  // the link stayed down; those of the store, of the writer, of the seed's extents, and of the
  // cancellation.
  absl::Status Run(const DiskSource& source);
  // After Run.
  uint64_t chunk_size_bytes() const { return layout_->chunk_size_bytes; }

 private:
  using Message = store::v1::ReadDiskResponse;
  // What the first message of a stream says.
  struct Layout {
    repo::ChunkHasher hasher;
    uint64_t chunk_size_bytes;
  };

  // What one message covers: from here to its done_bytes.
  struct Stretch {
    Message message;
    uint64_t begin_bytes = 0;
  };

  // Verified chunks that lie one after another on the disk: one large, aligned write instead of many.
  struct WriteRun {
    base::AlignedBuffer memory;
    uint64_t offset_bytes = 0;
    size_t length = 0;
    base::AlignedBuffer seen;  // what the seed has; only with one
  };

  absl::Status Stream(uint64_t first_chunk);
  uint64_t End() const { return source_.end_bytes == 0 ? source_.capacity_bytes : source_.end_bytes; }
  absl::StatusOr<Stretch*> FreeStretch();
  absl::Status Accept(const Message& message);
  absl::Status AcceptLayout(const Message& message);
  absl::Status WaitUntilWritten();
  void RunWorker();
  absl::Status WriteStretch(const Stretch& stretch, WriteRun& run);
  absl::Status FindSeedData();
  // False when it can't be read.
  bool ReadSeed(uint64_t offset_bytes, base::MutableBytes out);
  bool SeedHas(const store::v1::ReadDiskResponse::Item& item, WriteRun& run);
  // Zeros in [begin, end), of which the store has no chunks, wherever the seed has something else.
  absl::Status ClearGap(uint64_t begin_bytes, uint64_t end_bytes, WriteRun& run);
  absl::Status OpenItem(const store::v1::ReadDiskResponse::Item& item, base::MutableBytes plain) const;
  absl::Status Flush(WriteRun& run);
  absl::Status Damaged(const store::v1::ReadDiskResponse::Item& item, std::string_view what) const;
  void Fail(const absl::Status& why);
  bool StoppedLocked() const ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stop_ || !error_.ok(); }

  ChunkStoreClient& store_;
  hypervisor::BlockWriter& writer_;
  ProgressMeter& meter_;
  const size_t meter_disk_;
  const Cancellation& cancellation_;
  base::Clock& clock_;
  base::Random& random_;
  const RestoreSettings settings_;

  hypervisor::BlockReader* seed_ = nullptr;
  std::vector<hypervisor::Extent> seed_data_;  // of the seed, what may be something else than zero; constant while threads work
  absl::Mutex seed_mu_;                        // a reader is used by one thread at a time
  bool seed_damaged_ ABSL_GUARDED_BY(seed_mu_) = false;  // told once

  DiskSource source_;
  std::optional<Layout> layout_;  // set before the first message is queued, constant from then on
  uint64_t received_bytes_ = 0;   // the disk up to here has come in; the caller's thread only

  std::vector<Stretch> stretches_;
  absl::Mutex mu_;  // every stretch is in free_, in queue_, or in the hands of one thread
  std::vector<Stretch*> free_ ABSL_GUARDED_BY(mu_);
  std::deque<Stretch*> queue_ ABSL_GUARDED_BY(mu_);
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::unique_ptr<base::Thread>> threads_;
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_DISK_RESTORER_H_
