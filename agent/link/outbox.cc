#include "agent/link/outbox.h"

#include <algorithm>
#include <utility>

#include "storage/base/log.h"

namespace umbra::link {

void Outbox::Accepted(const agent::v1::AssignmentId& id) {
  agent::v1::AgentMessage message;
  *message.mutable_accepted()->mutable_id() = id;
  absl::MutexLock lock(&mu_);
  queue_.push_back(std::move(message));
}

void Outbox::Progress(agent::v1::AssignmentProgress progress) {
  const AssignmentKey key = AssignmentKey::Of(progress.id());
  absl::MutexLock lock(&mu_);
  if (!results_.contains(key)) progress_[key] = std::move(progress);
}

void Outbox::Warning(agent::v1::AssignmentWarning warning) {
  agent::v1::AgentMessage message;
  const std::string job = warning.id().job_id();
  *message.mutable_warning() = std::move(warning);
  Queue(job, std::move(message));
}

void Outbox::Note(agent::v1::AssignmentNote note) {
  agent::v1::AgentMessage message;
  const std::string job = note.id().job_id();
  *message.mutable_note() = std::move(note);
  Queue(job, std::move(message));
}

void Outbox::Queue(const std::string& job, agent::v1::AgentMessage message) {
  absl::MutexLock lock(&mu_);
  if (queue_.size() >= kWarningsMax) {
    base::Log("link")->warn("warning dropped, too many wait for the link job={}", job);
    return;
  }
  queue_.push_back(std::move(message));
}

void Outbox::Result(agent::v1::AssignmentResult result) {
  const AssignmentKey key = AssignmentKey::Of(result.id());
  absl::MutexLock lock(&mu_);
  progress_.erase(key);  // the result has the final figures
  results_[key] = {.result = std::move(result)};
}

void Outbox::SetInventory(agent::v1::Inventory inventory) {
  absl::MutexLock lock(&mu_);
  inventory_ = std::move(inventory);
}

std::vector<agent::v1::AssignmentId> Outbox::Unacknowledged() {
  absl::MutexLock lock(&mu_);
  std::vector<agent::v1::AssignmentId> ids;
  for (const auto& [key, kept] : results_) ids.push_back(kept.result.id());
  return ids;
}

bool Outbox::AwaitAcknowledged(absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  const auto empty = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return results_.empty(); };
  return clock_.AwaitFor(mu_, absl::Condition(&empty), timeout);
}

void Outbox::Acknowledge(const agent::v1::AssignmentId& id) {
  absl::MutexLock lock(&mu_);
  results_.erase(AssignmentKey::Of(id));
}

void Outbox::Rewind() {
  absl::MutexLock lock(&mu_);
  for (auto& [key, kept] : results_) kept.said = false;
  interrupted_ = false;
}

std::optional<agent::v1::AgentMessage> Outbox::Next(absl::Duration timeout) {
  absl::MutexLock lock(&mu_);
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return interrupted_ || HasNextLocked(); };
  clock_.AwaitFor(mu_, absl::Condition(&ready), timeout);
  if (std::exchange(interrupted_, false)) return std::nullopt;
  return TakeLocked();
}

void Outbox::Interrupt() {
  absl::MutexLock lock(&mu_);
  interrupted_ = true;
}

bool Outbox::HasNextLocked() const {
  return !queue_.empty() || !progress_.empty() || inventory_.has_value() ||
         std::any_of(results_.begin(), results_.end(), [](const auto& entry) { return !entry.second.said; });
}

std::optional<agent::v1::AgentMessage> Outbox::TakeLocked() {
  agent::v1::AgentMessage message;
  if (!queue_.empty()) {
    message = std::move(queue_.front());
    queue_.pop_front();
    return message;
  }
  if (!progress_.empty()) {
    *message.mutable_progress() = std::move(progress_.begin()->second);
    progress_.erase(progress_.begin());
    return message;
  }
  for (auto& [key, kept] : results_) {
    if (std::exchange(kept.said, true)) continue;
    *message.mutable_result() = kept.result;
    return message;
  }
  if (inventory_) {
    *message.mutable_inventory() = *std::exchange(inventory_, std::nullopt);
    return message;
  }
  return std::nullopt;
}

}  // namespace umbra::link
