#include "server/notifications/notifications.h"

#include <utility>

#include "server/notifications/channel_check.h"
#include "server/notifications/smtp_channel.h"
#include "server/notifications/webhook_channel.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::notifications {
namespace {

// A busy fleet writes hundreds of events a second; they are read together.
constexpr absl::Duration kPause = absl::Seconds(1);
// After an error of the catalog.
constexpr absl::Duration kTryAgain = absl::Seconds(5);

}  // namespace

Notifications::Notifications(catalog::Catalog& catalog, jobs::EventHub& events, base::Filesystem& filesystem,
                             base::Clock& clock, base::Random& random, std::vector<StateCheck> checks, Options options,
                             base::Threads& threads)
    : catalog_(catalog),
      events_(events),
      clock_(clock),
      random_(random),
      threads_(threads),
      options_(std::move(options)),
      secrets_(filesystem, options_.secrets_folder),
      composer_(catalog, clock, random, std::move(checks), options_.daemon),
      sender_(catalog, clock, [this](const catalog::Channel& channel) { return Make(channel); }) {}

void Notifications::Start() {
  subscription_ = events_.Subscribe([this] {
    absl::MutexLock lock(&mu_);
    compose_ = true;
  });
  composing_ = threads_.Start([this] { ComposeLoop(); });
  sending_ = threads_.Start([this] { SendLoop(); });
}

void Notifications::Stop() {
  subscription_.Cancel();
  stop_.request_stop();
  {
    absl::MutexLock lock(&mu_);
    stopping_ = compose_ = send_ = true;
  }
  composing_.reset();
  sending_.reset();
}

void Notifications::Wake() {
  absl::MutexLock lock(&mu_);
  compose_ = send_ = true;
}

void Notifications::ComposeLoop() {
  while (true) {
    const auto ticked = composer_.Tick();
    if (!ticked.ok()) base::Log("notifications")->warn("not looked error={}", base::Describe(ticked.status()));
    absl::MutexLock lock(&mu_);
    send_ = true;
    clock_.AwaitFor(mu_, absl::Condition(&stopping_), kPause);
    clock_.AwaitFor(mu_, absl::Condition(&compose_), ticked.ok() ? *ticked : kTryAgain);
    if (stopping_) return;
    compose_ = false;
  }
}

void Notifications::SendLoop() {
  while (true) {
    const auto ticked = sender_.Tick(stop_.get_token());
    if (!ticked.ok()) base::Log("notifications")->warn("not sent error={}", base::Describe(ticked.status()));
    absl::MutexLock lock(&mu_);
    // A channel whose message has gone may get the next one.
    if (ticked.ok() && ticked->attempts > 0) compose_ = true;
    clock_.AwaitFor(mu_, absl::Condition(&send_), ticked.ok() ? ticked->wait : kTryAgain);
    if (stopping_) return;
    send_ = false;
  }
}

absl::StatusOr<std::unique_ptr<Channel>> Notifications::Make(const catalog::Channel& channel) const {
  std::string secret, certificates;
  if (!channel.secret.empty()) {
    ASSIGN_OR_RETURN(secret, secrets_.Read(channel.secret));
  }
  if (!channel.authority.empty()) {
    ASSIGN_OR_RETURN(certificates, secrets_.ReadCertificates(channel.authority));
  }
  if (channel.kind == catalog::ChannelKind::kWebhook) {
    if (secret.size() < kSignatureKeyMin) {
      return base::Error(absl::StatusCode::kFailedPrecondition, "NOTIFICATION_SECRET_MISSING",
                         "{}/{}: the key of a signature needs at least {} bytes", options_.secrets_folder,
                         channel.secret, kSignatureKeyMin);
    }
    return std::make_unique<WebhookChannel>(
        WebhookOptions{channel.url, std::move(secret), std::move(certificates), options_.user_agent});
  }
  return std::make_unique<SmtpChannel>(SmtpOptions{channel.host, channel.port, channel.security, channel.username,
                                                   std::move(secret), channel.sender, channel.recipients,
                                                   std::move(certificates), options_.daemon});
}

absl::Status Notifications::Check(const catalog::Channel& channel) const {
  RETURN_IF_ERROR(CheckChannel(channel));
  return Make(channel).status();
}

absl::StatusOr<catalog::Delivery> Notifications::Test(const catalog::ChannelId& id) {
  const absl::Time now = clock_.Now();
  const std::string uuid = random_.Uuid();
  ASSIGN_OR_RETURN(const catalog::Delivery queued,
                   catalog_.Write([&](catalog::Stores& s) -> absl::StatusOr<catalog::Delivery> {
                     ASSIGN_OR_RETURN(const catalog::Channel channel, s.notifications.Get(id));
                     const Envelope envelope{uuid, options_.daemon, now, ZoneOf(channel)};
                     RETURN_IF_ERROR(s.notifications.InsertDelivery(
                         NewDelivery(channel, catalog::DeliveryKind::kTest, envelope, RenderTest(envelope, id.value))));
                     return s.notifications.GetDelivery(uuid);
                   }));
  Wake();
  return queued;
}

}  // namespace umbra::notifications
