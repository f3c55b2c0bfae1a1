// Proves which passwords are taken, that what is kept is Argon2id at the cost that was asked for, and that only so many
// are computed at once.
#include "server/identity/passwords.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "storage/base/retry_after.h"
#include "tests/unit/server/identity/fixture.h"

namespace umbra::identity {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

TEST(PasswordsTest, WhichAreGoodEnough) {
  for (const std::string& good :
       {std::string("twelve chars"), std::string("ääääääääääö!"), std::string("correct horse battery staple"),
        std::string("admin-admin-"), std::string(1023, 'a') + "b"}) {
    EXPECT_TRUE(CheckPassword(good, "admin").ok()) << good;
  }
  for (const std::string& bad :
       {std::string(), std::string("eleven char"), std::string("äääääö"), std::string("adminAdminadmin"),
        std::string(20, 'a'), std::string(1024, 'a') + "b", std::string("with a\nnew line"),
        std::string("not utf8 \xff\xfe aaaaaa"), std::string("with a zero \0!", 14)}) {
    const absl::Status checked = CheckPassword(bad, "admin");
    EXPECT_EQ(ReasonOf(checked), "PASSWORD_UNFIT") << bad;
    if (!bad.empty()) {
      EXPECT_THAT(base::MessageOf(checked), Not(HasSubstr(bad)));
    }
  }
}

TEST(PasswordsTest, WhatIsKeptIsArgon2idAtTheCostAndSalted) {
  testing::ManualClock clock;
  PasswordHasher hasher(clock, {.cost = {.passes = 2, .memory_bytes = 16 * base::kKiB}});
  const std::string first = *hasher.Hash(kPassword);
  EXPECT_THAT(first, StartsWith("$argon2id$v=19$m=16,t=2,p=1$"));
  EXPECT_NE(*hasher.Hash(kPassword), first);
  EXPECT_TRUE(*hasher.Verify(first, kPassword));
  EXPECT_FALSE(*hasher.Verify(first, std::string(kPassword) + " "));
  EXPECT_FALSE(*hasher.Verify(first, ""));
  EXPECT_FALSE(*hasher.Verify("", kPassword));
  EXPECT_FALSE(*hasher.Verify("rubbish", kPassword));
  EXPECT_FALSE(*hasher.Verify(first, std::string(1'000'000, 'a')));
  EXPECT_FALSE(hasher.IsOutdated(first));
  EXPECT_TRUE(PasswordHasher(clock, {.cost = kCheap}).IsOutdated(first));
}

TEST(PasswordsTest, TheDefaultCostIsWithinWhatTheLibraryRecommends) {
  const PasswordCost cost;
  EXPECT_GE(cost.passes, 2u);                     // interactive
  EXPECT_GE(cost.memory_bytes, 64 * base::kMiB);  // interactive
  EXPECT_LE(cost.passes, 3u);                     // moderate
  EXPECT_LE(cost.memory_bytes, 256 * base::kMiB);
}

// Names without a user take as long as the others: what a wrong password is checked against differs in nothing that
// costs.
TEST(PasswordsTest, NobodyCostsAsMuchAsSomebody) {
  base::SystemClock clock;
  PasswordHasher hasher(clock, {.cost = {.passes = 2, .memory_bytes = 8 * base::kMiB}});
  const std::string hash = *hasher.Hash(kPassword);
  const auto fastest = [&](const std::string& against) {
    absl::Duration best = absl::InfiniteDuration();
    for (int i = 0; i < 5; ++i) {
      const absl::Duration begin = clock.Monotonic();
      EXPECT_FALSE(*hasher.Verify(against, "wrong password"));
      best = std::min(best, clock.Monotonic() - begin);
    }
    return best;
  };
  const double ratio = absl::FDivDuration(fastest(""), fastest(hash));
  EXPECT_GT(ratio, 0.3);
  EXPECT_LT(ratio, 3.0);
}

TEST(PasswordsTest, OnlySoManyWaitAndNotForever) {
  base::SystemClock clock;
  PasswordHasher hasher(clock,
                        {.cost = {.passes = 8, .memory_bytes = 32 * base::kMiB}, .at_once = 1, .waiting_max = 2});
  std::atomic<int> done = 0;
  std::atomic<int> refused = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 12; ++i) {
      threads.emplace_back([&] {
        const auto hash = hasher.Hash(kPassword);
        if (hash.ok()) {
          ++done;
        } else {
          EXPECT_EQ(ReasonOf(hash), "SIGN_IN_THROTTLED");
          EXPECT_EQ(base::RetryAfterOf(hash.status()), absl::Seconds(1));
          ++refused;
        }
      });
    }
  }
  EXPECT_GE(done, 3);
  EXPECT_GT(refused, 0);
  EXPECT_TRUE(hasher.Hash(kPassword).ok()) << "every turn was given back";

  PasswordHasher impatient(
      clock, {.cost = {.passes = 8, .memory_bytes = 32 * base::kMiB}, .at_once = 1, .wait_max = absl::ZeroDuration()});
  std::atomic<int> too_late = 0;
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] { too_late += !impatient.Hash(kPassword).ok(); });
    }
  }
  EXPECT_GT(too_late, 0);
}

}  // namespace
}  // namespace umbra::identity
