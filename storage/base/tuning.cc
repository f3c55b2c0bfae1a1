#include "storage/base/tuning.h"

#include <malloc.h>

#include "absl/synchronization/mutex.h"

namespace umbra::base {
namespace {

constexpr int kMmapThresholdBytes = 32 * 1024 * 1024;  // glibc's own upper limit
constexpr int kTrimThresholdBytes = 32 * 1024 * 1024;
constexpr int kArenas = 4;  // each keeps its own free blocks: more arenas than cores only hold more memory

}  // namespace

void TuneForBulkData() {
  mallopt(M_MMAP_THRESHOLD, kMmapThresholdBytes);
  mallopt(M_TRIM_THRESHOLD, kTrimThresholdBytes);
  mallopt(M_ARENA_MAX, kArenas);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace umbra::base
