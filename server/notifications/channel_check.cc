#include "server/notifications/channel_check.h"

#include <curl/curl.h>

#include <algorithm>
#include <memory>
#include <string>

#include "server/notifications/digest.h"
#include "server/notifications/secrets.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

using base::Invalid;
using catalog::Channel;
using catalog::ChannelKind;
using catalog::SmtpSecurity;

constexpr size_t kDescriptionMax = 1024;
constexpr size_t kUrlMax = 2000;
constexpr size_t kNameMax = 253;
constexpr size_t kUsernameMax = 256;
constexpr size_t kLocalPartMax = 64;

bool IsPrintable(char c) {
  return c > 0x20 && c < 0x7f;
}

// A DNS name or an address; what a URL is made of must not be able to say more than that.
bool IsHost(std::string_view text) {
  return !text.empty() && text.size() <= kNameMax && text.front() != '-' && std::ranges::all_of(text, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == ':' || c == '_';
  });
}

bool IsThisMachine(std::string_view host) {
  return host == "localhost" || host == "127.0.0.1" || host == "[::1]" || host == "::1";
}

// A part of `url`; empty when it has none.
std::string PartOf(CURLU* url, CURLUPart part) {
  char* text = nullptr;
  if (curl_url_get(url, part, &text, 0) != CURLUE_OK) return "";
  std::string copy(text);
  curl_free(text);
  return copy;
}

absl::Status CheckUrl(const Channel& channel) {
  if (channel.url.empty() || channel.url.size() > kUrlMax || !std::ranges::all_of(channel.url, IsPrintable)) {
    return Invalid("webhook.url: must be 1 to {} printable characters without blanks", kUrlMax);
  }
  const std::unique_ptr<CURLU, void (*)(CURLU*)> url(curl_url(), curl_url_cleanup);
  if (curl_url_set(url.get(), CURLUPART_URL, channel.url.c_str(), 0) != CURLUE_OK) {
    return Invalid("webhook.url: is no URL");
  }
  const std::string scheme = PartOf(url.get(), CURLUPART_SCHEME);
  if (!PartOf(url.get(), CURLUPART_USER).empty() || !PartOf(url.get(), CURLUPART_PASSWORD).empty()) {
    return Invalid("webhook.url: must not hold a name or password");
  }
  if (scheme == "https") return absl::OkStatus();
  if (scheme != "http") return Invalid("webhook.url: must begin with https://");
  if (channel.allow_plaintext || IsThisMachine(PartOf(url.get(), CURLUPART_HOST))) return absl::OkStatus();
  return Invalid("webhook.url: must begin with https://, or be allowed to be read on its way (allow_plaintext)");
}

absl::Status CheckWebhook(const Channel& channel) {
  RETURN_IF_ERROR(CheckUrl(channel));
  if (!Secrets::IsName(channel.secret)) {
    return Invalid("webhook.secret: must be the name of a file in the daemon's folder of secrets");
  }
  return absl::OkStatus();
}

absl::Status CheckSmtp(const Channel& channel) {
  if (!IsHost(channel.host)) return Invalid("smtp.host: must be the name or address of the mail server");
  if (channel.port < 1 || channel.port > 65535) return Invalid("smtp.port: must be from 1 to 65535");
  if (!IsMailAddress(channel.sender)) return Invalid("smtp.from: is no mail address");
  if (channel.recipients.empty() || channel.recipients.size() > kRecipientsMax) {
    return Invalid("smtp.to: must be 1 to {} addresses", kRecipientsMax);
  }
  for (const std::string& address : channel.recipients) {
    if (!IsMailAddress(address)) return Invalid("smtp.to: '{}' is no mail address", address.substr(0, kNameMax));
  }
  if (channel.username.empty()) return absl::OkStatus();
  if (channel.username.size() > kUsernameMax || !std::ranges::all_of(channel.username, IsPrintable)) {
    return Invalid("smtp.username: must be at most {} printable characters without blanks", kUsernameMax);
  }
  if (channel.security == SmtpSecurity::kNone) {
    return Invalid("smtp.security: a password needs a protected connection");
  }
  if (!Secrets::IsName(channel.secret)) {
    return Invalid("smtp.secret: a username needs the name of a file in the daemon's folder of secrets");
  }
  return absl::OkStatus();
}

}  // namespace

bool IsMailAddress(std::string_view text) {
  const size_t at = text.rfind('@');
  if (at == std::string_view::npos || at == 0 || at > kLocalPartMax) return false;
  constexpr std::string_view kForbidden = "\"(),:;<>@[\\]";
  const auto good = [&](char c) { return IsPrintable(c) && kForbidden.find(c) == std::string_view::npos; };
  const std::string_view domain = text.substr(at + 1);
  return std::ranges::all_of(text.substr(0, at), good) && IsHost(domain) && domain.find(':') == std::string_view::npos;
}

absl::Status CheckChannel(const Channel& channel) {
  if (channel.description.size() > kDescriptionMax) return Invalid("description: at most {} bytes", kDescriptionMax);
  if (!channel.authority.empty() && !Secrets::IsName(channel.authority)) {
    return Invalid("certificate_authority: must be the name of a file in the daemon's folder of secrets");
  }
  if (channel.grouping_window < absl::ZeroDuration() || channel.grouping_window > kGroupingWindowMax) {
    return Invalid("grouping_window: must be from 0 to {}", absl::FormatDuration(kGroupingWindowMax));
  }
  if (channel.messages_per_hour < 1 || channel.messages_per_hour > kMessagesPerHourMax) {
    return Invalid("messages_per_hour: must be from 1 to {}", kMessagesPerHourMax);
  }
  RETURN_IF_ERROR(DigestTimesOf(channel, channel.digest_done).status());
  return channel.kind == ChannelKind::kSmtp ? CheckSmtp(channel) : CheckWebhook(channel);
}

}  // namespace umbra::notifications
