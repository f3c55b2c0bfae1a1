// A way to send messages. Two implementations: mail (smtp_channel.h) and webhooks (webhook_channel.h).
#ifndef UMBRA_SERVER_NOTIFICATIONS_CHANNEL_H_
#define UMBRA_SERVER_NOTIFICATIONS_CHANNEL_H_

#include <functional>
#include <memory>
#include <stop_token>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/catalog/notification_records.h"

namespace umbra::notifications {

// A message on its way.
struct Outgoing {
  std::string id;  // the same at every attempt: who gets it twice can tell
  absl::Time create_time;
  absl::Time now;  // of this attempt
  std::string title;
  std::string text;
  std::string json;
};

// One thread at a time.
class Channel {
 public:
  virtual ~Channel() = default;

  // Sends the message; OK when the other side has taken it over. Blocks for half a minute at most, and a stop ends it
  // within a second. Whatever the error, sending again is right.
  // UNAVAILABLE / NOTIFICATION_UNREACHABLE                no connection, no trust, no answer in time.
  // FAILED_PRECONDITION / NOTIFICATION_REFUSED            an answer, and it's no.
  // FAILED_PRECONDITION / NOTIFICATION_SECRET_MISSING
  // CANCELLED / NOTIFICATION_UNREACHABLE                  stopped.
  virtual absl::Status Deliver(const Outgoing& message, std::stop_token stop) = 0;
};

using ChannelMaker = std::function<absl::StatusOr<std::unique_ptr<Channel>>(const catalog::Channel&)>;

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_CHANNEL_H_
