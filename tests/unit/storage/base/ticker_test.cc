// Proves when the work of a ticker is done: at the start, when its time has come, when it is woken, and not after a
// stop.
#include "storage/base/ticker.h"

#include <gtest/gtest.h>

#include "tests/support/manual_clock.h"

namespace umbra::base {
namespace {

class TickerTest : public ::testing::Test {
 protected:
  absl::Duration Work() {
    absl::MutexLock lock(&mu_);
    ++count_;
    return absl::Minutes(1);
  }
  // Waits in real time until the work was done `count` times.
  bool Done(int count) {
    absl::MutexLock lock(&mu_);
    const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return count_ >= count; };
    return mu_.AwaitWithTimeout(absl::Condition(&done), absl::Seconds(20)) && count_ == count;
  }

  testing::ManualClock clock_;
  absl::Mutex mu_;
  int count_ ABSL_GUARDED_BY(mu_) = 0;
  Ticker ticker_{clock_, SystemThreads(), [this] { return Work(); }};
};

TEST_F(TickerTest, WorksAtTheStartInTimeAndWhenWoken) {
  EXPECT_TRUE(Done(0));
  ticker_.Start();
  EXPECT_TRUE(Done(1));
  ticker_.Wake();
  EXPECT_TRUE(Done(2));
  // The wait may begin before or after the clock is moved.
  for (int i = 0; i < 1000; ++i) {
    clock_.Advance(absl::Minutes(1));
    absl::MutexLock lock(&mu_);
    const auto done = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_) { return count_ >= 3; };
    if (mu_.AwaitWithTimeout(absl::Condition(&done), absl::Milliseconds(20))) break;
  }
  absl::MutexLock lock(&mu_);
  EXPECT_GE(count_, 3);
}

TEST_F(TickerTest, NoWorkBeginsAfterAStop) {
  ticker_.Start();
  EXPECT_TRUE(Done(1));
  EXPECT_FALSE(ticker_.stopping());
  ticker_.Stop();
  EXPECT_TRUE(ticker_.stopping());
  ticker_.Wake();
  clock_.Advance(absl::Hours(1));
  ticker_.Stop();
  EXPECT_TRUE(Done(1));
}

TEST_F(TickerTest, StopsWithoutAStart) {
  ticker_.Stop();
  EXPECT_TRUE(Done(0));
}

}  // namespace
}  // namespace umbra::base
