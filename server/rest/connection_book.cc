#include "server/rest/connection_book.h"

#include <algorithm>
#include <utility>

namespace umbra::rest {

ConnectionLimits ConnectionLimits::Within(size_t count) const {
  if (all_max <= count) return *this;
  const auto at_most = [&](size_t limit, size_t part) { return std::min(limit, std::max<size_t>(1, count / part)); };
  return {.all_max = count,
          .per_address_max = at_most(per_address_max, 2),
          .pending_max = at_most(pending_max, 4),
          .pending_per_address_max = at_most(pending_per_address_max, 16),
          .leaving_max = at_most(leaving_max, 4)};
}

std::list<uint64_t>& ConnectionBook::Lists::Of(Place place) {
  if (place == Place::kSilent) return silent;
  return place == Place::kGreeted ? greeted : waiting;
}

void ConnectionBook::PutLocked(uint64_t id, Entry& entry, Place place) {
  entry.place = place;
  if (place == Place::kBusy || place == Place::kLeaving) return;
  std::list<uint64_t>& of_address = addresses_[entry.address].lists.Of(place);
  std::list<uint64_t>& of_all = lists_.Of(place);
  entry.in_address = of_address.insert(of_address.end(), id);
  entry.in_all = of_all.insert(of_all.end(), id);
}

void ConnectionBook::TakeLocked(Entry& entry) {
  if (entry.place == Place::kBusy || entry.place == Place::kLeaving) return;
  addresses_[entry.address].lists.Of(entry.place).erase(entry.in_address);
  lists_.Of(entry.place).erase(entry.in_all);
  entry.place = Place::kBusy;
}

bool ConnectionBook::DropOldestLocked(const std::list<uint64_t>& list, Drops& drops) {
  if (list.empty()) return false;
  const uint64_t id = list.front();
  Entry& entry = entries_.at(id);
  TakeLocked(entry);
  PutLocked(id, entry, Place::kLeaving);
  drops.push_back(std::exchange(entry.drop, nullptr));
  Address& at = addresses_[entry.address];
  --at.count;
  ++at.leaving;
  --count_;
  return true;
}

bool ConnectionBook::MakeRoomLocked(const std::string& address, Drops& drops) {
  Lists& own = addresses_[address].lists;
  if (entries_.size() >= limits_.all_max + limits_.leaving_max) return false;
  if (own.pending_count() >= limits_.pending_per_address_max) DropOldestLocked(own.first_pending(), drops);
  if (lists_.pending_count() >= limits_.pending_max) DropOldestLocked(lists_.first_pending(), drops);
  if (addresses_[address].count >= limits_.per_address_max && !DropOldestLocked(own.waiting, drops)) return false;
  return count_ < limits_.all_max || DropOldestLocked(lists_.waiting, drops);
}

std::optional<uint64_t> ConnectionBook::Admit(const std::string& address, std::function<void()> drop) {
  Drops drops;
  std::optional<uint64_t> id;
  {
    absl::MutexLock lock(&mu_);
    if (MakeRoomLocked(address, drops)) {
      id = next_id_++;
      Entry& entry = entries_[*id];
      entry.address = address;
      entry.drop = std::move(drop);
      PutLocked(*id, entry, Place::kSilent);
      ++addresses_[address].count;
      ++count_;
    } else if (const Address& at = addresses_[address]; at.count + at.leaving == 0) {
      addresses_.erase(address);
    }
  }
  for (const auto& each : drops) each();
  return id;
}

void ConnectionBook::Greeted(uint64_t id) {
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(id);
  if (found == entries_.end() || found->second.place != Place::kSilent) return;
  TakeLocked(found->second);
  PutLocked(id, found->second, Place::kGreeted);
}

void ConnectionBook::Served(uint64_t id) {
  absl::MutexLock lock(&mu_);
  if (const auto found = entries_.find(id); found != entries_.end()) TakeLocked(found->second);
}

void ConnectionBook::Waits(uint64_t id) {
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(id);
  if (found != entries_.end() && found->second.place == Place::kBusy) PutLocked(id, found->second, Place::kWaiting);
}

void ConnectionBook::Left(uint64_t id) {
  absl::MutexLock lock(&mu_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  Entry& entry = found->second;
  Address& at = addresses_[entry.address];
  if (entry.place == Place::kLeaving) {
    --at.leaving;
  } else {
    TakeLocked(entry);
    --at.count;
    --count_;
  }
  if (at.count + at.leaving == 0) addresses_.erase(entry.address);
  entries_.erase(found);
}

size_t ConnectionBook::all_count() const {
  absl::MutexLock lock(&mu_);
  return entries_.size();
}

size_t ConnectionBook::pending_count() const {
  absl::MutexLock lock(&mu_);
  return lists_.pending_count();
}

}  // namespace umbra::rest
