#include "server/rest/connection_book.h"

#include <utility>

namespace umbra::rest {

void ConnectionBook::NotPendingLocked(Entry& entry) {
  if (entry.drop == nullptr) return;
  entry.drop = nullptr;
  addresses_[entry.address].pending.erase(entry.in_address);
  pending_.erase(entry.in_all);
}

std::function<void()> ConnectionBook::TakeOldestLocked(std::list<uint64_t>& pending) {
  Entry& entry = entries_.at(pending.front());
  std::function<void()> drop = entry.drop;
  NotPendingLocked(entry);
  return drop;
}

std::optional<uint64_t> ConnectionBook::Admit(const std::string& address, std::function<void()> drop) {
  std::vector<std::function<void()>> drops;
  uint64_t id = 0;
  {
    absl::MutexLock lock(&mu_);
    if (entries_.size() >= limits_.all_max) return std::nullopt;
    Address& at = addresses_[address];
    if (at.count >= limits_.per_address_max) return std::nullopt;
    if (at.pending.size() >= limits_.pending_per_address_max) drops.push_back(TakeOldestLocked(at.pending));
    if (pending_.size() >= limits_.pending_max) drops.push_back(TakeOldestLocked(pending_));
    id = next_id_++;
    ++at.count;
    at.pending.push_back(id);
    pending_.push_back(id);
    entries_[id] = {address, std::move(drop), std::prev(at.pending.end()), std::prev(pending_.end())};
  }
  for (const auto& each : drops) each();
  return id;
}

void ConnectionBook::Served(uint64_t id) {
  absl::MutexLock lock(&mu_);
  if (const auto found = entries_.find(id); found != entries_.end()) NotPendingLocked(found->second);
}

void ConnectionBook::Left(uint64_t id) {
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  NotPendingLocked(found->second);
  const auto address = addresses_.find(found->second.address);
  if (--address->second.count == 0) addresses_.erase(address);
  entries_.erase(found);
}

size_t ConnectionBook::all_count() const {
  absl::MutexLock lock(&mu_);
  return entries_.size();
}

size_t ConnectionBook::pending_count() const {
  absl::MutexLock lock(&mu_);
  return pending_.size();
}

}  // namespace umbra::rest
