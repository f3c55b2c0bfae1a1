// Proves the calls for notification channels and messages: what is refused, that secrets never come back, etags, tests
// of channels through the real threads, paging, events.
#include <thread>

#include "tests/unit/server/api/fixture.h"

namespace umbra::api {
namespace {

using Stub = v1::NotificationService::Stub;
using ::testing::HasSubstr;
using ::testing::Not;

const char kKey[] = "0123456789abcdef0123456789abcdef";

class NotificationServiceTest : public ApiTest {
 protected:
  NotificationServiceTest() {
    UMBRA_CHECK(files_.MakeDirectories(dir_.File("secrets")).ok());
    UMBRA_CHECK(files_.WriteFileAtomic(dir_.File("secrets/key"), kKey).ok());
    UMBRA_CHECK(files_.WriteFileAtomic(dir_.File("secrets/short"), "0123").ok());
  }

  static v1::NotificationChannel Webhook() {
    v1::NotificationChannel channel;
    channel.mutable_webhook()->set_url("http://127.0.0.1:1/hook");
    channel.mutable_webhook()->set_secret("key");
    return channel;
  }
  static v1::NotificationChannel Mail() {
    v1::NotificationChannel channel;
    v1::SmtpSettings& smtp = *channel.mutable_smtp();
    smtp.set_host("mail.example.org");
    smtp.set_from("umbra@example.org");
    smtp.add_to("ops@example.org");
    return channel;
  }
  grpc::Status Create(const std::string& id, const v1::NotificationChannel& channel) {
    v1::CreateNotificationChannelRequest request;
    request.set_notification_channel_id(id);
    *request.mutable_notification_channel() = channel;
    return Call(channels_, &Stub::CreateNotificationChannel, request, &answer_);
  }
  v1::NotificationChannel Get(const std::string& id) {
    v1::GetNotificationChannelRequest request;
    request.set_name("notificationChannels/" + id);
    v1::NotificationChannel channel;
    EXPECT_EQ(Outcome(Call(channels_, &Stub::GetNotificationChannel, request, &channel)), "OK");
    return channel;
  }

  v1::NotificationChannel answer_;
};

TEST_F(NotificationServiceTest, AChannelComesBackWithItsDefaultsAndWithoutItsSecret) {
  ASSERT_EQ(Outcome(Create("ops", Mail())), "OK");
  EXPECT_EQ(answer_.name(), "notificationChannels/ops");
  EXPECT_EQ(answer_.smtp().port(), 587);
  EXPECT_EQ(answer_.smtp().security(), v1::SmtpSettings::SECURITY_STARTTLS);
  EXPECT_EQ(answer_.grouping_window().seconds(), 60);
  EXPECT_EQ(answer_.messages_per_hour(), 12);
  ASSERT_EQ(Outcome(Create("hook", Webhook())), "OK");
  EXPECT_THAT(Get("hook").ShortDebugString(), Not(HasSubstr(kKey)));
  EXPECT_EQ(Outcome(Create("hook", Webhook())), "ALREADY_EXISTS NOTIFICATION_CHANNEL_EXISTS");
  v1::ListNotificationChannelsRequest list;
  list.set_page_size(1);
  v1::ListNotificationChannelsResponse page;
  ASSERT_EQ(Outcome(Call(channels_, &Stub::ListNotificationChannels, list, &page)), "OK");
  EXPECT_EQ(page.notification_channels(0).name(), "notificationChannels/hook");
  list.set_page_token(page.next_page_token());
  page.Clear();
  ASSERT_EQ(Outcome(Call(channels_, &Stub::ListNotificationChannels, list, &page)), "OK");
  ASSERT_EQ(page.notification_channels_size(), 1);
  EXPECT_EQ(page.notification_channels(0).name(), "notificationChannels/ops");
  EXPECT_EQ(page.next_page_token(), "");
}

TEST_F(NotificationServiceTest, WhatCannotWorkIsRefused) {
  const auto refused = [&](const std::function<void(v1::NotificationChannel&)>& spoil,
                           v1::NotificationChannel channel) {
    spoil(channel);
    return Outcome(Create("c", channel));
  };
  const std::string invalid = "INVALID_ARGUMENT INVALID_REQUEST";
  EXPECT_EQ(refused([](auto& c) { c.clear_smtp(); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.mutable_smtp()->clear_to(); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.mutable_smtp()->set_to(0, "a@b\r\nBcc: c@d"); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.mutable_smtp()->set_from("nobody"); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.mutable_smtp()->set_host("a/b"); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.mutable_smtp()->set_port(70000); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.mutable_smtp()->set_username("u"); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.add_topics(static_cast<v1::NotificationTopic>(99)); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.set_messages_per_hour(-1); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.mutable_grouping_window()->set_seconds(7200); }, Mail()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.set_digest_schedule("sometimes"); }, Mail()), "INVALID_ARGUMENT INVALID_SCHEDULE");
  EXPECT_EQ(refused(
                [](auto& c) {
                  c.set_digest_schedule("daily");
                  c.set_time_zone("Mars/Sea");
                },
                Mail()),
            "INVALID_ARGUMENT INVALID_TIME_ZONE");
  EXPECT_EQ(refused([](auto& c) { c.mutable_webhook()->set_url("http://example.org/"); }, Webhook()), invalid);
  EXPECT_EQ(refused([](auto& c) { c.mutable_webhook()->set_secret("../authority.pem"); }, Webhook()), invalid);
  const std::string missing = "FAILED_PRECONDITION NOTIFICATION_SECRET_MISSING";
  EXPECT_EQ(refused([](auto& c) { c.mutable_webhook()->set_secret("none"); }, Webhook()), missing);
  EXPECT_EQ(refused([](auto& c) { c.mutable_webhook()->set_secret("short"); }, Webhook()), missing);
  EXPECT_EQ(Outcome(Create("-c", Mail())), invalid);
}

TEST_F(NotificationServiceTest, AnUpdateChangesWhatItNamesAndRespectsTheEtag) {
  ASSERT_EQ(Outcome(Create("ops", Mail())), "OK");
  v1::UpdateNotificationChannelRequest request;
  request.mutable_notification_channel()->set_name("notificationChannels/ops");
  request.mutable_notification_channel()->set_etag(answer_.etag());
  request.mutable_notification_channel()->add_topics(v1::NOTIFICATION_TOPIC_DAMAGE);
  request.mutable_notification_channel()->mutable_smtp()->add_to("night@example.org");
  request.mutable_update_mask()->add_paths("topics");
  request.mutable_update_mask()->add_paths("smtp.to");
  v1::NotificationChannel updated;
  ASSERT_EQ(Outcome(Call(channels_, &Stub::UpdateNotificationChannel, request, &updated)), "OK");
  EXPECT_EQ(updated.smtp().to(0), "night@example.org");
  EXPECT_EQ(updated.smtp().host(), "mail.example.org");
  EXPECT_EQ(updated.topics_size(), 1);
  EXPECT_EQ(Outcome(Call(channels_, &Stub::UpdateNotificationChannel, request, &updated)),
            "ABORTED NOTIFICATION_CHANNEL_CHANGED");
  v1::DeleteNotificationChannelRequest remove;
  remove.set_name("notificationChannels/ops");
  google::protobuf::Empty empty;
  ASSERT_EQ(Outcome(Call(channels_, &Stub::DeleteNotificationChannel, remove, &empty)), "OK");
  EXPECT_EQ(Outcome(Call(channels_, &Stub::DeleteNotificationChannel, remove, &empty)),
            "NOT_FOUND NOTIFICATION_CHANNEL_NOT_FOUND");
}

TEST_F(NotificationServiceTest, ATestTellsWhatBecameOfIt) {
  ASSERT_EQ(Outcome(Create("hook", Webhook())), "OK");
  notifications_->Start();
  v1::TestNotificationChannelRequest request;
  request.set_name("notificationChannels/hook");
  v1::Notification message;
  ASSERT_EQ(Outcome(Call(channels_, &Stub::TestNotificationChannel, request, &message)), "OK");
  v1::GetNotificationRequest again;
  again.set_name(message.name());
  for (int i = 0; i < 1000 && message.state() == v1::Notification::STATE_QUEUED; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    ASSERT_EQ(Outcome(Call(channels_, &Stub::GetNotification, again, &message)), "OK");
  }
  EXPECT_EQ(message.state(), v1::Notification::STATE_GIVEN_UP);
  EXPECT_EQ(message.error_reason(), "NOTIFICATION_UNREACHABLE") << "nobody listens at port 1";
  notifications_->Stop();
  v1::ListNotificationsRequest list;
  list.set_parent("notificationChannels/-");
  v1::ListNotificationsResponse page;
  ASSERT_EQ(Outcome(Call(channels_, &Stub::ListNotifications, list, &page)), "OK");
  ASSERT_EQ(page.notifications_size(), 1);
  EXPECT_EQ(page.notifications(0).kind(), v1::Notification::KIND_TEST);
  again.set_name("notificationChannels/other/notifications/" + message.name().substr(message.name().rfind('/') + 1));
  EXPECT_EQ(Outcome(Call(channels_, &Stub::GetNotification, again, &message)), "NOT_FOUND NOTIFICATION_NOT_FOUND");
}

}  // namespace
}  // namespace umbra::api
