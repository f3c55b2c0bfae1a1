#include "agent/transfer/cancellation.h"

#include <utility>

#include "storage/base/status.h"

namespace umbra::transfer {

void Cancellation::Cancel(absl::Status why) {
  UMBRA_CHECK(!why.ok());
  absl::MutexLock lock(&mu_);
  if (!why_.ok()) return;
  why_ = std::move(why);
  // Under the lock, so that a Guard that ends on another thread can't pull the callback's objects away.
  for (auto& [key, callback] : callbacks_) callback();
}

absl::Status Cancellation::Check() const {
  absl::MutexLock lock(&mu_);
  return why_;
}

absl::Status Cancellation::Wait(base::Clock& clock, absl::Duration duration) const {
  absl::MutexLock lock(&mu_);
  const auto cancelled = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return !why_.ok(); };
  clock.AwaitFor(mu_, absl::Condition(&cancelled), duration);
  return why_;
}

Cancellation::Guard::Guard(Cancellation& owner, std::function<void()> callback) : owner_(owner) {
  absl::MutexLock lock(&owner_.mu_);
  if (!owner_.why_.ok()) {
    callback();
    return;
  }
  key_ = owner_.next_key_++;
  owner_.callbacks_.emplace(key_, std::move(callback));
}

Cancellation::Guard::~Guard() {
  absl::MutexLock lock(&owner_.mu_);
  owner_.callbacks_.erase(key_);
}

}  // namespace umbra::transfer
