#include "server/notifications/sender.h"

#include <algorithm>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

constexpr int kMessagesPerRead = 16;
constexpr absl::Duration kPruneInterval = absl::Hours(1);
constexpr absl::Duration kWaitMin = absl::Milliseconds(10);

}  // namespace

absl::Duration BackoffAfter(int attempts) {
  const int doublings = std::clamp(attempts - 1, 0, 10);
  return std::min(kBackoffFirst * (1 << doublings), kBackoffMax);
}

absl::StatusOr<Sender::Ticked> Sender::Tick(std::stop_token stop) {
  if (const absl::Time now = clock_.Now(); now - pruned_ >= kPruneInterval || now < pruned_) {
    pruned_ = now;
    RETURN_IF_ERROR(
        catalog_.Write([&](catalog::Stores& s) { return s.notifications.PruneDeliveries(now - kDeliveriesKeptFor); }));
  }
  ASSIGN_OR_RETURN(const auto due, catalog_.Read([&](const catalog::Stores& s) {
    return s.notifications.DueDeliveries(clock_.Now(), kMessagesPerRead);
  }));
  Ticked ticked{kSendAgain};
  for (const catalog::Delivery& delivery : due) {
    if (stop.stop_requested()) return ticked;
    RETURN_IF_ERROR(Send(delivery, stop));
    ++ticked.attempts;
  }
  ASSIGN_OR_RETURN(const auto next,
                   catalog_.Read([](const catalog::Stores& s) { return s.notifications.NextAttempt(); }));
  if (next) ticked.wait = std::clamp(*next - clock_.Now(), kWaitMin, kSendAgain);
  return ticked;
}

absl::Status Sender::Send(catalog::Delivery delivery, std::stop_token stop) {
  // Before the attempt: a daemon that dies of it, or during it, doesn't begin the next one at once.
  catalog::Delivery begun = delivery;
  ++begun.attempts;
  begun.next_attempt = clock_.Now() + BackoffAfter(begun.attempts);
  RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& s) { return s.notifications.SetDelivery(begun); }));
  const absl::Status sent = Attempt(delivery, stop);
  if (absl::IsCancelled(sent)) {
    // The daemon stops: no attempt of the other side's. The next start tries at once.
    return catalog_.Write([&](catalog::Stores& s) { return s.notifications.SetDelivery(delivery); });
  }
  return Record(begun, sent);
}

absl::Status Sender::Attempt(const catalog::Delivery& delivery, std::stop_token stop) {
  ASSIGN_OR_RETURN(const catalog::Channel channel,
                   catalog_.Read([&](const catalog::Stores& s) { return s.notifications.Get(delivery.channel); }));
  ASSIGN_OR_RETURN(const auto way, make_channel_(channel));
  return way->Deliver({.id = delivery.id,
                       .create_time = delivery.create_time,
                       .now = clock_.Now(),
                       .title = delivery.title,
                       .text = delivery.text,
                       .json = delivery.json},
                      std::move(stop));
}

absl::Status Sender::Record(catalog::Delivery& delivery, const absl::Status& sent) {
  const absl::Time now = clock_.Now();
  const bool last = delivery.kind == catalog::DeliveryKind::kTest || now - delivery.create_time >= kGiveUpAfter;
  if (sent.ok() || last) delivery.end_time = now;
  if (sent.ok()) {
    delivery.state = catalog::DeliveryState::kDelivered;
    delivery.error = {};
    base::Log("notifications")
        ->info("message delivered id={} channel={} attempts={}", delivery.id, delivery.channel, delivery.attempts);
  } else {
    delivery.error = {base::ReasonOf(sent), base::MessageOf(sent)};
    if (last) delivery.state = catalog::DeliveryState::kGivenUp;
    base::Log("notifications")
        ->warn("message not delivered id={} channel={} attempts={} given_up={} error={}", delivery.id, delivery.channel,
               delivery.attempts, last, base::Describe(sent));
  }
  return catalog_.Write([&](catalog::Stores& s) -> absl::Status {
    RETURN_IF_ERROR(s.notifications.SetDelivery(delivery));
    return delivery.state == catalog::DeliveryState::kGivenUp ? GiveUp(s, delivery) : absl::OkStatus();
  });
}

absl::Status Sender::GiveUp(catalog::Stores& stores, const catalog::Delivery& delivery) {
  if (delivery.kind == catalog::DeliveryKind::kTest) return absl::OkStatus();
  auto channel = stores.notifications.Get(delivery.channel);
  if (absl::IsNotFound(channel.status())) return absl::OkStatus();
  RETURN_IF_ERROR(channel.status());
  if (delivery.kind == catalog::DeliveryKind::kNotices) {
    // The next message says that there was more.
    channel->overflow_count += delivery.notice_count;
    RETURN_IF_ERROR(stores.notifications.SetProgress(*channel));
  }
  return stores.events
      .Append({.time = clock_.Now(),
               .type = "NOTIFICATION_GIVEN_UP",
               .resource = fmt::format("notificationChannels/{}", delivery.channel),
               .severity = catalog::Severity::kError,
               .message = fmt::format("a message was given up after {} attempts: {}", delivery.attempts,
                                      delivery.error.message)})
      .status();
}

}  // namespace umbra::notifications
