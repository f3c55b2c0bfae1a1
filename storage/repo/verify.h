// Reads what the repository holds and says what is wrong, down to chunk, disk and offset.
#ifndef UMBRA_STORAGE_REPO_VERIFY_H_
#define UMBRA_STORAGE_REPO_VERIFY_H_

#include <atomic>
#include <functional>
#include <map>
#include <set>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/core.h"
#include "storage/repo/disk_map.h"
#include "storage/repo/pack_scan.h"

namespace umbra::repo {

// One verification. Use once.
class Verifier final : public PackVisitor {
 public:
  // `core` outlives it; `scope` and `progress` are as Repository::Verify describes them.
  Verifier(Core& core, const VerifyScope& scope, std::function<void(const VerifyProgress&)> progress,
           std::stop_token stop)
      : core_(core),
        scope_(scope),
        progress_(std::move(progress)),
        stop_(std::move(stop)),
        start_(core.clock.Monotonic()),
        map_reader_(core.packs, core.index, core.hasher) {}

  absl::StatusOr<VerifyReport> Run();

  // PackVisitor
  bool GoesOn(bool at_once) override;
  std::shared_ptr<ScannedPack> Open(uint32_t number) override;
  absl::Status Check(const ScannedPack& pack, const PackSlot& slot, base::Bytes stored,
                     std::vector<std::byte>& scratch) override;
  void Done(ScannedPack& pack) override;

 private:
  // A chunk whose copy in this pack is wrong.
  struct Found {
    absl::Status status;
    PackId pack;
  };

  // Every pack in scope, then every point against what the packs hold.
  absl::Status VerifyPacks();
  absl::Status VerifyRuns();
  // Every disk of these points.
  absl::Status VerifyDisks(const std::vector<std::string>& points);
  absl::Status VerifyDisk(const Point& point, size_t disk);

  std::vector<uint32_t> PacksInScope() const;
  absl::StatusOr<std::vector<std::string>> PointsInScope();
  // What the index knows of a pack that can't be listed.
  std::vector<PackSlot> IndexedSlots(uint32_t number) const;
  void PackIsGone(uint32_t number);
  // The store as a whole can't be read: no pack is to blame.
  bool StoreIsGone(const absl::Status& status);
  void Fail(const absl::Status& status);

  // Tombstones, holds, locks, sweeps, the time: what is in them holds by its name, but somebody should know.
  absl::Status VerifyRecords();
  absl::Status VerifyCatalogCopies();
  absl::Status VerifyMaps();
  absl::Status VerifyMap(const Point& point, const DiskRoot& disk);
  // Every id of a page is in the index and not known to be damaged.
  absl::Status VerifyPage(const Point& point, const DiskGeometry& geometry, const DiskRoot& disk, uint64_t page,
                          std::span<const ChunkId> ids, bool& clean);
  // The ids of all pages, hashed in order; pages that can't be read are noted, and `intact` gets one byte for each
  // page.
  absl::StatusOr<std::string> HashMap(const Point& point, const DiskRoot& disk, const DiskGeometry& geometry,
                                      std::vector<uint8_t>& intact);
  absl::Status ReadPage(const Point& point, const DiskRoot& disk, const DiskGeometry& geometry, uint64_t page,
                        DiskMapCursor& map, ChunkReader& reader, std::vector<std::byte>& scratch);
  void PageDamaged(const Point& point, const DiskRoot& disk, const DiskGeometry& geometry, uint64_t page,
                   const absl::Status& status);
  // The only copy of something needed lies there.
  void NoteNeeded(const std::optional<ChunkLocation>& location);
  absl::Status DamageOf(const ChunkId& id, const std::optional<ChunkLocation>& location);
  // Sorts what was found in packs into what does harm and what doesn't.
  absl::Status SumUpPacks();

  void AddDamage(const Point& point, const std::string& disk, uint64_t offset, uint64_t length, const ChunkId& id,
                 const absl::Status& status);
  void AddProblem(std::string problem);
  void Advance(uint64_t bytes);
  absl::Status Stopped();

  Core& core_;
  const VerifyScope& scope_;
  const std::function<void(const VerifyProgress&)> progress_;
  const std::stop_token stop_;
  const absl::Duration start_;
  ChunkReader map_reader_;
  std::atomic<uint64_t> begun_bytes_{0};
  std::atomic<bool> failed_{false};

  // Held across progress_, on_pack and on_point, on purpose: it makes the calls one at a time and their figures grow.
  absl::Mutex progress_mu_;
  VerifyProgress done_ ABSL_GUARDED_BY(progress_mu_);

  absl::Mutex mu_ ABSL_ACQUIRED_AFTER(progress_mu_);
  VerifyReport report_ ABSL_GUARDED_BY(mu_);
  absl::Status failure_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_map<ChunkId, Found, ChunkIdHash> damaged_ ABSL_GUARDED_BY(mu_);
  std::map<PackId, std::string> pack_problems_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<ChunkId, ChunkIdHash> needed_;       // of what is damaged, what some point needs
  std::set<PackId> needed_packs_;                          // can't be listed, and hold the only copy of something
  absl::flat_hash_set<ChunkId, ChunkIdHash> clean_pages_;  // points share pages: each is walked once
  // Whole chunks that some map names and that are known to be sound, each at a place that its id says. Few are enough.
  std::vector<ChunkId> clean_chunks_;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_VERIFY_H_
