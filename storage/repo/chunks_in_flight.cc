#include "storage/repo/chunks_in_flight.h"

namespace umbra::repo {

ChunksInFlight::OwnerId ChunksInFlight::Register(Owner& owner) {
  absl::MutexLock lock(&owners_mu_);
  owners_[++last_owner_] = &owner;
  return last_owner_;
}

void ChunksInFlight::Unregister(OwnerId owner) {
  absl::MutexLock lock(&owners_mu_);
  owners_.erase(owner);
}

bool ChunksInFlight::Claim(const ChunkId& id, uint32_t plain_length, OwnerId owner) {
  Shard& shard = ShardOf(id);
  absl::MutexLock lock(&shard.mu);
  return shard.chunks.try_emplace(id, Entry{owner, plain_length}).second;
}

void ChunksInFlight::Release(const ChunkId& id, OwnerId owner) {
  Shard& shard = ShardOf(id);
  absl::MutexLock lock(&shard.mu);
  const auto at = shard.chunks.find(id);
  if (at != shard.chunks.end() && at->second.owner == owner) shard.chunks.erase(at);
}

void ChunksInFlight::Release(const std::vector<PackSlot>& slots, OwnerId owner) {
  for (const PackSlot& slot : slots) Release(slot.id, owner);
}

std::optional<ChunksInFlight::Entry> ChunksInFlight::Find(const ChunkId& id) const {
  const Shard& shard = ShardOf(id);
  absl::ReaderMutexLock lock(&shard.mu);
  const auto at = shard.chunks.find(id);
  if (at == shard.chunks.end()) return std::nullopt;
  return at->second;
}

void ChunksInFlight::AwaitSettled(const ChunkId& id, OwnerId asker) {
  Shard& shard = ShardOf(id);
  while (true) {
    const auto entry = Find(id);
    if (!entry.has_value() || entry->owner == asker) return;
    {
      absl::MutexLock lock(&owners_mu_);
      if (const auto owner = owners_.find(entry->owner); owner != owners_.end()) owner->second->SealSoon();
    }
    // Until it has left this owner; somebody else may have taken it up since, who is to be asked then.
    const auto settled = [&]() ABSL_SHARED_LOCKS_REQUIRED(shard.mu) {
      const auto at = shard.chunks.find(id);
      return at == shard.chunks.end() || at->second.owner != entry->owner;
    };
    absl::MutexLock lock(&shard.mu);
    shard.mu.Await(absl::Condition(&settled));
  }
}

}  // namespace umbra::repo
