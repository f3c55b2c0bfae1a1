// Proves the rate of uploads on a clock of the test: what a second gives may go at once, everything else in its time,
// for all threads together, and a cancelled job doesn't wait.
#include "agent/transfer/rate_limit.h"

#include <gtest/gtest.h>

#include "tests/support/stepping_clock.h"

namespace umbra::transfer {
namespace {

TEST(RateLimitTest, TheRateHoldsOverTimeAndThePauseIsCreditedForASecondOnly) {
  testing::SteppingClock clock;
  Cancellation cancellation;
  RateLimit limit(clock, 1000);
  const absl::Duration start = clock.Monotonic();
  for (int i = 0; i < 41; ++i) ASSERT_TRUE(limit.Take(250, cancellation).ok());
  EXPECT_EQ(clock.Monotonic() - start, absl::Seconds(9));  // 10,250 bytes: the first 1,250 at once
  clock.Advance(absl::Hours(1));
  const absl::Duration later = clock.Monotonic();
  for (int i = 0; i < 41; ++i) ASSERT_TRUE(limit.Take(250, cancellation).ok());
  EXPECT_EQ(clock.Monotonic() - later, absl::Seconds(9));
}

TEST(RateLimitTest, MoreThanTheBucketHoldsIsPaidForAfterwards) {
  testing::SteppingClock clock;
  Cancellation cancellation;
  RateLimit limit(clock, 1000);
  ASSERT_TRUE(limit.Take(5000, cancellation).ok());
  EXPECT_EQ(clock.Monotonic(), absl::ZeroDuration());
  ASSERT_TRUE(limit.Take(1, cancellation).ok());
  EXPECT_EQ(clock.Monotonic(), absl::Seconds(4));
}

TEST(RateLimitTest, WithoutALimitNobodyWaits) {
  testing::SteppingClock clock;
  Cancellation cancellation;
  RateLimit limit(clock, 0);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(limit.Take(int64_t{1} << 40, cancellation).ok());
  EXPECT_EQ(clock.Monotonic(), absl::ZeroDuration());
}

TEST(RateLimitTest, ACancelledJobDoesNotWait) {
  testing::SteppingClock clock;
  Cancellation cancellation;
  RateLimit limit(clock, 1);
  ASSERT_TRUE(limit.Take(1'000'000, cancellation).ok());
  cancellation.Cancel(absl::CancelledError("stop"));
  EXPECT_TRUE(absl::IsCancelled(limit.Take(1, cancellation)));
  EXPECT_EQ(clock.Monotonic(), absl::ZeroDuration());
}

}  // namespace
}  // namespace umbra::transfer
