#include "server/notifications/digest.h"

#include <algorithm>
#include <span>
#include <string>

#include "server/calendar/plan.h"
#include "storage/base/status.h"

namespace umbra::notifications {

absl::StatusOr<DigestTimes> DigestTimesOf(const catalog::Channel& channel, absl::Time now) {
  DigestTimes times;
  if (channel.digest_schedule.empty()) return times;
  ASSIGN_OR_RETURN(const calendar::Plan plan,
                   calendar::Plan::Parse(std::span(&channel.digest_schedule, 1), channel.time_zone, {}, {}));
  const absl::Time done = channel.digest_done > now + kDigestClockWrongBy ? now : channel.digest_done;
  if (const auto run = plan.Ready(done, now)) {
    times.due = run->due;
  } else if (const auto next = plan.Next(done)) {
    times.next = next->start;
  }
  return times;
}

}  // namespace umbra::notifications
