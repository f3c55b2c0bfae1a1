#include "agent/vss/retry_policy.h"

#include "storage/base/status.h"

namespace umbra::vss {

std::optional<absl::Duration> RetryPolicy::AfterFailure(const absl::Status& failure) {
  if (failure.ok() || !IsRetryable(failure) || retry_count_ >= advice_.retry_count_max) return std::nullopt;
  ++retry_count_;
  return advice_.wait;
}

absl::Status RetryPolicy::Run(const std::function<absl::Status()>& attempt, const Wait& wait) {
  while (true) {
    const absl::Status tried = attempt();
    if (tried.ok()) return tried;
    const std::optional<absl::Duration> pause = AfterFailure(tried);
    if (!pause.has_value())
      return retry_count_ == 0 ? tried : base::Annotate(tried, "after {} tries", retry_count_ + 1);
    RETURN_IF_ERROR(wait(*pause));
  }
}

absl::Status RetryPolicy::Run(const std::function<absl::Status()>& attempt, base::Clock& clock) {
  return Run(attempt, [&clock](absl::Duration pause) {
    clock.Sleep(pause);
    return absl::OkStatus();
  });
}

}  // namespace umbra::vss
