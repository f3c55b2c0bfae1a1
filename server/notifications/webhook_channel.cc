#include "server/notifications/webhook_channel.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <array>

#include "server/notifications/transfer.h"
#include "storage/base/bytes.h"
#include "storage/base/status.h"

namespace umbra::notifications {

std::string SignatureOf(const std::string& key, absl::Time time, const std::string& body) {
  const std::string signed_text = fmt::format("{}.{}", absl::ToUnixSeconds(time), body);
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  UMBRA_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                   reinterpret_cast<const unsigned char*>(signed_text.data()), signed_text.size(), digest.data(),
                   &size) != nullptr);
  return fmt::format("t={},v1={}", absl::ToUnixSeconds(time),
                     base::ToHex(std::as_bytes(std::span(digest.data(), size))));
}

absl::Status WebhookChannel::Deliver(const Outgoing& message, std::stop_token stop) {
  Transfer transfer(options_.url, "http,https", options_.certificates);
  TextList headers;
  headers.Add("Content-Type: application/json");
  headers.Add("Umbra-Delivery: " + message.id);
  headers.Add("Umbra-Signature: " + SignatureOf(options_.key, message.now, message.json));
  headers.Add("Expect:");  // not a question before the body
  transfer.Set(CURLOPT_HTTPHEADER, headers.get());
  transfer.Set(CURLOPT_USERAGENT, options_.user_agent.c_str());
  transfer.Set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(message.json.size()));
  transfer.Set(CURLOPT_POSTFIELDS, message.json.c_str());
  RETURN_IF_ERROR(transfer.Perform(std::move(stop)));
  const long code = transfer.ResponseCode();
  if (code >= 200 && code < 300) return absl::OkStatus();
  return base::Error(absl::StatusCode::kFailedPrecondition, "NOTIFICATION_REFUSED", "the webhook answered {}", code);
}

}  // namespace umbra::notifications
