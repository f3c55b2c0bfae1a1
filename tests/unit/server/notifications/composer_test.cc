// Proves what becomes a message and when: failures and recoveries from events, states with their grace, grouping, the
// rate limit in a storm, digests, and that a restart at any point loses and doubles nothing. On a clock that the test
// moves.
#include "server/notifications/composer.h"

#include <random>

#include "tests/unit/server/notifications/fixture.h"

namespace umbra::notifications {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

class ComposerTest : public NotificationsTest {
 protected:
  ComposerTest() { AddHost("h1", {"mail01", "web1"}); }
};

TEST_F(ComposerTest, AFailureIsToldAfterTheWindowAndItsRecoveryOnce) {
  AddChannel(MakeChannel("ops"));
  Tick();
  SubmitAndFail("mail01");
  Tick();
  EXPECT_TRUE(Messages("ops").empty()) << "what belongs together comes within the window";
  Pass(absl::Minutes(1));
  ASSERT_EQ(Messages("ops").size(), 1u);
  EXPECT_EQ(Messages("ops")[0].title, "Umbra backup1: 1 failure");
  EXPECT_THAT(NoticesOf(Messages("ops")[0]), ElementsAre("failure started mail01"));
  EXPECT_THAT(Messages("ops")[0].text, HasSubstr("mail01: backup failed: x (X), jobs/"));
  TakeAll();

  SubmitAndFail("mail01");
  Pass(absl::Minutes(10));
  EXPECT_EQ(Messages("ops").size(), 1u) << "it is known to be broken";

  BackedUp("mail01", "p1");
  BackedUp("web1", "p2");
  Pass(absl::Minutes(2));
  ASSERT_EQ(Messages("ops").size(), 2u);
  EXPECT_THAT(NoticesOf(Messages("ops")[1]), ElementsAre("failure ended mail01"));
  TakeAll();
  BackedUp("mail01", "p3");
  Pass(absl::Minutes(10));
  EXPECT_EQ(Messages("ops").size(), 2u) << "once";
}

TEST_F(ComposerTest, WhatPassedWithinTheWindowIsOneNotice) {
  AddChannel(MakeChannel("ops"));
  Tick();
  SubmitAndFail("mail01");
  Pass(absl::Seconds(20));
  BackedUp("mail01", "p1");
  Pass(absl::Minutes(1));
  ASSERT_EQ(Messages("ops").size(), 1u);
  EXPECT_THAT(NoticesOf(Messages("ops")[0]), ElementsAre("failure passed mail01"));
}

TEST_F(ComposerTest, ChannelsGetTheirTopics) {
  AddChannel(MakeChannel("all"));
  AddChannel(MakeChannel("damage", {NoticeTopic::kDamage}));
  AddChannel(MakeChannel("failures", {NoticeTopic::kFailure}));
  catalog::Channel paused = MakeChannel("paused");
  paused.paused = true;
  AddChannel(paused);
  Tick();
  SubmitAndFail("mail01");
  Pass(absl::Minutes(2));
  TakeAll();
  BackedUp("mail01", "p1");
  Pass(absl::Minutes(2));
  EXPECT_EQ(Messages("all").size(), 2u);
  EXPECT_EQ(Messages("damage").size(), 0u);
  EXPECT_EQ(Messages("failures").size(), 1u) << "without recoveries";
  EXPECT_EQ(Messages("paused").size(), 0u);
}

TEST_F(ComposerTest, AStateIsToldWhenItOutlastsItsGraceAndIsOverOnce) {
  AddChannel(MakeChannel("ops"));
  state_[NoticeTopic::kAgentOffline] = {{"hosts/h1", "hv1", "gone", absl::Minutes(5)}};
  Tick();
  Pass(absl::Minutes(3));
  state_.clear();
  Pass(absl::Minutes(10));
  EXPECT_TRUE(Messages("ops").empty()) << "it was back in time";
  state_[NoticeTopic::kAgentOffline] = {{"hosts/h1", "hv1", "gone", absl::Minutes(5)}};
  Pass(absl::Minutes(3));
  NewComposer();
  Pass(absl::Minutes(5));
  ASSERT_EQ(Messages("ops").size(), 1u) << "the grace goes on over a restart";
  EXPECT_THAT(NoticesOf(Messages("ops")[0]), ElementsAre("agent_offline started hv1"));
  TakeAll();
  look_fails_ = true;
  state_.clear();
  Pass(absl::Minutes(5));
  EXPECT_EQ(Messages("ops").size(), 1u) << "what can't be looked at isn't over";
  look_fails_ = false;
  Pass(absl::Minutes(5));
  ASSERT_EQ(Messages("ops").size(), 2u);
  EXPECT_THAT(NoticesOf(Messages("ops")[1]), ElementsAre("agent_offline ended hv1"));
}

TEST_F(ComposerTest, AStormIsAFewMessages) {
  std::vector<std::string> names;
  for (int i = 0; i < 1000; ++i) names.push_back("vm" + std::to_string(i));
  SetVms("h1", names);
  AddChannel(MakeChannel("ops"));
  Tick();
  for (int second = 0; second < 60; ++second) {
    for (int i = 0; i < 17; ++i) {
      const size_t at = static_cast<size_t>(second * 17 + i);
      if (at < names.size()) SubmitAndFail(names[at]);
    }
    Pass(absl::Seconds(1));
    TakeAll();
  }
  for (int i = 0; i < 60; ++i) {
    Pass(absl::Minutes(1));
    TakeAll();
  }
  const auto messages = Messages("ops");
  EXPECT_LE(messages.size(), 3u);
  int64_t told = 0;
  for (const catalog::Delivery& message : messages) {
    told += message.notice_count;
    EXPECT_LE(NoticesOf(message).size(), kNamedMax);
    EXPECT_LE(message.json.size(), 100'000u);
  }
  EXPECT_EQ(told, 1000);
}

TEST_F(ComposerTest, WhatComesAndGoesAllTheTimeKeepsToTheRateAndIsToldTogether) {
  AddChannel(MakeChannel("ops"));
  Tick();
  for (int minute = 0; minute < 180; ++minute) {
    SubmitAndFail(minute % 2 == 0 ? "mail01" : "web1");
    Pass(absl::Seconds(30));
    BackedUp(minute % 2 == 0 ? "mail01" : "web1", "p" + std::to_string(minute));
    Pass(absl::Seconds(30));
    TakeAll();
  }
  const auto messages = Messages("ops");
  EXPECT_LE(messages.size(), 3u + 36u) << "12 an hour, and 3 at once";
  EXPECT_GE(messages.size(), 30u);
  EXPECT_THAT(messages.back().text, HasSubstr("held back"));
}

TEST_F(ComposerTest, WhileAMessageCannotBeSentTheNextOneGrows) {
  AddChannel(MakeChannel("ops"));
  Tick();
  SubmitAndFail("mail01");
  Pass(absl::Minutes(2));
  SubmitAndFail("web1");
  Pass(absl::Hours(1));
  EXPECT_EQ(Messages("ops").size(), 1u);
  TakeAll();
  Pass(absl::Minutes(1));
  ASSERT_EQ(Messages("ops").size(), 2u);
  EXPECT_THAT(NoticesOf(Messages("ops")[1]), ElementsAre("failure started web1"));
}

TEST_F(ComposerTest, ADigestTellsOfTheNightAndOfWhatIsWrong) {
  catalog::Channel channel = MakeChannel("ops", {NoticeTopic::kDigest});
  channel.digest_schedule = "daily at 07:00";
  AddChannel(channel);
  AddChannel(MakeChannel("all"));
  Tick();
  clock_.Advance(absl::Seconds(1));
  SubmitAndFail("mail01");
  for (int i = 0; i < 3 * 24; ++i) {
    clock_.Advance(absl::Hours(1));
    Tick();
  }
  const auto messages = Messages("ops");
  ASSERT_EQ(messages.size(), 3u);
  EXPECT_EQ(messages[0].title, "Umbra backup1: 0 backups succeeded, 1 failed, 1 open problems");
  EXPECT_EQ(messages[1].title, "Umbra backup1: 0 backups succeeded, 0 failed, 1 open problems");
  const auto first = nlohmann::json::parse(messages[0].json), second = nlohmann::json::parse(messages[1].json);
  EXPECT_EQ(first.at("to"), second.at("from"));
  EXPECT_EQ(first.at("open").at(0).at("title"), "mail01");
}

TEST_F(ComposerTest, WithoutAChannelNothingIsKeptAndOldFailuresAreNoNews) {
  Tick();
  SubmitAndFail("mail01");
  Tick();
  NewComposer();
  Tick();
  AddChannel(MakeChannel("ops"));
  Pass(absl::Minutes(5));
  EXPECT_TRUE(Messages("ops").empty());
  SubmitAndFail("web1");
  Pass(absl::Minutes(2));
  EXPECT_EQ(Messages("ops").size(), 1u);
}

TEST_F(ComposerTest, ARemovedHostIsNoProblemAnyMore) {
  AddChannel(MakeChannel("ops"));
  Tick();
  SubmitAndFail("mail01");
  Pass(absl::Minutes(2));
  TakeAll();
  Write([&](catalog::Stores& s) {
    return s.events.Append({.time = clock_.Now(), .type = "HOST_REMOVED", .resource = "hosts/h1"}).status();
  });
  Pass(absl::Minutes(2));
  EXPECT_TRUE(catalog_->Read([](const catalog::Stores& s) { return s.notifications.Conditions(); })->empty());
  EXPECT_EQ(Messages("ops").size(), 1u) << "it hasn't recovered either";
}

// Failures and recoveries in random order, the daemon restarted between any two steps: what the channel is told, added
// up, is what is wrong at the end, and no message is empty.
TEST_F(ComposerTest, RestartsLoseAndDoubleNothing) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  const auto below = [&](int n) { return std::uniform_int_distribution<int>(0, n - 1)(random); };
  std::vector<std::string> names;
  for (int i = 0; i < 8; ++i) names.push_back("vm" + std::to_string(i));
  SetVms("h1", names);
  catalog::Channel channel = MakeChannel("ops");
  channel.messages_per_hour = 1000;
  AddChannel(channel);
  Tick();
  std::set<std::string> broken;
  for (int step = 0; step < 200; ++step) {
    const std::string& vm = names[static_cast<size_t>(below(8))];
    if (below(2) == 0) {
      SubmitAndFail(vm);
      broken.insert(vm);
    } else {
      BackedUp(vm, "p" + std::to_string(step));
      broken.erase(vm);
    }
    if (below(3) == 0) NewComposer();
    clock_.Advance(absl::Seconds(below(90)));
    if (below(2) == 0) Tick();
    if (below(2) == 0) TakeAll();
  }
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Minutes(2));
    Tick();
    TakeAll();
  }
  std::set<std::string> told;
  for (const catalog::Delivery& message : Messages("ops")) {
    ASSERT_GT(message.notice_count, 0);
    const auto json = nlohmann::json::parse(message.json);
    for (const auto& notice : json.at("notices")) {
      const std::string title = notice.at("title"), phase = notice.at("phase");
      if (phase == "started") told.insert(title);
      if (phase == "ended") {
        EXPECT_EQ(told.erase(title), 1u) << title << " was never told of";
      }
      if (phase == "passed") told.erase(title);
    }
  }
  EXPECT_EQ(told, broken);
}

}  // namespace
}  // namespace umbra::notifications
