// Store -> disk: every chunk is decompressed and its id computed again before one byte of it is written.
#ifndef UMBRA_AGENT_TRANSFER_DISK_RESTORER_H_
#define UMBRA_AGENT_TRANSFER_DISK_RESTORER_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <thread>
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
#include "storage/repo/chunk.h"

namespace umbra::transfer {

struct RestoreSettings {
  int workers = 2;  // decompress, check, write
  // Messages (1-4 MiB each) between the link and the workers.
  int queue_messages = 8;
  // A cut stream is opened again, at the first chunk that is missing, for this long without any progress.
  absl::Duration link_grace = absl::Seconds(30);
  Backoff::Limits backoff = {.first = absl::Milliseconds(200), .last = absl::Seconds(3)};
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

  // Blocks until every chunk is written. What isn't written are zero chunks.
  // Errors: DATA_LOSS / CHUNK_DAMAGED names chunk, disk and offset: the chunk was not written; UNAVAILABLE / AGENT_LOST
  // the link stayed down; those of the store, of the writer, and of the cancellation.
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

  // Verified chunks that lie one after another on the disk: one large, aligned write instead of many.
  struct WriteRun {
    base::AlignedBuffer memory;
    uint64_t offset_bytes = 0;
    size_t length = 0;
  };

  absl::Status Stream(uint64_t first_chunk);
  uint64_t End() const { return source_.end_bytes == 0 ? source_.capacity_bytes : source_.end_bytes; }
  absl::StatusOr<Message*> FreeMessage();
  absl::Status Accept(const Message& message);
  absl::Status AcceptLayout(const Message& message);
  absl::Status WaitUntilWritten();
  void RunWorker();
  absl::Status WriteMessage(const Message& message, WriteRun& run);
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

  DiskSource source_;
  std::optional<Layout> layout_;  // set before the first message is queued, constant from then on
  uint64_t received_bytes_ = 0;   // the disk up to here has come in; the caller's thread only

  std::vector<Message> messages_;
  absl::Mutex mu_;  // every message is in free_, in queue_, or in the hands of one thread
  std::vector<Message*> free_ ABSL_GUARDED_BY(mu_);
  std::deque<Message*> queue_ ABSL_GUARDED_BY(mu_);
  absl::Status error_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_;
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_DISK_RESTORER_H_
