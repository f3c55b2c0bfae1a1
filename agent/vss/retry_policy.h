// When to try again what failed. Unless told otherwise, Microsoft's advice for transient codes: ten minutes between tries, at
// most three times.
#ifndef UMBRA_AGENT_VSS_RETRY_POLICY_H_
#define UMBRA_AGENT_VSS_RETRY_POLICY_H_

#include <functional>
#include <optional>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/vss/errors.h"
#include "storage/base/clock.h"

namespace umbra::vss {

// For one operation, from its first try to its last. One thread at a time.
class RetryPolicy {
 public:
  explicit RetryPolicy(RetryAdvice advice = {}) : advice_(advice) {}

  // After a try that ended with `failure`: how long to wait before the next one; empty when there shall be none,
  // because the failure is for good (IsRetryable) or the tries are used up.
  std::optional<absl::Duration> AfterFailure(const absl::Status& failure);

  int retry_count() const { return retry_count_; }

  // Waits; an error of it (somebody cancelled) ends the tries and is returned.
  using Wait = std::function<absl::Status(absl::Duration)>;
  // Runs `attempt` until it succeeds or AfterFailure says stop. Returns the last try's status; when tries were used up,
  // the text says how many.
  absl::Status Run(const std::function<absl::Status()>& attempt, const Wait& wait);
  absl::Status Run(const std::function<absl::Status()>& attempt, base::Clock& clock);

 private:
  const RetryAdvice advice_;
  int retry_count_ = 0;
};

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_RETRY_POLICY_H_
