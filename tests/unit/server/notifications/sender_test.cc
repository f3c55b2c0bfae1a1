// Proves that queued messages are sent until they are taken, with growing pauses, with one id, over restarts, and are
// given up after a day. The other side is a switch; the clock is moved by the test.
#include "server/notifications/sender.h"

#include "tests/unit/server/notifications/fixture.h"

namespace umbra::notifications {
namespace {

class SenderTest : public NotificationsTest {
 protected:
  class Switch final : public Channel {
   public:
    explicit Switch(SenderTest& test) : test_(test) {}
    absl::Status Deliver(const Outgoing& message, std::stop_token) override {
      test_.got_.push_back(message.id);
      return test_.answer_;
    }

   private:
    SenderTest& test_;
  };

  SenderTest() { AddChannel(MakeChannel("ops")); }

  void Queue(const std::string& id, catalog::DeliveryKind kind = catalog::DeliveryKind::kNotices) {
    catalog::Delivery delivery = NewDelivery(
        MakeChannel("ops"), kind, {id, "backup1", clock_.Now(), absl::UTCTimeZone()}, {"title", "text", "{}"});
    delivery.notice_count = 3;
    Write([&](catalog::Stores& s) { return s.notifications.InsertDelivery(delivery); });
  }
  // By a sender that knows nothing of earlier ones.
  Sender::Ticked Send() {
    Sender sender(*catalog_, clock_, [this](const catalog::Channel&) { return std::make_unique<Switch>(*this); });
    const auto ticked = sender.Tick({});
    EXPECT_TRUE(ticked.ok()) << ticked.status();
    return *ticked;
  }
  catalog::Delivery Get(const std::string& id) {
    return *catalog_->Read([&](const catalog::Stores& s) { return s.notifications.GetDelivery(id); });
  }

  std::vector<std::string> got_;
  absl::Status answer_ = absl::OkStatus();
};

TEST_F(SenderTest, ATakenMessageIsSentOnce) {
  Queue("m1");
  EXPECT_EQ(Send().attempts, 1);
  EXPECT_EQ(Send().attempts, 0);
  EXPECT_EQ(Get("m1").state, catalog::DeliveryState::kDelivered);
  EXPECT_EQ(Get("m1").attempts, 1);
}

TEST_F(SenderTest, WhatIsNotTakenIsSentAgainWithTheSameIdAfterGrowingPauses) {
  answer_ = base::Error(absl::StatusCode::kUnavailable, "NOTIFICATION_UNREACHABLE", "nobody there");
  Queue("m1");
  Send();
  EXPECT_EQ(Get("m1").error.reason, "NOTIFICATION_UNREACHABLE");
  EXPECT_EQ(Send().attempts, 0) << "not at once";
  clock_.Advance(kBackoffFirst);
  EXPECT_EQ(Send().attempts, 1);
  clock_.Advance(kBackoffFirst);
  EXPECT_EQ(Send().attempts, 0);
  clock_.Advance(kBackoffFirst);
  answer_ = absl::OkStatus();
  EXPECT_EQ(Send().attempts, 1);
  EXPECT_EQ(got_, (std::vector<std::string>{"m1", "m1", "m1"}));
  EXPECT_EQ(Get("m1").attempts, 3);
  EXPECT_EQ(Get("m1").error.reason, "");
  EXPECT_EQ(BackoffAfter(1), kBackoffFirst);
  EXPECT_EQ(BackoffAfter(100), kBackoffMax);
}

TEST_F(SenderTest, ADeathDuringAnAttemptRepeatsIt) {
  Queue("m1");
  // What the sender writes before the attempt, and nothing after.
  catalog::Delivery begun = Get("m1");
  begun.attempts = 1;
  begun.next_attempt = clock_.Now() + kBackoffFirst;
  Write([&](catalog::Stores& s) { return s.notifications.SetDelivery(begun); });
  clock_.Advance(kBackoffFirst);
  Send();
  EXPECT_EQ(got_, (std::vector<std::string>{"m1"}));
  EXPECT_EQ(Get("m1").attempts, 2);
}

TEST_F(SenderTest, AStoppedAttemptCountsAsNone) {
  answer_ = base::Error(absl::StatusCode::kCancelled, "NOTIFICATION_UNREACHABLE", "the daemon stops");
  Queue("m1");
  Send();
  EXPECT_EQ(Get("m1").attempts, 0);
  answer_ = absl::OkStatus();
  EXPECT_EQ(Send().attempts, 1);
}

TEST_F(SenderTest, AfterADayItIsGivenUpAndTheNextMessageSaysThatThereWasMore) {
  answer_ = base::Error(absl::StatusCode::kFailedPrecondition, "NOTIFICATION_REFUSED", "no");
  Queue("m1");
  for (int i = 0; i < 30; ++i) {
    Send();
    clock_.Advance(absl::Hours(1));
  }
  EXPECT_EQ(Get("m1").state, catalog::DeliveryState::kGivenUp);
  EXPECT_EQ(EventsOf("NOTIFICATION_GIVEN_UP").size(), 1u);
  const auto channel =
      catalog_->Read([](const catalog::Stores& s) { return s.notifications.Get(catalog::ChannelId("ops")); });
  EXPECT_EQ(channel->overflow_count, 3);
  EXPECT_LT(got_.size(), 60u);
}

TEST_F(SenderTest, ATestIsTriedOnceAlsoWhenTheChannelIsPaused) {
  catalog::Channel channel = MakeChannel("ops");
  channel.paused = true;
  Write([&](catalog::Stores& s) { return s.notifications.Update(channel); });
  answer_ = base::Error(absl::StatusCode::kFailedPrecondition, "NOTIFICATION_REFUSED", "no");
  Queue("m1");
  Queue("t1", catalog::DeliveryKind::kTest);
  EXPECT_EQ(Send().attempts, 1);
  EXPECT_EQ(got_, (std::vector<std::string>{"t1"}));
  EXPECT_EQ(Get("t1").state, catalog::DeliveryState::kGivenUp);
  EXPECT_EQ(Get("m1").state, catalog::DeliveryState::kQueued);
}

TEST_F(SenderTest, OldMessagesAreForgotten) {
  Queue("m1");
  Send();
  clock_.Advance(kDeliveriesKeptFor + absl::Hours(1));
  Send();
  EXPECT_TRUE(Messages("ops").empty());
}

}  // namespace
}  // namespace umbra::notifications
