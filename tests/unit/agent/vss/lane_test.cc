// Proves that a lane keeps the order, survives a throwing or hanging call, and runs what must run.
#include "agent/vss/lane.h"

#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "absl/synchronization/notification.h"
#include "tests/support/manual_clock.h"

namespace umbra::vss {
namespace {

TEST(Lane, RunsInOrderAndReturnsResults) {
  base::SystemClock clock;
  Lane lane(clock);
  std::vector<int> order;
  std::vector<Lane::CallPtr> calls;
  for (int i = 0; i < 10; ++i) {
    calls.push_back(lane.Post([&order, i] {
      order.push_back(i);
      return i == 3 ? absl::AbortedError("three") : absl::OkStatus();
    }));
  }
  Lane::Outcome outcome;
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(lane.Await(calls[i], absl::Minutes(1), &outcome));
    EXPECT_EQ(outcome.result.ok(), i != 3);
    EXPECT_GT(outcome.finished, absl::ZeroDuration());
  }
  EXPECT_EQ(order, (std::vector<int>{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

TEST(Lane, TurnsAnExceptionIntoAnError) {
  base::SystemClock clock;
  Lane lane(clock);
  Lane::Outcome outcome;
  ASSERT_TRUE(
      lane.Await(lane.Post([]() -> absl::Status { throw std::runtime_error("oops"); }), absl::Minutes(1), &outcome));
  EXPECT_EQ(outcome.result.code(), absl::StatusCode::kInternal);
  ASSERT_TRUE(lane.Await(lane.Post([] { return absl::OkStatus(); }), absl::Minutes(1), &outcome));
  EXPECT_TRUE(outcome.result.ok());
}

TEST(Lane, DropsWhatWaitedInVainAndRunsWhatMustRun) {
  testing::ManualClock clock;
  absl::Notification release;
  bool dropped_ran = false, must_ran = false;
  {
    Lane lane(clock);
    const auto hung = lane.Post([&] {
      // Again and again: the wait below may begin before this, or after.
      while (!release.WaitForNotificationWithTimeout(absl::Milliseconds(1))) clock.Advance(absl::Seconds(1));
      return absl::OkStatus();
    });
    Lane::Outcome outcome;
    EXPECT_FALSE(lane.Await(hung, absl::Seconds(1), &outcome));
    EXPECT_FALSE(lane.IsDone(hung));
    const auto dropped = lane.Post([&] { return dropped_ran = true, absl::OkStatus(); });
    const auto must = lane.Post([&] { return must_ran = true, absl::OkStatus(); }, true);
    EXPECT_FALSE(lane.Await(dropped, absl::ZeroDuration(), &outcome));
    EXPECT_FALSE(lane.Await(must, absl::ZeroDuration(), &outcome));
    lane.Abandon(dropped);
    lane.Abandon(must);
    release.Notify();
  }
  EXPECT_FALSE(dropped_ran);
  EXPECT_TRUE(must_ran);
}

}  // namespace
}  // namespace umbra::vss
