// Which failures of an attempt pass by themselves, and how long that takes: one table, by reason.
#ifndef UMBRA_SERVER_JOBS_RETRY_H_
#define UMBRA_SERVER_JOBS_RETRY_H_

#include <optional>
#include <string_view>

#include "absl/time/time.h"

namespace umbra::jobs {

// An attempt that was merely interrupted (its agent or the daemon restarted) is repeated after this time, if the job's
// back-off isn't shorter: time for the agent to put the old attempt's work back.
inline constexpr absl::Duration kInterruptedWait = absl::Seconds(30);

// How long to wait after an attempt that ended with `reason`; absent: another attempt wouldn't do better, a person is
// needed. `stays`: who failed says so; it is believed where the reason alone leaves that open. Thread-safe, pure.
std::optional<absl::Duration> RetryWait(std::string_view reason, bool stays, absl::Duration backoff);

}  // namespace umbra::jobs

#endif  // UMBRA_SERVER_JOBS_RETRY_H_
