// When a digest is due. Pure.
#ifndef UMBRA_SERVER_NOTIFICATIONS_DIGEST_H_
#define UMBRA_SERVER_NOTIFICATIONS_DIGEST_H_

#include <optional>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/catalog/notification_records.h"

namespace umbra::notifications {

// A "done" further ahead than this comes from a clock that was wrong.
inline constexpr absl::Duration kDigestClockWrongBy = absl::Hours(24);

struct DigestTimes {
  std::optional<absl::Time> due;   // one is due now, for everything up to this time
  std::optional<absl::Time> next;  // else the next one is due then; absent: never
};

// Due times that passed while the daemon was down are one digest. Each due time is part of exactly one digest, whatever
// the clocks of the zone do. INVALID_ARGUMENT / INVALID_SCHEDULE, INVALID_TIME_ZONE.
absl::StatusOr<DigestTimes> DigestTimesOf(const catalog::Channel& channel, absl::Time now);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_DIGEST_H_
