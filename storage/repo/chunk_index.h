// Which chunks the repository has, and where: the runs on disk and what has been sealed since.
//
// An entry exists only for chunks in sealed, durable packs, so whatever Find returns may be referred to. Thread-safe.
//
// The index also knows what becomes of packs, because "is it there?" and "may it go?" must be one question: who relies on a
// chunk pins its pack (FindAndPin) before he is told of it, a pack that nothing needs is condemned only when nobody pinned it
// since the prune began (Condemn), a condemned pack comes back to life when somebody asks for it, and only a pack that is
// condemned and that no lease from before could know is swept (TakeSweepable). docs/locking.md has the proof.
#ifndef UMBRA_STORAGE_REPO_CHUNK_INDEX_H_
#define UMBRA_STORAGE_REPO_CHUNK_INDEX_H_

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
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

// What becomes of a pack. In memory only: after a restart every pack whose file is there is kPresent again, but for those that
// a sweep names.
enum class PackState : uint8_t {
  kMissing,    // a run names it, its file is gone or can't be read, and nobody swept it: damage
  kPresent,
  kCondemned,  // a prune found that nothing needs it; readers still find it, a session that asks for it revives it
  kSwept,      // its deletion is decided: nobody finds it any more
};

class ChunkIndex;

// What one upload session relies on. No pack in it is condemned as long as the lease lives. Thread-safe; ends before its index.
class PackLease {
 public:
  ~PackLease();
  PackLease(const PackLease&) = delete;
  PackLease& operator=(const PackLease&) = delete;

 private:
  friend class ChunkIndex;
  PackLease(ChunkIndex& index, uint64_t begin) : index_(index), begin_(begin) {}

  ChunkIndex& index_;
  const uint64_t begin_;  // epoch
  absl::Mutex mu_;        // after the index's, where both are held
  absl::flat_hash_set<uint32_t> packs_ ABSL_GUARDED_BY(mu_);
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
  // `swept`: packs whose deletion was decided; their files are gone, or are not to be used. A run or a pack that can't be read
  // costs what is in it, and nothing else.
  absl::Status Load(const std::set<PackId>& swept = {});

  // A pack was sealed. Its chunks can be found from now on; they come to a run by Flush, or when there are many of them.
  // `lease` (may be null) holds it from the first moment on.
  void AddPack(const IndexPack& pack, const std::vector<PackSlot>& slots, PackLease* lease = nullptr);

  // Empty when unknown, or when its pack is gone. A copy in quarantine is given only when there is no better one.
  // DATA_LOSS / INDEX_DAMAGED, or an I/O error.
  absl::StatusOr<std::optional<ChunkLocation>> Find(const ChunkId& id) const;
  // As Find, but a chunk of which every copy is in quarantine is unknown: ask this before relying on a chunk.
  absl::StatusOr<std::optional<ChunkLocation>> FindHealthy(const ChunkId& id) const;
  // Whether any chunk is in quarantine, or any pack that a run names is gone: then what was stored once need not be there.
  bool KnowsOfDamage() const;
  // As FindHealthy, for somebody who will refer to the chunk: its pack is `lease`'s before this returns, and stays until that ends.
  absl::StatusOr<std::optional<ChunkLocation>> FindAndPin(const ChunkId& id, PackLease& lease);
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

  // --- what becomes of packs ---

  std::unique_ptr<PackLease> BeginLease();
  PackState StateOf(uint32_t pack) const;

  // A prune begins, before it looks at the first point; returns its epoch. What is pinned, let go or sealed from now on is
  // safe from it.
  uint64_t BeginPrune();
  // Whether Condemn would do it now.
  bool IsCondemnable(uint32_t pack, uint64_t epoch) const;
  // Nothing that the prune of `epoch` saw needs the pack. False when somebody relies on it, or did since the prune began.
  // `now`: monotonic.
  bool Condemn(uint32_t pack, uint64_t epoch, absl::Duration now);
  // Condemned packs, and the bytes of their files.
  uint64_t CondemnedBytes() const;
  // Takes the packs that were condemned at least `grace` before `now`, and before every lease that lives: they are kSwept from
  // here on, the caller deletes their files. GiveBack when that can't be written down.
  std::vector<uint32_t> TakeSweepable(absl::Duration now, absl::Duration grace);
  void GiveBack(std::span<const uint32_t> packs);

  // Writes runs without the entries of swept packs, where those are a part worth the writing. Failing is harmless.
  absl::Status DropSweptEntries();
  // Swept packs that a run still names.
  std::set<PackId> NamedSweptPacks() const;

 private:
  friend class IndexSnapshot;
  friend class PackLease;

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
    PackState state = PackState::kMissing;
    uint32_t pins = 0;             // leases that have it
    uint64_t used_epoch = 0;       // the epoch when it was last sealed, pinned or let go
    uint64_t condemned_epoch = 0;  // of kCondemned
    absl::Duration condemned_at;   // of kCondemned, monotonic

    bool IsReadable() const { return state == PackState::kPresent || state == PackState::kCondemned; }
  };

  absl::Status LoadRuns(const std::vector<std::string>& names);
  absl::Status LoadUnindexedPacks(const std::vector<PackId>& ids);
  absl::StatusOr<PackContents> ReadContents(const PackId& id) const;
  // By its header, for order only: 0 when that can't be read.
  int64_t CreateTimeOf(const PackId& id) const;
  Quarantine::Trust TrustLocked(const ChunkLocation& location) const ABSL_SHARED_LOCKS_REQUIRED(mu_);
  // Puts the chunk into recent_, unless that has a copy that can be trusted more.
  void RememberLocked(const ChunkId& id, const ChunkLocation& location) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // As Find, at one moment's state of tables and runs. `sweeps`: the count when it began.
  absl::StatusOr<std::optional<ChunkLocation>> FindOnce(const ChunkId& id, uint64_t& sweeps) const;
  std::optional<ChunkLocation> Locate(const OpenRun& run, const IndexEntry& entry) const;
  uint32_t RegisterLocked(const IndexPack& pack, PackState state) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);
  // False when it was swept meanwhile.
  bool Pin(uint32_t pack, PackLease& lease);
  void Release(PackLease& lease);
  bool IsCondemnableLocked(const Pack& pack, uint64_t epoch) const ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return pack.state == PackState::kPresent && pack.pins == 0 && pack.used_epoch < epoch;
  }
  // The same run without what is swept; its rank among the runs stays.
  absl::Status Rewrite(const std::shared_ptr<const OpenRun>& run);
  bool IsWorthRewriting(const OpenRun& run) const;
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
  // Rises with every lease, prune and condemning, so that any two of them have an order.
  uint64_t epoch_ ABSL_GUARDED_BY(mu_) = 0;
  std::set<uint64_t> leases_ ABSL_GUARDED_BY(mu_);  // their begins
  uint64_t sweeps_ ABSL_GUARDED_BY(mu_) = 0;        // how often packs were taken out
  uint64_t next_sequence_ ABSL_GUARDED_BY(mu_) = 1;
};

// The index as it was at one moment: every chunk that can be found, once, at the place where readers find it. It can be walked
// several times, with the same result, while the index goes on. Keeps what is in no run yet (RepositoryOptions::
// unindexed_chunks_max) and a byte per pack.
class IndexSnapshot {
 public:
  // `index` outlives it: of several copies of a chunk, the place is that of the one that it trusts at that time.
  explicit IndexSnapshot(const ChunkIndex& index);

  // At least as many as ForEach shows.
  uint64_t chunk_count_max() const { return chunk_count_max_; }
  // Packs have numbers below this; those of younger packs are greater.
  size_t pack_count() const { return states_.size(); }
  PackState state(uint32_t pack) const { return states_[pack]; }

  // In ascending order of ids. DATA_LOSS / INDEX_DAMAGED, or an I/O error; an error of `visit` ends it as well.
  absl::Status ForEach(const std::function<absl::Status(const ChunkId&, const ChunkLocation&)>& visit) const;

 private:
  bool IsReadable(uint32_t pack) const {
    return states_[pack] == PackState::kPresent || states_[pack] == PackState::kCondemned;
  }

  const ChunkIndex& index_;
  std::vector<std::pair<ChunkId, ChunkLocation>> unindexed_;
  std::shared_ptr<const ChunkIndex::Runs> runs_;
  std::vector<PackState> states_;
  uint64_t chunk_count_max_ = 0;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CHUNK_INDEX_H_
