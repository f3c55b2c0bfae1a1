#include "server/api/notification_convert.h"

#include <algorithm>

#include "server/api/convert.h"
#include "server/api/names.h"
#include "server/notifications/channel_check.h"
#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::api {
namespace {

using base::Invalid;
using catalog::SmtpSecurity;

constexpr size_t kChannelIdSizeMax = 63;
constexpr int kPortStartTls = 587;
constexpr int kPortTls = 465;
constexpr int kPortPlain = 25;

template <typename A, typename B>
constexpr bool Same(A a, B b) {
  return static_cast<int>(a) == static_cast<int>(b);
}
static_assert(Same(catalog::NoticeTopic::kFailure, v1::NOTIFICATION_TOPIC_FAILURE) &&
              Same(catalog::NoticeTopic::kRecovery, v1::NOTIFICATION_TOPIC_RECOVERY) &&
              Same(catalog::NoticeTopic::kRpoMissed, v1::NOTIFICATION_TOPIC_RPO_MISSED) &&
              Same(catalog::NoticeTopic::kAgentOffline, v1::NOTIFICATION_TOPIC_AGENT_OFFLINE) &&
              Same(catalog::NoticeTopic::kRepositoryNearlyFull, v1::NOTIFICATION_TOPIC_REPOSITORY_NEARLY_FULL) &&
              Same(catalog::NoticeTopic::kDamage, v1::NOTIFICATION_TOPIC_DAMAGE) &&
              Same(catalog::NoticeTopic::kDigest, v1::NOTIFICATION_TOPIC_DIGEST));
static_assert(Same(SmtpSecurity::kStartTls, v1::SmtpSettings::SECURITY_STARTTLS) &&
              Same(SmtpSecurity::kTls, v1::SmtpSettings::SECURITY_TLS) &&
              Same(SmtpSecurity::kNone, v1::SmtpSettings::SECURITY_NONE));
static_assert(Same(catalog::DeliveryKind::kNotices, v1::Notification::KIND_NOTICES) &&
              Same(catalog::DeliveryKind::kDigest, v1::Notification::KIND_DIGEST) &&
              Same(catalog::DeliveryKind::kTest, v1::Notification::KIND_TEST));
static_assert(Same(catalog::DeliveryState::kQueued, v1::Notification::STATE_QUEUED) &&
              Same(catalog::DeliveryState::kDelivered, v1::Notification::STATE_DELIVERED) &&
              Same(catalog::DeliveryState::kGivenUp, v1::Notification::STATE_GIVEN_UP));

int DefaultPort(SmtpSecurity security) {
  if (security == SmtpSecurity::kTls) return kPortTls;
  return security == SmtpSecurity::kNone ? kPortPlain : kPortStartTls;
}

absl::Status TakeSmtp(const v1::SmtpSettings& from, catalog::Channel& channel) {
  if (!v1::SmtpSettings::Security_IsValid(from.security())) return Invalid("smtp.security: no such value");
  channel.kind = catalog::ChannelKind::kSmtp;
  channel.host = from.host();
  channel.security = static_cast<SmtpSecurity>(from.security());
  if (channel.security == SmtpSecurity::kUnspecified) channel.security = SmtpSecurity::kStartTls;
  channel.port = from.port() == 0 ? DefaultPort(channel.security) : from.port();
  channel.username = from.username();
  channel.secret = from.secret();
  channel.sender = from.from();
  channel.recipients.assign(from.to().begin(), from.to().end());
  channel.authority = from.certificate_authority();
  return absl::OkStatus();
}

absl::Status TakeTopics(const v1::NotificationChannel& from, catalog::Channel& channel) {
  for (const int topic : from.topics()) {
    if (topic == v1::NOTIFICATION_TOPIC_UNSPECIFIED || !v1::NotificationTopic_IsValid(topic)) {
      return Invalid("topics: no such topic");
    }
    channel.topics.push_back(static_cast<catalog::NoticeTopic>(topic));
  }
  std::ranges::sort(channel.topics);
  channel.topics.erase(std::unique(channel.topics.begin(), channel.topics.end()), channel.topics.end());
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<catalog::ChannelId> CheckChannelId(const std::string& id) {
  const bool good =
      !id.empty() && id.size() <= kChannelIdSizeMax && id.front() != '-' &&
      std::ranges::all_of(id, [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
  if (!good) {
    return Invalid("notification_channel_id: 1 to {} of a-z, 0-9 and -, not - first", kChannelIdSizeMax);
  }
  return catalog::ChannelId(id);
}

absl::StatusOr<catalog::Channel> FromProto(const v1::NotificationChannel& from) {
  catalog::Channel channel;
  channel.description = from.description();
  if (from.has_smtp()) {
    RETURN_IF_ERROR(TakeSmtp(from.smtp(), channel));
  } else if (from.has_webhook()) {
    channel.kind = catalog::ChannelKind::kWebhook;
    channel.url = from.webhook().url();
    channel.secret = from.webhook().secret();
    channel.authority = from.webhook().certificate_authority();
    channel.allow_plaintext = from.webhook().allow_plaintext();
  } else {
    return Invalid("notification_channel: needs smtp or webhook");
  }
  RETURN_IF_ERROR(TakeTopics(from, channel));
  channel.digest_schedule = from.digest_schedule();
  channel.time_zone = from.time_zone();
  channel.grouping_window = FromProto(from.grouping_window());
  if (channel.grouping_window == absl::ZeroDuration()) channel.grouping_window = notifications::kGroupingWindowDefault;
  channel.messages_per_hour =
      from.messages_per_hour() == 0 ? notifications::kMessagesPerHourDefault : from.messages_per_hour();
  channel.paused = from.paused();
  return channel;
}

std::string EtagOf(const catalog::Channel& channel) {
  return std::to_string(channel.revision);
}

void ToProto(const catalog::Channel& channel, v1::NotificationChannel* out) {
  out->set_name(NameOf(channel.id));
  out->set_description(channel.description);
  if (channel.kind == catalog::ChannelKind::kSmtp) {
    v1::SmtpSettings* const smtp = out->mutable_smtp();
    smtp->set_host(channel.host);
    smtp->set_port(channel.port);
    smtp->set_security(static_cast<v1::SmtpSettings::Security>(channel.security));
    smtp->set_username(channel.username);
    smtp->set_secret(channel.secret);
    smtp->set_from(channel.sender);
    for (const std::string& address : channel.recipients) smtp->add_to(address);
    smtp->set_certificate_authority(channel.authority);
  } else {
    v1::WebhookSettings* const webhook = out->mutable_webhook();
    webhook->set_url(channel.url);
    webhook->set_secret(channel.secret);
    webhook->set_certificate_authority(channel.authority);
    webhook->set_allow_plaintext(channel.allow_plaintext);
  }
  for (const catalog::NoticeTopic topic : channel.topics) out->add_topics(static_cast<v1::NotificationTopic>(topic));
  out->set_digest_schedule(channel.digest_schedule);
  out->set_time_zone(channel.time_zone);
  ToProto(channel.grouping_window, out->mutable_grouping_window());
  out->set_messages_per_hour(channel.messages_per_hour);
  out->set_paused(channel.paused);
  ToProto(channel.create_time, out->mutable_create_time());
  ToProto(channel.update_time, out->mutable_update_time());
  out->set_etag(EtagOf(channel));
}

void ToProto(const catalog::Delivery& delivery, v1::Notification* out) {
  out->set_name(fmt::format("{}/notifications/{}", NameOf(delivery.channel), delivery.id));
  out->set_kind(static_cast<v1::Notification::Kind>(delivery.kind));
  out->set_state(static_cast<v1::Notification::State>(delivery.state));
  out->set_title(delivery.title);
  out->set_notice_count(delivery.notice_count);
  out->set_attempts(delivery.attempts);
  ToProto(delivery.create_time, out->mutable_create_time());
  if (delivery.state == catalog::DeliveryState::kQueued) {
    ToProto(delivery.next_attempt, out->mutable_next_attempt_time());
  }
  if (delivery.end_time) ToProto(*delivery.end_time, out->mutable_end_time());
  out->set_error_reason(delivery.error.reason);
  out->set_error_message(delivery.error.message);
}

}  // namespace umbra::api
