// A catalog with a host, an engine for jobs, channels, a clock that the test moves, and state that it decides about.
#ifndef UMBRA_TESTS_UNIT_SERVER_NOTIFICATIONS_FIXTURE_H_
#define UMBRA_TESTS_UNIT_SERVER_NOTIFICATIONS_FIXTURE_H_

#include <map>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "server/notifications/composer.h"
#include "server/notifications/sender.h"
#include "tests/unit/server/policies/fixture.h"

namespace umbra::notifications {

class NotificationsTest : public policies::PoliciesTest {
 protected:
  NotificationsTest() { NewComposer(); }

  // As after a restart of the daemon: nothing but the catalog is left.
  void NewComposer() {
    std::vector<StateCheck> checks;
    for (const NoticeTopic topic : {NoticeTopic::kAgentOffline, NoticeTopic::kDamage}) {
      checks.push_back(
          {topic, absl::Minutes(1), [this, topic](const StateCheck::IsOpen&) -> absl::StatusOr<std::vector<Finding>> {
             if (look_fails_) return absl::UnavailableError("no look");
             return state_[topic];
           }});
    }
    composer_ = std::make_unique<Composer>(*catalog_, clock_, random_, std::move(checks), "backup1");
  }

  catalog::Channel MakeChannel(const std::string& id, std::vector<NoticeTopic> topics = {}) {
    catalog::Channel channel;
    channel.id = catalog::ChannelId(id);
    channel.url = "http://127.0.0.1:1/";
    channel.secret = "key";
    channel.topics = std::move(topics);
    channel.grouping_window = absl::Minutes(1);
    channel.messages_per_hour = 12;
    channel.create_time = channel.update_time = channel.digest_done = channel.rate_used_to = clock_.Now();
    return channel;
  }
  void AddChannel(const catalog::Channel& channel) {
    Write([&](catalog::Stores& s) { return s.notifications.Insert(channel); });
  }

  absl::Duration Tick() {
    const auto wait = composer_->Tick();
    EXPECT_TRUE(wait.ok()) << wait.status();
    return wait.value_or(absl::ZeroDuration());
  }
  // Ticks as the daemon would, every second.
  void Pass(absl::Duration time) {
    for (absl::Duration passed; passed < time; passed += absl::Seconds(1)) {
      clock_.Advance(absl::Seconds(1));
      Tick();
    }
  }

  void SubmitAndFail(const std::string& vm, const std::string& host = "h1") {
    const auto job = engine_->Submit(catalog::BackupSpec{
        .vms = {Key(host, vm)}, .repository = catalog::RepositoryId("main"), .freeze_timeout = absl::Seconds(10)});
    ASSERT_TRUE(job.ok()) << job.status();
    Start(job->id);
    Fail(job->id);
  }
  void BackedUp(const std::string& vm, const std::string& point) {
    const catalog::RecoveryPoint row{.id = catalog::RecoveryPointId(point),
                                     .vm = Key("h1", vm),
                                     .vm_display_name = vm,
                                     .repository = catalog::RepositoryId("main"),
                                     .job = catalog::JobId("j0"),
                                     .point_time = clock_.Now(),
                                     .create_time = clock_.Now()};
    Write([&](catalog::Stores& s) { return s.recovery_points.Insert(row).status(); });
    Write([&](catalog::Stores& s) {
      return s.events
          .Append({.time = clock_.Now(), .type = "RECOVERY_POINT_CREATED", .resource = "recoveryPoints/" + point})
          .status();
    });
  }

  // Oldest first, with everything.
  std::vector<catalog::Delivery> Messages(const std::string& channel) {
    std::vector<catalog::Delivery> messages;
    const auto page = catalog_->Read([&](const catalog::Stores& s) {
      return s.notifications.ListDeliveries(catalog::ChannelId(channel), {.page_size = 1000});
    });
    for (const catalog::Delivery& listed : page->items) {
      messages.insert(messages.begin(), *catalog_->Read([&](const catalog::Stores& s) {
        return s.notifications.GetDelivery(listed.id);
      }));
    }
    return messages;
  }
  // "topic phase title" of each notice of a message.
  static std::vector<std::string> NoticesOf(const catalog::Delivery& message) {
    std::vector<std::string> notices;
    const auto json = nlohmann::json::parse(message.json);
    for (const auto& notice : json.at("notices")) {
      notices.push_back(notice.at("topic").get<std::string>() + " " + notice.at("phase").get<std::string>() + " " +
                        notice.at("title").get<std::string>());
    }
    return notices;
  }
  // As if the other side had taken all.
  void TakeAll() {
    const auto due = catalog_->Read(
        [&](const catalog::Stores& s) { return s.notifications.DueDeliveries(absl::InfiniteFuture(), 1000); });
    for (catalog::Delivery delivery : *due) {
      delivery.state = catalog::DeliveryState::kDelivered;
      delivery.end_time = clock_.Now();
      Write([&](catalog::Stores& s) { return s.notifications.SetDelivery(delivery); });
    }
  }

  std::map<NoticeTopic, std::vector<Finding>> state_;
  bool look_fails_ = false;
  std::unique_ptr<Composer> composer_;
};

}  // namespace umbra::notifications

#endif  // UMBRA_TESTS_UNIT_SERVER_NOTIFICATIONS_FIXTURE_H_
