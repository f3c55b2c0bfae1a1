// Notification channels and messages between the public API and the catalog.
#ifndef UMBRA_SERVER_API_NOTIFICATION_CONVERT_H_
#define UMBRA_SERVER_API_NOTIFICATION_CONVERT_H_

#include <string>

#include "absl/status/statusor.h"
#include "storage/catalog/notification_records.h"
#include "umbra/v1/notification.pb.h"

namespace umbra::api {

// The {channel} of a new channel's name. INVALID_ARGUMENT / INVALID_REQUEST.
absl::StatusOr<catalog::ChannelId> CheckChannelId(const std::string& id);

// What the caller sets, with every default filled in; not checked beyond its form
// (notifications::Notifications::Check). INVALID_ARGUMENT / INVALID_REQUEST.
absl::StatusOr<catalog::Channel> FromProto(const v1::NotificationChannel& channel);

// All but waiting_count.
void ToProto(const catalog::Channel& channel, v1::NotificationChannel* out);
void ToProto(const catalog::Delivery& delivery, v1::Notification* out);

std::string EtagOf(const catalog::Channel& channel);

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_NOTIFICATION_CONVERT_H_
