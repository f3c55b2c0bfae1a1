// Proves the rate of a token bucket on a clock of the test: what a second gives may go at once, everything else in its
// turn, also when the rate is set anew.
#include "storage/base/token_bucket.h"

#include <gtest/gtest.h>

#include "tests/support/stepping_clock.h"

namespace umbra::base {
namespace {

TEST(TokenBucketTest, ThoseWhoComeAreServedInTurn) {
  testing::SteppingClock clock;
  TokenBucket bucket(clock, 1000);
  EXPECT_EQ(bucket.Take(1000), absl::ZeroDuration()) << "what a second gives";
  EXPECT_EQ(bucket.Take(500), absl::ZeroDuration());
  EXPECT_EQ(bucket.Take(2000), absl::Milliseconds(500)) << "until the one before is paid for";
  EXPECT_EQ(bucket.Take(1), absl::Milliseconds(2500));
  EXPECT_EQ(bucket.waited(), absl::Seconds(3));
  clock.Advance(absl::Hours(1));
  EXPECT_EQ(bucket.Take(3000), absl::ZeroDuration());
  EXPECT_EQ(bucket.Take(1), absl::Seconds(2)) << "a pause is credited for a second only";
}

TEST(TokenBucketTest, OverTimeTheRateHoldsForAllTogether) {
  testing::SteppingClock clock;
  TokenBucket bucket(clock, 1 << 20);
  int64_t taken = 0;
  for (int i = 0; i < 1000; ++i) {
    clock.Advance(bucket.Take(300'000));
    taken += 300'000;
  }
  EXPECT_NEAR(static_cast<double>(taken) / absl::ToDoubleSeconds(clock.Monotonic()), 1 << 20, 10'000);
}

TEST(TokenBucketTest, NobodyWaitsLongerThanHeMay) {
  testing::SteppingClock clock;
  TokenBucket bucket(clock, 1000);
  EXPECT_EQ(bucket.Take(101'000), absl::ZeroDuration());
  EXPECT_EQ(bucket.Take(1000, absl::Seconds(60)), absl::Seconds(60));
  EXPECT_EQ(bucket.waited(), absl::Seconds(60));
  EXPECT_EQ(bucket.Take(0), absl::Seconds(101)) << "what went is owed all the same";
}

TEST(TokenBucketTest, ANewRateCountsForWhatIsOwedToo) {
  testing::SteppingClock clock;
  TokenBucket bucket(clock, 0);
  EXPECT_EQ(bucket.Take(int64_t{1} << 40), absl::ZeroDuration()) << "no limit";
  bucket.SetRate(1000);
  EXPECT_EQ(bucket.rate(), 1000);
  EXPECT_EQ(bucket.Take(5000), absl::ZeroDuration()) << "what went without a limit is no debt";
  EXPECT_EQ(bucket.Take(0), absl::Seconds(4));
  bucket.SetRate(4000);
  EXPECT_EQ(bucket.Take(0), absl::Seconds(1));
  bucket.SetRate(0);
  EXPECT_EQ(bucket.Take(int64_t{1} << 40), absl::ZeroDuration());
}

}  // namespace
}  // namespace umbra::base
