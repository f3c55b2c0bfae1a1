// How often somebody may ask.
#ifndef UMBRA_SERVER_REST_RATE_LIMIT_H_
#define UMBRA_SERVER_REST_RATE_LIMIT_H_

#include <string>
#include <unordered_map>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::rest {

// A bucket for each key: it holds `burst` requests and gets `per_second` new ones. Thread-safe.
class RateLimiter {
 public:
  // `per_second` 0: everything is allowed.
  RateLimiter(base::Clock& clock, double per_second, double burst)
      : clock_(clock), per_second_(per_second), burst_(burst) {}

  // Takes one out of the bucket of `key`; false: it is empty. Keys are forgotten when their buckets are full again;
  // there are never more than 20,000, then strangers share one.
  bool Allow(const std::string& key);

 private:
  struct Bucket {
    double left = 0;
    absl::Duration at;
  };
  void ForgetFullLocked(absl::Duration now) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  base::Clock& clock_;
  const double per_second_;
  const double burst_;
  absl::Mutex mu_;  // a request is taken out of its bucket once
  std::unordered_map<std::string, Bucket> buckets_ ABSL_GUARDED_BY(mu_);
  absl::Duration swept_ ABSL_GUARDED_BY(mu_) = -absl::InfiniteDuration();
};

}  // namespace umbra::rest

#endif  // UMBRA_SERVER_REST_RATE_LIMIT_H_
