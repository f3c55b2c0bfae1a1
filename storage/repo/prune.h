// Gives back the space of what no recovery point needs.
//
// Delete removed points whose window is over; mark what all others need (mark.h); condemn packs without anything that
// is needed; copy what is needed out of packs with little in them, and condemn those; delete what was condemned long
// enough ago (pack_sweeper.h). docs/locking.md says why none of this can lose a chunk that somebody is just starting to
// rely on.
#ifndef UMBRA_STORAGE_REPO_PRUNE_H_
#define UMBRA_STORAGE_REPO_PRUNE_H_

#include <functional>
#include <memory>
#include <stop_token>
#include <vector>

#include "storage/repo/core.h"
#include "storage/repo/mark.h"
#include "storage/repo/pack.h"

namespace umbra::repo {

// Lets bytes pass at a rate. One thread at a time.
class IoBudget {
 public:
  // `bytes_per_second` 0: no limit.
  IoBudget(base::Clock& clock, uint64_t bytes_per_second)
      : clock_(clock), rate_(bytes_per_second), start_(clock.Monotonic()) {}

  // Waits until `bytes` more are within the budget, or `stop` is asked.
  void Take(uint64_t bytes, const std::stop_token& stop);

 private:
  base::Clock& clock_;
  const uint64_t rate_;
  const absl::Duration start_;
  uint64_t taken_ = 0;
  absl::Mutex mu_;  // guards nothing: the clock waits with it
};

// One prune. Use once; one thread.
class Pruner {
 public:
  Pruner(Core& core, const PruneOptions& options, std::function<void(const PruneProgress&)> progress,
         std::stop_token stop)
      : core_(core),
        options_(options),
        progress_(std::move(progress)),
        stop_(std::move(stop)),
        budget_(core.clock, options.io_bytes_per_second),
        reader_(core.packs, core.index, core.hasher) {}

  absl::StatusOr<PruneReport> Run();

 private:
  // What is needed of a pack.
  struct PackUse {
    uint64_t needed_bytes = 0;
    uint32_t needed_chunks = 0;

    // A pack of nothing else: a small one is mostly header and footer, and copying it would give nothing back.
    uint64_t KeptBytes() const {
      return needed_bytes + needed_chunks * kPackSlotSize + 2 * kPackHeaderSize + kPackTrailerSize;
    }
  };
  struct Needed {
    ChunkId id;
    ChunkLocation at;
  };
  struct Candidate {
    uint32_t pack = 0;
    uint64_t size_bytes = 0;
    PackUse use;
  };

  absl::Status DeletePoints();
  absl::Status Mark();
  absl::Status NumberChunks(const IndexSnapshot& snapshot);
  absl::Status SumUp(const IndexSnapshot& snapshot);
  void Choose(const IndexSnapshot& snapshot);
  bool IsYoung(const IndexPack& pack) const;
  void CondemnDead();
  absl::Status Sweep();
  // Copies what is needed of `sparse_`.
  absl::Status Compact();
  absl::Status CopyPack(const Candidate& candidate);
  absl::StatusOr<std::vector<Needed>> NeededChunks(uint32_t pack);
  absl::Status OpenTarget();
  // Publishes the target; only then its sources may go.
  absl::Status SealTarget();
  void TidyIndex();
  void Advance(uint64_t bytes);
  absl::Status Stopped() const;

  Core& core_;
  const PruneOptions options_;
  const std::function<void(const PruneProgress&)> progress_;
  const std::stop_token stop_;
  IoBudget budget_;
  ChunkReader reader_;

  uint64_t epoch_ = 0;
  std::unique_ptr<ChunkOrdinals> ordinals_;
  std::unique_ptr<Marker> marker_;
  std::vector<PackUse> uses_;  // by pack
  std::vector<Candidate> dead_;
  std::vector<Candidate> sparse_;  // the least needed first
  std::unique_ptr<PackWriter> target_;
  std::vector<Candidate> copied_;  // into targets that are sealed, or into target_
  PruneProgress done_;
  PruneReport report_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_PRUNE_H_
