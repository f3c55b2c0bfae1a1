// Which stored bytes are known to be wrong: written down, so that a restart doesn't trust them again.
//
// A chunk in quarantine counts as unknown to backups, so the next one that has the data stores it again; it is read
// only while there is no other copy. Marks are objects of the store (docs/formats/repository.md section 10).
#ifndef UMBRA_STORAGE_REPO_QUARANTINE_H_
#define UMBRA_STORAGE_REPO_QUARANTINE_H_

#include <atomic>
#include <map>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/random.h"
#include "storage/repo/blob_store.h"
#include "storage/repo/format.h"

namespace umbra::repo {

// Thread-safe. Add, Replace and Forget write to the store; everything else only looks at memory.
class Quarantine {
 public:
  // `store` and `random` outlive it.
  Quarantine(BlobStore& store, base::Random& random, const RawUuid& repository)
      : store_(store), random_(random), repository_(repository) {}

  // Reads the marks. One that is damaged itself stands for its whole pack. Call once, first.
  absl::Status Load();

  // True when nothing is in quarantine: costs nothing to ask.
  bool empty() const { return pack_count_.load(std::memory_order_acquire) == 0; }
  // How far the chunk at `offset` of `pack` can be trusted, the lower the better.
  enum class Trust { kSound = 0, kPackDamaged = 1, kChunkDamaged = 2 };
  Trust TrustOf(const PackId& pack, uint32_t offset) const;
  // Empty when there is nothing.
  PackDamage Of(const PackId& pack) const;
  std::map<PackId, PackDamage> All() const;

  // More was found. It counts at once; when the mark can't be written (a full disk) that is logged, and it counts until
  // the process ends.
  void Add(const PackId& pack, const PackDamage& damage);
  // All of the pack was read, and this is what is wrong with it; nothing lifts the quarantine.
  void Replace(const PackId& pack, const PackDamage& damage);
  // The pack is gone for good.
  void Forget(const PackId& pack) { Replace(pack, {}); }

 private:
  struct Entry {
    PackDamage damage;
    std::vector<std::string> marks;  // objects that say so
  };

  void Write(const PackId& pack, const PackDamage& damage) ABSL_EXCLUSIVE_LOCKS_REQUIRED(write_mu_);

  BlobStore& store_;
  base::Random& random_;
  const RawUuid repository_;

  // One change at a time, so that the marks of a pack and what is remembered of it agree. Held across I/O, on purpose:
  // nobody takes it to look something up.
  absl::Mutex write_mu_ ABSL_ACQUIRED_BEFORE(mu_);
  mutable absl::Mutex mu_;
  std::map<PackId, Entry> packs_ ABSL_GUARDED_BY(mu_);
  std::atomic<size_t> pack_count_{0};
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_QUARANTINE_H_
