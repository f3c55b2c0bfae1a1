// Decides how a backup reads a disk: only what the hypervisor names as changed since the recovery point before, when
// that can be built on and proves true in a sample; else everything that is allocated.
//
// The hypervisor's list is a hint. One chunk in a hundred of those that it calls unchanged (in every hundred another
// one, by chance) is read and compared with the recovery point before; a single difference, and the disk is read whole.
#ifndef UMBRA_AGENT_TRANSFER_READ_PLANNER_H_
#define UMBRA_AGENT_TRANSFER_READ_PLANNER_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/transfer/chunk_store_client.h"
#include "agent/transfer/progress_meter.h"
#include "agent/transfer/read_plan.h"
#include "storage/base/random.h"
#include "storage/repo/chunk.h"

namespace umbra::transfer {

struct DiskReadPlan {
  ReadPlan reads;                      // what is read
  std::string base_recovery_point_id;  // empty: the map is made of what is read, and of holes
  std::vector<ChunkRun> changed;       // with a base: what of the map may be something else than there
  DiskRead read;                       // for people: how, why, how much
  uint64_t sampled_bytes = 0;          // read for the comparison
};

// Everything that is allocated, and the whole map.
absl::StatusOr<DiskReadPlan> PlanWholeDisk(hypervisor::BlockReader& reader, uint64_t capacity_bytes,
                                           uint32_t chunk_size_bytes);

// One thread at a time.
class ReadPlanner {
 public:
  // `hasher` and `chunk_size` are those of the session. References outlive the planner.
  ReadPlanner(ChunkStoreClient& store, const repo::ChunkHasher& hasher, uint32_t chunk_size, base::Random& random,
              ProgressMeter& meter)
      : store_(store), hasher_(hasher), chunk_size_(chunk_size), random_(random), meter_(meter) {}

  // `base_recovery_point_id`: what an increment would start from. `wanted`: OK, or why the disk is to be read whole,
  // with a reason and for people. Errors: those of the reader and of the store; that nothing is known of changes is
  // none.
  absl::StatusOr<DiskReadPlan> Plan(hypervisor::BlockReader& reader, const DiskMapTarget& target,
                                    const std::string& base_recovery_point_id, const absl::Status& wanted);

 private:
  absl::Status Compare(hypervisor::BlockReader& reader, const DiskMapTarget& target, const std::string& base,
                       const ReadPlan& allocated, DiskReadPlan& plan);
  absl::Status Read(hypervisor::BlockReader& reader, const ReadPlan& allocated, const std::vector<uint64_t>& chunks,
                    uint64_t capacity_bytes, std::vector<repo::ChunkId>& ids, uint64_t& read_bytes);

  ChunkStoreClient& store_;
  const repo::ChunkHasher& hasher_;
  const uint32_t chunk_size_;
  base::Random& random_;
  ProgressMeter& meter_;
};

}  // namespace umbra::transfer

#endif  // UMBRA_AGENT_TRANSFER_READ_PLANNER_H_
