// Chunks on their way into packs, of all sessions of a repository: what one session has begun to store is not asked
// for, and not stored, by another.
//
// A chunk is in flight from the moment it is in a session's pack until the index has it, or until that session lost it.
// Whoever wants to refer to a chunk of somebody else's pack waits for its seal first (AwaitSettled): after that it is
// in the index, or it is nobody's and has to be sent again. Thread-safe.
#ifndef UMBRA_STORAGE_REPO_CHUNKS_IN_FLIGHT_H_
#define UMBRA_STORAGE_REPO_CHUNKS_IN_FLIGHT_H_

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/synchronization/mutex.h"
#include "storage/repo/chunk.h"
#include "storage/repo/format.h"

namespace umbra::repo {

class ChunksInFlight {
 public:
  // A session that fills packs.
  class Owner {
   public:
    virtual ~Owner() = default;
    // Sends on its way to the disk what is in flight now, without waiting for more or for the disk. From any thread.
    virtual void SealSoon() = 0;
  };
  using OwnerId = uint64_t;  // never used twice

  struct Entry {
    OwnerId owner = 0;
    uint32_t plain_length = 0;
  };

  OwnerId Register(Owner& owner);
  // Call it when nothing of the owner is in flight any more. SealSoon isn't called after it returned.
  void Unregister(OwnerId owner);

  // False when the chunk is in flight already, whoever's it is.
  bool Claim(const ChunkId& id, uint32_t plain_length, OwnerId owner);
  // The chunk is in the index now, or lost. Nothing happens when it isn't the owner's.
  void Release(const ChunkId& id, OwnerId owner);
  void Release(const std::vector<PackSlot>& slots, OwnerId owner);
  std::optional<Entry> Find(const ChunkId& id) const;

  // Returns when `id` isn't in flight, or is so for `asker` itself: its owner is told to seal, and waited for, as long
  // as the sync of a pack takes.
  void AwaitSettled(const ChunkId& id, OwnerId asker);

 private:
  // Enough that sessions of all cores rarely meet; ids are uniform.
  static constexpr size_t kShards = 32;

  struct Shard {
    mutable absl::Mutex mu;
    absl::flat_hash_map<ChunkId, Entry, ChunkIdHash> chunks ABSL_GUARDED_BY(mu);
  };

  Shard& ShardOf(const ChunkId& id) { return shards_[std::to_integer<size_t>(id.bytes[0]) % kShards]; }
  const Shard& ShardOf(const ChunkId& id) const { return shards_[std::to_integer<size_t>(id.bytes[0]) % kShards]; }

  std::array<Shard, kShards> shards_;

  // Held while an owner is asked to seal, so that it can't go away meanwhile. An owner's own lock comes after it; a
  // shard's lock after that.
  absl::Mutex owners_mu_;
  std::map<OwnerId, Owner*> owners_ ABSL_GUARDED_BY(owners_mu_);
  OwnerId last_owner_ ABSL_GUARDED_BY(owners_mu_) = 0;
};

}  // namespace umbra::repo

#endif  // UMBRA_STORAGE_REPO_CHUNKS_IN_FLIGHT_H_
