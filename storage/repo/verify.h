// Reads what the repository holds and says what is wrong, down to chunk, disk and offset.
#ifndef UMBRA_STORAGE_REPO_VERIFY_H_
#define UMBRA_STORAGE_REPO_VERIFY_H_

#include <functional>
#include <stop_token>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/core.h"
#include "storage/repo/disk_map.h"
#include "storage/repo/disk_reader.h"

namespace umbra::repo {

// One verification. Use once.
class Verifier {
 public:
  Verifier(Core& core, std::function<void(const VerifyProgress&)> progress, std::stop_token stop)
      : core_(core), progress_(std::move(progress)), stop_(std::move(stop)), map_reader_(core.packs, core.index, core.hasher) {}

  // Every pack, then every point against what the packs hold.
  absl::StatusOr<VerifyReport> VerifyAll();
  // Everything that one point needs.
  absl::StatusOr<VerifyReport> VerifyPoint(const std::string& id);

 private:
  // What a worker needs for itself.
  struct Worker {
    ChunkReader reader;
    std::vector<std::byte> scratch;
  };

  void VerifyPacks(const std::vector<uint32_t>& packs);
  void VerifyPack(uint32_t pack, Worker& worker);
  // The slots of a pack by its footer, or, when that is damaged, by the index.
  std::vector<PackSlot> SlotsOf(uint32_t pack, bool& from_footer);
  void VerifySlots(uint32_t pack, std::span<const PackSlot> slots, bool from_footer, Worker& worker);
  absl::Status CheckSlot(const PackSlot& slot, const FetchedChunk& fetched, bool from_footer, Worker& worker);

  absl::Status VerifyMaps(const std::vector<std::string>& points);
  absl::Status VerifyMap(const Point& point, const DiskRoot& disk);
  // Every id of a page is in the index and not known to be damaged.
  absl::Status VerifyPage(const Point& point, const DiskGeometry& geometry, const DiskRoot& disk, uint64_t page,
                          std::span<const ChunkId> ids, bool& clean);
  absl::Status ReadDisk(const Point& point, const DiskRoot& disk);
  void OpenChunks(const Point& point, const DiskRoot& disk, std::span<const DiskChunk> chunks);
  // A place that can't be read: notes it and moves behind it.
  absl::Status SkipDamage(const Point& point, const DiskRoot& disk, StoredDiskReader& reader, const absl::Status& status);

  void AddDamage(const Point* point, const std::string& disk, uint64_t offset, uint64_t length, const ChunkId& id,
                 const absl::Status& status);
  void AddProblem(std::string problem);
  void Advance(uint64_t bytes);
  absl::Status Stopped() const;

  Core& core_;
  const std::function<void(const VerifyProgress&)> progress_;
  const std::stop_token stop_;
  ChunkReader map_reader_;

  // Held across progress_, on purpose: it makes the calls one at a time and their figures grow.
  absl::Mutex progress_mu_;
  VerifyProgress done_ ABSL_GUARDED_BY(progress_mu_);

  absl::Mutex mu_ ABSL_ACQUIRED_AFTER(progress_mu_);
  VerifyReport report_ ABSL_GUARDED_BY(mu_);
  // Damaged chunks that no point was found to need yet.
  absl::flat_hash_map<ChunkId, absl::Status, ChunkIdHash> damaged_ ABSL_GUARDED_BY(mu_);
  absl::flat_hash_set<ChunkId, ChunkIdHash> needed_;       // of these, the ones some point needs
  absl::flat_hash_set<ChunkId, ChunkIdHash> clean_pages_;  // points share pages: each is walked once
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_VERIFY_H_
