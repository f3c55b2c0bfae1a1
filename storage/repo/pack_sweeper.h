// Deletes packs that are condemned, so that a crash between any two steps leaves nothing but work to be done later.
//
// The packs are taken from the index first (nobody finds them any more), then named by a sweep (section 11 of
// docs/formats/repository.md), then deleted. The sweep stays as long as a run of the index names one of its packs: it
// tells "deleted on purpose" from "lost".
#ifndef UMBRA_STORAGE_REPO_PACK_SWEEPER_H_
#define UMBRA_STORAGE_REPO_PACK_SWEEPER_H_

#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/repo/chunk_index.h"
#include "storage/repo/chunk_reader.h"
#include "storage/repo/space_reserve.h"

namespace umbra::repo {

// Thread-safe; one sweep at a time.
class PackSweeper {
 public:
  struct Swept {
    uint64_t packs = 0;
    uint64_t bytes = 0;
    Swept& operator+=(const Swept& other) {
      packs += other.packs;
      bytes += other.bytes;
      return *this;
    }
  };

  // What it is given outlives it. `repository` is the uuid as text.
  PackSweeper(BlobStore& store, base::Clock& clock, base::Random& random, ChunkIndex& index, PackCache& packs,
              SpaceReserve& reserve, const ChunkHasher& hasher, std::string repository)
      : store_(store),
        clock_(clock),
        random_(random),
        index_(index),
        packs_(packs),
        reserve_(reserve),
        hasher_(hasher),
        repository_(std::move(repository)) {}

  // Finishes sweeps that a crash cut short, as far as the store allows. Returns the packs of all sweeps, for
  // ChunkIndex::Load. Call once, before that.
  absl::StatusOr<std::set<PackId>> Load();

  // Deletes what was condemned at least `grace` ago and that no session from before can know.
  absl::StatusOr<Swept> Sweep(absl::Duration grace);

  // Deletes sweeps whose packs are gone and that no run names any more.
  absl::Status Forget();

 private:
  absl::Status DeletePacks(const std::string& sweep) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  BlobStore& store_;
  base::Clock& clock_;
  base::Random& random_;
  ChunkIndex& index_;
  PackCache& packs_;
  SpaceReserve& reserve_;
  const ChunkHasher& hasher_;
  const std::string repository_;

  struct Record {
    std::vector<PackId> packs;
    std::set<PackId> left;  // whose file may still be there
  };
  absl::Mutex mu_;  // held across the store's calls, on purpose: nobody else waits for it
  std::map<std::string, Record> sweeps_ ABSL_GUARDED_BY(mu_);  // by name
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_PACK_SWEEPER_H_
