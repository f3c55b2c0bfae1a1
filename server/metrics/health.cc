#include "server/metrics/health.h"

#include <utility>

namespace umbra::metrics {
namespace {

constexpr char kDead[] = "the catalog doesn't answer";

}  // namespace

void Health::Starting(const std::string& what) {
  absl::MutexLock lock(&mu_);
  state_ = "starting: " + what;
}

void Health::Ready(std::function<bool()> catalog_answers) {
  absl::MutexLock lock(&mu_);
  state_ = "ready";
  catalog_answers_ = std::move(catalog_answers);
}

void Health::Stopping() {
  absl::MutexLock lock(&mu_);
  state_ = "stopping";
  catalog_answers_ = nullptr;
}

Health::Answer Health::Live() const {
  absl::ReaderMutexLock lock(&mu_);
  if (catalog_answers_ && !catalog_answers_()) return {false, kDead};
  return {true, state_};
}

Health::Answer Health::ReadyNow() const {
  absl::ReaderMutexLock lock(&mu_);
  if (!catalog_answers_) return {false, state_};
  if (!catalog_answers_()) return {false, kDead};
  return {true, state_};
}

}  // namespace umbra::metrics
