#include "server/api/agent/stream_set.h"

#include "storage/base/status.h"

namespace umbra::api {
namespace {

absl::Status Stopping() {
  return base::Error(absl::StatusCode::kUnavailable, "SERVER_STOPPING", "the daemon is stopping; try again later");
}

}  // namespace

absl::Status StreamSet::Add(Stoppable* stream) {
  absl::MutexLock lock(&mu_);
  if (stopped_) return Stopping();
  if (count_max_ == 0 || streams_.size() < count_max_) {
    streams_.insert(stream);
    stream->TurnCame();
    return absl::OkStatus();
  }
  if (waiting_.size() < waiting_max_) {
    waiting_.push_back(stream);
    return absl::OkStatus();
  }
  return base::Error(absl::StatusCode::kUnavailable, "SERVER_BUSY", "{} streams are open already; try again soon",
                     streams_.size() + waiting_.size());
}

void StreamSet::Remove(Stoppable* stream) {
  absl::MutexLock lock(&mu_);
  if (streams_.erase(stream) == 0) {
    std::erase(waiting_, stream);
  } else if (!waiting_.empty()) {
    Stoppable* const next = waiting_.front();
    waiting_.pop_front();
    streams_.insert(next);
    next->TurnCame();
  }
}

void StreamSet::WakeAll() {
  absl::MutexLock lock(&mu_);
  for (Stoppable* stream : streams_) stream->Wake();
}

void StreamSet::StopAll() {
  absl::MutexLock lock(&mu_);
  stopped_ = true;
  for (Stoppable* stream : streams_) stream->Stop(Stopping());
  for (Stoppable* stream : waiting_) stream->Stop(Stopping());
  const auto empty = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return streams_.empty() && waiting_.empty(); };
  mu_.AwaitWithTimeout(absl::Condition(&empty), kStopTimeout);
}

}  // namespace umbra::api
