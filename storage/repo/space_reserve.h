// Space that is set aside for removing things: on a full disk even a deletion needs a little.
#ifndef UMBRA_STORAGE_REPO_SPACE_RESERVE_H_
#define UMBRA_STORAGE_REPO_SPACE_RESERVE_H_

#include <functional>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/random.h"
#include "storage/repo/blob_store.h"

namespace umbra::repo {

// Thread-safe.
class SpaceReserve {
 public:
  // What it is given outlives it. A `size_bytes` of 0 means that there is none.
  SpaceReserve(BlobStore& store, base::Random& random, uint64_t size_bytes)
      : store_(store), random_(random), size_bytes_(size_bytes) {}

  // Makes the reserve when it isn't there and the store has room for several of it. An error is no reason to stop: it
  // is tried again with the next call.
  absl::Status Make();

  // Runs `work`, which makes room in the end. When the store is full (STORAGE_FULL), gives the reserve up and runs it
  // again; so `work` must be able to start over.
  absl::Status Run(const std::function<absl::Status()>& work);

 private:
  // False when there is none to give up.
  bool Release();

  BlobStore& store_;
  base::Random& random_;
  const uint64_t size_bytes_;
  absl::Mutex mu_;  // held across the store's calls, on purpose: one makes or releases it at a time
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_SPACE_RESERVE_H_
