#include "storage/repo/write_behind.h"

#include <utility>

namespace umbra::repo {

WriteBehind::WriteBehind(BlobWriter& blob) : blob_(blob) {}

WriteBehind::~WriteBehind() {
  absl::MutexLock lock(&mu_);
  stop_ = true;
}

absl::Status WriteBehind::Write(base::AlignedBuffer& buffer) {
  const size_t size = buffer.size();
  if (!thread_.joinable()) thread_ = std::jthread([this] { Run(); });
  absl::MutexLock lock(&mu_);
  const auto has_room = [this]()
                            ABSL_SHARED_LOCKS_REQUIRED(mu_) { return queue_.size() < kBuffersMax || !failure_.ok(); };
  mu_.Await(absl::Condition(&has_room));
  if (!failure_.ok()) return failure_;
  queue_.push_back(std::move(buffer));
  if (free_.empty()) {
    buffer = base::AlignedBuffer(size);
  } else {
    buffer = std::move(free_.back());
    free_.pop_back();
  }
  return absl::OkStatus();
}

absl::Status WriteBehind::Drain() {
  absl::MutexLock lock(&mu_);
  const auto idle = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return queue_.empty(); };
  mu_.Await(absl::Condition(&idle));
  free_.clear();
  return failure_;
}

void WriteBehind::Run() {
  const auto has_work = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stop_ || !queue_.empty(); };
  absl::MutexLock lock(&mu_);
  while (true) {
    mu_.Await(absl::Condition(&has_work));
    if (stop_) return;
    const base::Bytes data = queue_.front().bytes();  // stays where it is: only this thread takes from the queue
    if (failure_.ok()) {
      mu_.Unlock();
      const absl::Status written = blob_.Append(data);
      mu_.Lock();
      if (!written.ok()) failure_ = written;
    }
    free_.push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
}

}  // namespace umbra::repo
