// Figures of one assignment's transfer, counted by its threads and looked at by the reporter.
#ifndef UMBRA_AGENT_TRANSFER_PROGRESS_METER_H_
#define UMBRA_AGENT_TRANSFER_PROGRESS_METER_H_

#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::transfer {

// How a backup reads a disk. Values of umbra.v1.DiskProgress.ReadMode.
enum class ReadMode { kUnknown = 0, kFull = 1, kIncremental = 2 };

struct DiskRead {
  ReadMode mode = ReadMode::kUnknown;
  std::string full_reason;  // why it is read whole: a stable reason, and the same for people
  std::string full_message;
  uint64_t changed_bytes = 0;  // of an increment: what the hypervisor names as changed
};

struct DiskFigures {
  std::string vm_uuid;
  std::string disk;
  uint64_t done_bytes = 0;  // holes included; never goes down
  uint64_t total_bytes = 0;
  DiskRead read;
};

struct TransferFigures {
  uint64_t done_bytes = 0;  // over all disks, holes included; never goes down
  uint64_t total_bytes = 0;
  uint64_t read_bytes = 0;    // read from the source: disks, or the repository
  uint64_t new_bytes = 0;     // of chunks that the repository lacked, plain
  uint64_t stored_bytes = 0;  // the same as sent
  uint64_t rate_bytes_per_second = 0;  // of read_bytes over the last seconds
  std::optional<absl::Duration> eta;
  std::vector<DiskFigures> disks;
};

// Thread-safe.
class ProgressMeter {
 public:
  explicit ProgressMeter(base::Clock& clock) : clock_(clock) {}

  // Gives the number by which the disk is known below.
  size_t AddDisk(std::string vm_uuid, std::string disk, uint64_t total_bytes);
  void SetRead(size_t disk, DiskRead read);
  // How much of the disk is data. The rest is credited in step with the data, so that a big hole is no jump.
  void SetDataBytes(size_t disk, uint64_t data_bytes);

  void AddDone(size_t disk, uint64_t data_bytes);
  // Everything of the disk before `done_bytes` is done (a stream that counts holes itself).
  void SetDone(size_t disk, uint64_t done_bytes);
  void FinishDisk(size_t disk);

  void AddRead(uint64_t bytes);
  void AddNew(uint64_t plain_bytes, uint64_t stored_bytes);

  // The figures now. Each call is also a sample for the rate: call it about regularly.
  TransferFigures Figures();

 private:
  struct Disk {
    DiskFigures figures;
    uint64_t data_bytes = 0;
    uint64_t data_done_bytes = 0;
  };
  struct Sample {
    absl::Duration at;
    uint64_t read_bytes;
    uint64_t done_bytes;
  };

  void SampleLocked(TransferFigures& figures) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Clock& clock_;
  absl::Mutex mu_;  // the figures of one look belong together
  std::vector<Disk> disks_ ABSL_GUARDED_BY(mu_);
  uint64_t read_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t new_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  uint64_t stored_bytes_ ABSL_GUARDED_BY(mu_) = 0;
  std::deque<Sample> samples_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_PROGRESS_METER_H_
