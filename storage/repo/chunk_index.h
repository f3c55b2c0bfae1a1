// Which chunks the repository has, and where: the runs on disk and what has been sealed since.
//
// An entry exists only for chunks in sealed, durable packs, so whatever Find returns may be referred to. Thread-safe.
#ifndef UMBRA_STORAGE_REPO_CHUNK_INDEX_H_
#define UMBRA_STORAGE_REPO_CHUNK_INDEX_H_

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/random.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/format.h"
#include "storage/repo/index_run.h"
#include "storage/repo/pack.h"
#include "storage/repo/quarantine.h"

namespace umbra::repo {

// Where a chunk is. `pack` is valid as long as the process.
struct ChunkLocation {
  uint32_t pack = 0;
  uint32_t offset = 0;
  uint32_t stored_length = 0;
  uint32_t plain_length = 0;
  Codec codec = Codec::kRaw;
  uint64_t check = 0;
};

struct IndexStats {
  uint64_t chunk_count = 0;
  uint64_t plain_bytes = 0;
  uint64_t pack_count = 0;
  uint64_t stored_bytes = 0;  // packs and runs
};

class ChunkIndex {
 public:
  // `store` and `random` outlive the index.
  ChunkIndex(BlobStore& store, base::Random& random, const RawUuid& repository, uint64_t unindexed_chunks_max)
      : store_(store), random_(random), repository_(repository), unindexed_chunks_max_(unindexed_chunks_max),
        quarantine_(store, random, repository) {}

  // Reads the runs, drops damaged and superseded ones, and reads the footers of packs that no run names. Call once, first.
  // A run or a pack that can't be read costs what is in it, and nothing else.
  absl::Status Load();

  // A pack was sealed. Its chunks can be found from now on; they come to a run by Flush, or when there are many of them.
  void AddPack(const IndexPack& pack, const std::vector<PackSlot>& slots);

  // Empty when unknown, or when its pack is gone. A copy in quarantine is given only when there is no better one.
  // DATA_LOSS / INDEX_DAMAGED, or an I/O error.
  absl::StatusOr<std::optional<ChunkLocation>> Find(const ChunkId& id) const;
  // As Find, but a chunk of which every copy is in quarantine is unknown: ask this before relying on a chunk.
  absl::StatusOr<std::optional<ChunkLocation>> FindHealthy(const ChunkId& id) const;
  // Whether any chunk is in quarantine, or any pack that a run names is gone: then what was stored once need not be there.
  bool KnowsOfDamage() const;
  // The bytes of `id` at `location` are wrong: quarantine, durably.
  void MarkDamaged(const ChunkId& id, const ChunkLocation& location);
  Quarantine::Trust TrustOf(const ChunkLocation& location) const;
  // The pack's file was found to be gone: what lies in it is unknown from now on.
  void MarkGone(uint32_t pack);
  Quarantine& quarantine() { return quarantine_; }

  // Writes what no run has yet into a run; durable when OK. Others may use the index meanwhile.
  absl::Status Flush();
  // Merges small runs when there are many. Failing is harmless.
  absl::Status MergeRuns();

  // Reads every run again and says what is wrong with them; empty when nothing is.
  struct DamagedRun {
    std::string name;
    absl::Status status;
  };
  std::vector<DamagedRun> CheckRuns() const;
  // Replaces this run by what the footers of its packs say; look-ups go on meanwhile. A pack that can't be read loses what
  // only the run knew. On error the run is still there.
  absl::Status RebuildRun(const std::string& name);

  // Packs that are there, by their number, and those that can't be read, by their name.
  std::vector<uint32_t> PresentPacks() const;
  IndexPack pack(uint32_t number) const;
  std::vector<std::string> unreadable_packs() const;
  // Slots as the runs know them (without hash of the stored bytes), for a pack whose footer is damaged. Slow: reads all runs.
  absl::StatusOr<std::vector<std::pair<ChunkId, ChunkLocation>>> EntriesOfPack(uint32_t number) const;

  IndexStats Stats() const;

 private:
  using Table = absl::flat_hash_map<ChunkId, ChunkLocation, ChunkIdHash>;

  // Sealed, but in no run yet. A pack is listed even when all its chunks have a younger copy.
  struct Unindexed {
    Table chunks;
    std::vector<uint32_t> packs;
  };

  // A run and the numbers of its packs.
  struct OpenRun {
    std::shared_ptr<const IndexRun> run;
    std::vector<uint32_t> packs;
  };
  using Runs = std::vector<std::shared_ptr<const OpenRun>>;  // newest first

  struct Pack {
    IndexPack info;
    bool present = false;
  };

  absl::Status LoadRuns(const std::vector<std::string>& names);
  absl::Status LoadUnindexedPacks(const std::vector<PackId>& ids);
  absl::StatusOr<PackContents> ReadContents(const PackId& id) const;
  // By its header, for order only: 0 when that can't be read.
  int64_t CreateTimeOf(const PackId& id) const;
  std::optional<ChunkLocation> Locate(const OpenRun& run, const IndexEntry& entry) const;
  Quarantine::Trust TrustLocked(const ChunkLocation& location) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Puts the chunk into recent_, unless that has a copy that can be trusted more.
  void RememberLocked(const ChunkId& id, const ChunkLocation& location) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  uint32_t RegisterLocked(const IndexPack& pack, bool present) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  absl::Status WriteRun(const Unindexed& unindexed, uint64_t sequence, std::string& name);
  absl::Status Install(const std::string& name, const Runs& replaced);
  // The newest runs that should become one; fewer than two when none.
  Runs RunsToMerge() const;
  absl::Status WriteMerged(const Runs& runs, uint64_t sequence, std::string& name);
  uint64_t NextSequence();
  std::shared_ptr<const Runs> runs() const;

  BlobStore& store_;
  base::Random& random_;
  const RawUuid repository_;
  const uint64_t unindexed_chunks_max_;
  Quarantine quarantine_;

  // One flush or merge at a time, so that runs are installed in the order of their sequence numbers. Held across disk
  // syncs, on purpose: nobody takes it to look something up.
  absl::Mutex write_mu_ ABSL_ACQUIRED_BEFORE(mu_);

  // Every known chunk is in recent_, flushing_ or a run, at every moment.
  mutable absl::Mutex mu_;
  std::vector<Pack> packs_ ABSL_GUARDED_BY(mu_);
  std::map<PackId, uint32_t> pack_numbers_ ABSL_GUARDED_BY(mu_);
  Unindexed recent_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const Unindexed> flushing_ ABSL_GUARDED_BY(mu_);
  std::shared_ptr<const Runs> runs_ ABSL_GUARDED_BY(mu_) = std::make_shared<const Runs>();
  std::vector<std::string> unreadable_packs_ ABSL_GUARDED_BY(mu_);
  uint64_t next_sequence_ ABSL_GUARDED_BY(mu_) = 1;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CHUNK_INDEX_H_
