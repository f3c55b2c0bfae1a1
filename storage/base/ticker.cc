#include "storage/base/ticker.h"

#include <algorithm>

namespace umbra::base {

void Ticker::Start() {
  thread_ = threads_.Start([this] { Loop(); });
}

void Ticker::Stop() {
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
    awake_ = true;
  }
  thread_.reset();
}

void Ticker::Wake() {
  absl::MutexLock lock(&mu_);
  awake_ = true;
}

bool Ticker::stopping() const {
  absl::MutexLock lock(&mu_);
  return stopping_;
}

void Ticker::Loop() {
  while (true) {
    const absl::Duration wait = work_();
    absl::MutexLock lock(&mu_);
    clock_.AwaitFor(mu_, absl::Condition(&awake_), std::max(wait, absl::ZeroDuration()));
    if (stopping_) return;
    awake_ = false;
  }
}

}  // namespace umbra::base
