// Proves that guessing gets slower and slower, per user and per address, that who knows the password isn't locked out
// for long, and that a flood of names costs bounded memory.
#include "server/identity/throttle.h"

#include <gtest/gtest.h>

#include "storage/base/retry_after.h"
#include "storage/base/status.h"
#include "tests/support/manual_clock.h"

namespace umbra::identity {
namespace {

class ThrottleTest : public ::testing::Test {
 protected:
  // How long the next attempt has to wait.
  absl::Duration WaitOf(const std::string& user, const std::string& address) {
    const absl::Status begun = throttle_.Begin(user, address);
    if (begun.ok()) return absl::ZeroDuration();
    EXPECT_EQ(base::ReasonOf(begun), "SIGN_IN_THROTTLED");
    EXPECT_TRUE(absl::IsResourceExhausted(begun));
    return base::RetryAfterOf(begun).value_or(absl::ZeroDuration());
  }

  testing::ManualClock clock_;
  ThrottleOptions options_;
  Throttle throttle_{clock_};
};

TEST_F(ThrottleTest, AfterAFewFailuresTheWaitsDouble) {
  for (int i = 0; i < options_.free_failures; ++i) EXPECT_EQ(WaitOf("alice", ""), absl::ZeroDuration()) << i;
  EXPECT_EQ(WaitOf("alice", ""), absl::ZeroDuration());
  for (const int seconds : {1, 2, 4, 8, 16, 30, 30, 30}) {
    EXPECT_EQ(WaitOf("alice", ""), absl::Seconds(seconds));
    clock_.Advance(absl::Seconds(seconds) - absl::Milliseconds(500));
    EXPECT_EQ(WaitOf("alice", ""), absl::Seconds(1)) << "rounded up";
    clock_.Advance(absl::Milliseconds(500));
    EXPECT_EQ(WaitOf("alice", ""), absl::ZeroDuration());
  }
  EXPECT_EQ(WaitOf("bob", ""), absl::ZeroDuration()) << "of others nobody knows anything";
}

TEST_F(ThrottleTest, AnAddressThatTriesManyNamesWaitsLonger) {
  absl::Duration longest;
  for (int i = 0; i < 40; ++i) {
    const absl::Duration wait = WaitOf("user" + std::to_string(i), "192.0.2.1");
    longest = std::max(longest, wait);
    clock_.Advance(wait);
  }
  EXPECT_EQ(longest, options_.address_wait_max);
  EXPECT_EQ(WaitOf("alice", "192.0.2.2"), absl::ZeroDuration());
}

TEST_F(ThrottleTest, ANetworkOfIpv6CountsAsOne) {
  for (int i = 0; i < 30; ++i) (void)throttle_.Begin("u" + std::to_string(i), "2001:db8::" + std::to_string(i + 1));
  EXPECT_GT(WaitOf("alice", "2001:db8::ffff"), absl::ZeroDuration());
  EXPECT_EQ(WaitOf("alice", "2001:db8:0:1::1"), absl::ZeroDuration());
}

TEST_F(ThrottleTest, NobodySignsInAsOftenAsHeLikes) {
  for (int i = 0; i < options_.successes_at_once; ++i) {
    ASSERT_EQ(WaitOf("alice", "192.0.2.1"), absl::ZeroDuration()) << i;
    throttle_.Succeeded("alice", "192.0.2.1");
  }
  EXPECT_EQ(WaitOf("alice", "192.0.2.1"), absl::Seconds(2));
  EXPECT_EQ(WaitOf("bob", "192.0.2.1"), absl::ZeroDuration()) << "others aren't concerned";
  clock_.Advance(absl::Seconds(2));
  EXPECT_EQ(WaitOf("alice", "192.0.2.1"), absl::ZeroDuration());
  throttle_.Succeeded("alice", "192.0.2.1");
  EXPECT_GT(WaitOf("alice", "192.0.2.1"), absl::ZeroDuration());
  clock_.Advance(absl::Hours(1));
  for (int i = 0; i < options_.successes_at_once; ++i) {
    ASSERT_EQ(WaitOf("alice", ""), absl::ZeroDuration()) << i;
    throttle_.Succeeded("alice", "");
  }
  EXPECT_GT(WaitOf("alice", ""), absl::ZeroDuration());
}

TEST_F(ThrottleTest, SuccessForgetsTheUsersFailuresButNotTheAddresss) {
  for (int i = 0; i < options_.free_failures; ++i) {
    EXPECT_EQ(WaitOf("alice", "192.0.2.1"), absl::ZeroDuration());
  }
  // Somebody with an account of his own signs in again and again between guesses.
  for (int i = 0; i < 5; ++i) {
    clock_.Advance(absl::Minutes(15));
    EXPECT_EQ(WaitOf("mallory", "192.0.2.1"), absl::ZeroDuration());
    throttle_.Succeeded("mallory", "192.0.2.1");
  }
  EXPECT_EQ(WaitOf("bob", "192.0.2.1"), absl::ZeroDuration());
  EXPECT_GT(WaitOf("carol", "192.0.2.1"), absl::ZeroDuration()) << "the sixth failure of the address";
  throttle_.Succeeded("alice", "");
  EXPECT_EQ(WaitOf("alice", ""), absl::ZeroDuration());
}

TEST_F(ThrottleTest, AttemptsSideBySideCount) {
  int admitted = 0;
  for (int i = 0; i < 1000; ++i) admitted += throttle_.Begin("alice", "192.0.2.1").ok();
  EXPECT_EQ(admitted, options_.free_failures + 1);
}

TEST_F(ThrottleTest, WhatWasNoAttemptDoesntCount) {
  for (int i = 0; i < 100; ++i) {
    ASSERT_EQ(WaitOf("alice", "192.0.2.1"), absl::ZeroDuration());
    throttle_.Undo("alice", "192.0.2.1");
  }
}

TEST_F(ThrottleTest, FailuresAreForgottenInTheEnd) {
  for (int i = 0; i < 20; ++i) (void)throttle_.Begin("alice", "192.0.2.1");
  clock_.Advance(options_.forget_after + absl::Seconds(1));
  for (int i = 0; i < options_.free_failures; ++i) EXPECT_EQ(WaitOf("alice", "192.0.2.1"), absl::ZeroDuration());
}

TEST_F(ThrottleTest, AFloodOfNamesIsBounded) {
  Throttle small(clock_, {.entries_max = 100});
  for (int i = 0; i < 10; ++i) (void)small.Begin("victim", "");
  for (int i = 0; i < 99; ++i) {
    clock_.Advance(absl::Milliseconds(1));
    ASSERT_TRUE(small.Begin("u" + std::to_string(i), "").ok());
  }
  EXPECT_FALSE(small.Begin("victim", "").ok()) << "still known";
  for (int i = 0; i < 100'000; ++i) ASSERT_TRUE(small.Begin("v" + std::to_string(i), "").ok());
}

}  // namespace
}  // namespace umbra::identity
