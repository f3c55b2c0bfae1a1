// Proves the pure parts: the table of phases, the rate limit as a property of random times, digests over both changes
// of the clocks, addresses and titles that can't become headers.
#include "server/notifications/rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <random>

#include "server/notifications/channel_check.h"
#include "server/notifications/digest.h"
#include "server/notifications/message.h"
#include "server/notifications/rate_limit.h"
#include "server/notifications/smtp_channel.h"

namespace umbra::notifications {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

TEST(RulesTest, WhatWaitsIsToldOnceHoweverOftenItCameAndWent) {
  using enum NoticeChange;
  EXPECT_EQ(NextPhase(std::nullopt, kStart), NoticePhase::kStarted);
  EXPECT_EQ(NextPhase(std::nullopt, kEnd), NoticePhase::kEnded);
  EXPECT_EQ(NextPhase(std::nullopt, kOnce), NoticePhase::kOnce);
  EXPECT_EQ(NextPhase(NoticePhase::kStarted, kStart), NoticePhase::kStarted);
  EXPECT_EQ(NextPhase(NoticePhase::kStarted, kEnd), NoticePhase::kPassed);
  EXPECT_EQ(NextPhase(NoticePhase::kEnded, kStart), NoticePhase::kStarted);
  EXPECT_EQ(NextPhase(NoticePhase::kEnded, kEnd), NoticePhase::kEnded);
  EXPECT_EQ(NextPhase(NoticePhase::kPassed, kStart), NoticePhase::kStarted);
  EXPECT_EQ(NextPhase(NoticePhase::kPassed, kEnd), NoticePhase::kPassed);
}

TEST(RateLimitTest, NoWindowHoldsMoreThanBurstAndRate) {
  const uint64_t seed = std::random_device()();
  SCOPED_TRACE(seed);
  std::mt19937_64 random(seed);
  for (const int per_hour : {1, 3, 12, 1000}) {
    const RateLimit limit(per_hour);
    absl::Time now = absl::FromUnixSeconds(1'800'000'000), used_to = now;
    std::vector<absl::Time> sent;
    for (int i = 0; i < 3000; ++i) {
      now += absl::Milliseconds(std::uniform_int_distribution<int64_t>(0, 7'200'000 / per_hour)(random));
      if (limit.AllowedFrom(used_to, now) > now) continue;
      used_to = limit.Use(used_to, now);
      sent.push_back(now);
    }
    ASSERT_GT(sent.size(), 100u);
    for (size_t first = 0; first < sent.size(); ++first) {
      for (size_t last = first; last < std::min(sent.size(), first + 50); ++last) {
        const double hours = absl::ToDoubleHours(sent[last] - sent[first]);
        ASSERT_LE(static_cast<double>(last - first + 1), limit.burst() + hours * per_hour + 1e-6);
      }
    }
  }
}

TEST(RateLimitTest, AClockThatWasSetBackSilencesNobodyForLong) {
  const RateLimit limit(12);
  const absl::Time now = absl::FromUnixSeconds(1'800'000'000);
  EXPECT_LE(limit.AllowedFrom(now + absl::Hours(1000), now), now + absl::Hours(1));
}

// Every night has exactly one digest, also those in which the clocks change: 02:30 in Berlin doesn't exist on
// 2027-03-28 and is there twice on 2026-10-25.
TEST(DigestTest, EveryNightHasOneAlsoWhenTheClocksChange) {
  catalog::Channel channel;
  channel.digest_schedule = "daily at 02:30";
  channel.time_zone = "Europe/Berlin";
  absl::TimeZone berlin;
  ASSERT_TRUE(absl::LoadTimeZone(channel.time_zone, &berlin));
  for (const absl::CivilDay start : {absl::CivilDay(2026, 10, 20), absl::CivilDay(2027, 3, 24)}) {
    absl::Time now = absl::FromCivil(start, berlin);
    channel.digest_done = now;
    std::map<absl::CivilDay, int> nights;
    const absl::Time end = absl::FromCivil(start + 10, berlin);
    for (; now < end; now += absl::Minutes(7)) {
      const auto times = DigestTimesOf(channel, now);
      ASSERT_TRUE(times.ok());
      if (!times->due) continue;
      EXPECT_GT(*times->due, channel.digest_done);
      ++nights[absl::ToCivilDay(*times->due, berlin)];
      channel.digest_done = *times->due;
    }
    EXPECT_EQ(nights.size(), 10u);
    for (const auto& [night, count] : nights) EXPECT_EQ(count, 1) << night;
  }
}

TEST(DigestTest, NightsThatPassedWhileTheDaemonWasDownAreOne) {
  catalog::Channel channel;
  channel.digest_schedule = "daily at 07:00";
  channel.digest_done = absl::FromCivil(absl::CivilDay(2026, 5, 1), absl::UTCTimeZone());
  const auto times = DigestTimesOf(channel, channel.digest_done + absl::Hours(24 * 5));
  ASSERT_TRUE(times.ok() && times->due);
  channel.digest_done = *times->due;
  EXPECT_EQ(*times->due, absl::FromCivil(absl::CivilHour(2026, 5, 5, 7), absl::UTCTimeZone()));
  EXPECT_FALSE(DigestTimesOf(channel, *times->due + absl::Hours(1))->due);
}

TEST(ChannelCheckTest, OnlyPlainAddressesPass) {
  for (const char* good : {"a@b", "ops+umbra@example.org", "x.y@mail-1.example"}) EXPECT_TRUE(IsMailAddress(good));
  for (const char* bad : {"", "a", "@b", "a@", "a b@c", "a@b\r\nBcc: x@y", "a\r\n@b", "<a@b>", "a,b@c", "\"a\"@b",
                          "a@b@c", "a@b c", "a@[1.2.3.4]", "\xc3\xa4@b"}) {
    EXPECT_FALSE(IsMailAddress(bad)) << bad;
  }
}

TEST(ChannelCheckTest, WebhooksArePrivateUnlessSaidOtherwise) {
  catalog::Channel channel;
  channel.secret = "key";
  channel.messages_per_hour = 12;
  const auto check = [&](const std::string& url) {
    channel.url = url;
    return CheckChannel(channel).ok();
  };
  EXPECT_TRUE(check("https://example.org/hook?x=1"));
  EXPECT_TRUE(check("http://127.0.0.1:8080/x")) << "doesn't leave the machine";
  EXPECT_FALSE(check("http://example.org/hook"));
  EXPECT_FALSE(check("https://user:password@example.org/"));
  EXPECT_FALSE(check("file:///etc/passwd"));
  EXPECT_FALSE(check("https://example.org/\r\nX: y"));
  channel.allow_plaintext = true;
  EXPECT_TRUE(check("http://example.org/hook"));
  channel.secret = "../keys/main.key";
  EXPECT_FALSE(check("https://example.org/hook")) << "a secret is a name, not a path";
}

TEST(MessageTest, NothingInATextBecomesAHeader) {
  SmtpOptions options{
      .host = "h", .port = 25, .sender = "u@example.org", .recipients = {"a@b", "c@d"}, .machine = "m\r\nX: y"};
  Outgoing message{.id = "1-2",
                   .create_time = absl::UnixEpoch(),
                   .now = absl::UnixEpoch(),
                   .title = "mail01\r\nBcc: evil@example.org\r\n\r\nbody",
                   .text = "a\r\n.\r\nQUIT\r\n",
                   .json = ""};
  const std::string mail = MailOf(options, message);
  const std::string headers = mail.substr(0, mail.find("\r\n\r\n"));
  EXPECT_THAT(headers, Not(HasSubstr("\r\nBcc")));
  EXPECT_THAT(headers, Not(HasSubstr("\r\nX: y")));
  EXPECT_THAT(headers, HasSubstr("Subject: mail01  Bcc: evil@example.org    body\r\n"));
  EXPECT_THAT(headers, HasSubstr("To: a@b,\r\n c@d\r\n"));
  EXPECT_THAT(mail, Not(HasSubstr("QUIT"))) << "the text is base64";
  message.title = std::string(150, 'x') + "\xc3\xa4\xff";
  const std::string long_mail = MailOf(options, message);
  EXPECT_THAT(long_mail, HasSubstr("Subject: =?UTF-8?B?"));
  for (size_t begin = 0, end; (end = long_mail.find("\r\n", begin)) != std::string::npos; begin = end + 2) {
    EXPECT_LE(end - begin, 90u);
  }
}

TEST(MessageTest, ACutNeverSplitsACharacter) {
  EXPECT_EQ(OneLine("a\xc3\xa4", 2), "a");
  EXPECT_EQ(OneLine("a\xc3\xa4", 3), "a\xc3\xa4");
  EXPECT_EQ(OneLine("a\nb\xff", 10), "a b?");
}

}  // namespace
}  // namespace umbra::notifications
