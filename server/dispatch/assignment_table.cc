#include "server/dispatch/assignment_table.h"

#include "storage/base/status.h"

namespace umbra::dispatch {
namespace {

absl::Status Ended(const AssignmentKey& key) {
  return base::Error(absl::StatusCode::kAborted, "JOB_ENDED", "attempt {} of job {} has ended", key.attempt, key.job);
}

}  // namespace

void AssignmentTable::Add(Assignment assignment) {
  absl::MutexLock lock(&mu_);
  AssignmentKey key = assignment.key;
  entries_.insert_or_assign(std::move(key), Entry{std::move(assignment)});
}

void AssignmentTable::Close(const AssignmentKey& key) {
  absl::MutexLock lock(&mu_);
  if (const auto it = entries_.find(key); it != entries_.end()) it->second.closed = true;
}

bool AssignmentTable::Remove(const AssignmentKey& key) {
  {
    absl::MutexLock lock(&mu_);
    const auto it = entries_.find(key);
    if (it == entries_.end()) return true;
    if (it->second.committing) return false;
    entries_.erase(it);
  }
  if (on_end_) on_end_(key);
  return true;
}

absl::StatusOr<Assignment> AssignmentTable::Authorize(const catalog::HostId& host, const AssignmentKey& key,
                                                      catalog::JobKind kind) const {
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(key);
  if (it == entries_.end() || it->second.closed || it->second.assignment.host != host || it->second.assignment.kind != kind) {
    return base::Error(absl::StatusCode::kPermissionDenied, "PERMISSION_DENIED",
                       "host {} has no running assignment of this kind for attempt {} of job {}", host, key.attempt, key.job);
  }
  return it->second.assignment;
}

absl::Status AssignmentTable::CheckAlive(const AssignmentKey& key) const {
  absl::MutexLock lock(&mu_);
  return entries_.contains(key) ? absl::OkStatus() : Ended(key);
}

absl::Status AssignmentTable::BeginCommit(const AssignmentKey& key) {
  absl::MutexLock lock(&mu_);
  const auto it = entries_.find(key);
  if (it == entries_.end()) return Ended(key);
  if (it->second.closed) {
    return base::Error(absl::StatusCode::kAborted, "CANCELLED", "job {} is being cancelled", key.job);
  }
  it->second.committing = true;
  return absl::OkStatus();
}

void AssignmentTable::EndCommit(const AssignmentKey& key) {
  absl::MutexLock lock(&mu_);
  if (const auto it = entries_.find(key); it != entries_.end()) it->second.committing = false;
}

}  // namespace umbra::dispatch
