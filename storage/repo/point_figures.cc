#include "storage/repo/point_figures.h"

namespace umbra::repo {

void PointFiguresTable::Add(PointTotals& to, const Entry& entry, int sign) {
  if (!entry.there) return;
  const auto add = [sign](uint64_t& sum, uint64_t value) { sum = sign > 0 ? sum + value : sum - value; };
  add(to.count, 1);
  if (!entry.read) return;
  add(to.logical_bytes, entry.figures.logical_bytes);
  add(to.size_bytes, entry.figures.size_bytes);
}

void PointFiguresTable::UpdateLocked(const std::string& id, bool there, const PointFigures* figures) {
  Entry& entry = entries_[id];
  Add(totals_, entry, -1);
  entry.there |= there;
  if (figures != nullptr) {
    entry.figures = *figures;
    entry.read = true;
  }
  Add(totals_, entry, 1);
  if (entry.there && !entry.read) {
    unread_.insert(id);
  } else {
    unread_.erase(id);
  }
}

void PointFiguresTable::Came(const std::string& id, const PointFigures& figures) {
  absl::MutexLock lock(&mu_);
  UpdateLocked(id, /*there=*/true, &figures);
}

void PointFiguresTable::Went(const std::string& id) {
  absl::MutexLock lock(&mu_);
  if (!counted_) gone_.insert(id);
  const auto at = entries_.find(id);
  if (at == entries_.end()) return;
  Add(totals_, at->second, -1);
  unread_.erase(id);
  entries_.erase(at);
}

void PointFiguresTable::Learn(const std::string& id, const PointFigures& figures) {
  absl::MutexLock lock(&mu_);
  // Of a point that has gone meanwhile nothing is kept.
  if (counted_ ? !entries_.contains(id) : gone_.contains(id)) return;
  UpdateLocked(id, /*there=*/false, &figures);
}

bool PointFiguresTable::counted() const {
  absl::MutexLock lock(&mu_);
  return counted_;
}

void PointFiguresTable::Count(const std::vector<std::string>& ids) {
  absl::MutexLock lock(&mu_);
  if (counted_) return;
  for (const std::string& id : ids) {
    if (!gone_.contains(id)) UpdateLocked(id, /*there=*/true, nullptr);
  }
  gone_.clear();
  std::erase_if(entries_, [](const auto& entry) { return !entry.second.there; });
  counted_ = true;
}

std::vector<std::string> PointFiguresTable::Unread() const {
  absl::MutexLock lock(&mu_);
  return {unread_.begin(), unread_.end()};
}

PointFiguresTable::Sums PointFiguresTable::Sum(const std::vector<std::string>& some) const {
  absl::MutexLock lock(&mu_);
  Sums sums{.all = totals_};
  for (const std::string& id : some) {
    if (const auto at = entries_.find(id); at != entries_.end()) Add(sums.some, at->second, 1);
  }
  return sums;
}

}  // namespace umbra::repo
