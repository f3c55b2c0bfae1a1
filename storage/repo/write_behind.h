// Writes the bytes of an object in a thread of its own, so that whoever makes them needn't wait for the disk.
#ifndef UMBRA_STORAGE_REPO_WRITE_BEHIND_H_
#define UMBRA_STORAGE_REPO_WRITE_BEHIND_H_

#include <deque>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/aligned_buffer.h"
#include "storage/repo/blob_store.h"

namespace umbra::repo {

// One thread at a time. After an error every later call returns that error, and nothing more is written.
class WriteBehind {
 public:
  // `blob` outlives this. Between calls of Write and Drain it belongs to the thread.
  explicit WriteBehind(BlobWriter& blob);
  // Ends without what is still in the queue.
  ~WriteBehind();

  // Takes `buffer`, all of it, and gives another of the same size in exchange. Blocks while kBuffersMax are on their
  // way.
  absl::Status Write(base::AlignedBuffer& buffer);
  // Returns when everything is written; until the next Write `blob` belongs to the caller. Gives its buffers back.
  absl::Status Drain();

 private:
  // The disk may take as long as the making of so many megabytes before somebody waits for it.
  static constexpr size_t kBuffersMax = 4;

  void Run();

  BlobWriter& blob_;
  absl::Mutex mu_;
  std::deque<base::AlignedBuffer> queue_ ABSL_GUARDED_BY(mu_);  // the front is being written
  std::vector<base::AlignedBuffer> free_ ABSL_GUARDED_BY(mu_);
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  std::jthread thread_;  // started by the first Write: small objects have none
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_WRITE_BEHIND_H_
