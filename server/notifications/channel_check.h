// Whether a channel can be what it says: addresses, limits, schedule. Pure.
#ifndef UMBRA_SERVER_NOTIFICATIONS_CHANNEL_CHECK_H_
#define UMBRA_SERVER_NOTIFICATIONS_CHANNEL_CHECK_H_

#include <string_view>

#include "absl/status/status.h"
#include "storage/catalog/notification_records.h"

namespace umbra::notifications {

inline constexpr absl::Duration kGroupingWindowDefault = absl::Minutes(1);
inline constexpr absl::Duration kGroupingWindowMax = absl::Hours(1);
inline constexpr int kMessagesPerHourDefault = 12;
inline constexpr int kMessagesPerHourMax = 1000;
inline constexpr size_t kRecipientsMax = 50;

// INVALID_ARGUMENT / INVALID_REQUEST naming the field, INVALID_SCHEDULE, INVALID_TIME_ZONE.
absl::Status CheckChannel(const catalog::Channel& channel);

// A plain address, "local@domain", of printable ASCII without blanks, quotes and brackets: nothing in it can end a line
// or begin another header.
bool IsMailAddress(std::string_view text);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_CHANNEL_CHECK_H_
