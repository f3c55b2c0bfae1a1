#include "server/rest/rate_limit.h"

#include <algorithm>

namespace umbra::rest {
namespace {

constexpr size_t kBucketsMax = 20'000;
// Looking through all buckets takes a millisecond or two.
constexpr absl::Duration kSweepPause = absl::Seconds(1);

}  // namespace

void RateLimiter::ForgetFullLocked(absl::Duration now) {
  if (now - swept_ < kSweepPause) return;
  swept_ = now;
  std::erase_if(buckets_, [&](const auto& entry) {
    return entry.second.left + absl::ToDoubleSeconds(now - entry.second.at) * per_second_ >= burst_;
  });
}

bool RateLimiter::Allow(const std::string& key) {
  if (per_second_ <= 0) return true;
  const absl::Duration now = clock_.Monotonic();
  absl::MutexLock lock(&mu_);
  if (buckets_.size() >= kBucketsMax) ForgetFullLocked(now);
  const bool known = buckets_.contains(key);
  const std::string& used = known || buckets_.size() < kBucketsMax ? key : std::string();
  Bucket& bucket = buckets_.try_emplace(used, Bucket{burst_, now}).first->second;
  bucket.left = std::min(burst_, bucket.left + absl::ToDoubleSeconds(now - bucket.at) * per_second_);
  bucket.at = now;
  if (bucket.left < 1) return false;
  bucket.left -= 1;
  return true;
}

}  // namespace umbra::rest
