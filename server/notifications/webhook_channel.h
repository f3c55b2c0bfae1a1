// A POST of JSON, signed (umbra.v1.WebhookSettings has the form).
#ifndef UMBRA_SERVER_NOTIFICATIONS_WEBHOOK_CHANNEL_H_
#define UMBRA_SERVER_NOTIFICATIONS_WEBHOOK_CHANNEL_H_

#include <string>

#include "server/notifications/channel.h"

namespace umbra::notifications {

struct WebhookOptions {
  std::string url;
  std::string key;           // of the signature
  std::string certificates;  // PEM; empty: those that the machine trusts
  std::string user_agent;
};

class WebhookChannel final : public Channel {
 public:
  explicit WebhookChannel(WebhookOptions options) : options_(std::move(options)) {}

  // Taken is what is answered with a status of 200 to 299.
  absl::Status Deliver(const Outgoing& message, std::stop_token stop) override;

 private:
  const WebhookOptions options_;
};

// "t=SECONDS,v1=HEX".
std::string SignatureOf(const std::string& key, absl::Time time, const std::string& body);

}  // namespace umbra::notifications

#endif  // UMBRA_SERVER_NOTIFICATIONS_WEBHOOK_CHANNEL_H_
