// Proves that InParallel calls every number once, no more at once than it may, ends when all have ended, and tells the
// error of the lowest number that failed.
#include "storage/base/threads.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <string>
#include <vector>

namespace umbra::base {
namespace {

TEST(InParallelTest, CallsEveryNumberOnce) {
  for (const size_t count : {0u, 1u, 3u, 100u}) {
    for (const size_t at_once : {1u, 2u, 7u, 200u}) {
      std::vector<std::atomic<int>> calls(count);
      std::atomic<int> running = 0, most = 0;
      const absl::Status status = InParallel(SystemThreads(), count, at_once, [&](size_t i) {
        const int now = ++running;
        for (int seen = most; now > seen && !most.compare_exchange_weak(seen, now);) {
        }
        ++calls[i];
        --running;
        return absl::OkStatus();
      });
      EXPECT_TRUE(status.ok());
      EXPECT_TRUE(std::all_of(calls.begin(), calls.end(), [](const std::atomic<int>& n) { return n == 1; }));
      EXPECT_LE(most, static_cast<int>(at_once));
      EXPECT_EQ(running, 0);
    }
  }
}

TEST(InParallelTest, RunsAtTheSameTime) {
  absl::Mutex mu;
  int inside = 0;
  const auto all = [&] { return inside == 3; };
  const absl::Status status = InParallel(SystemThreads(), 3, 3, [&](size_t) {
    absl::MutexLock lock(&mu);
    ++inside;
    return mu.AwaitWithTimeout(absl::Condition(&all), absl::Seconds(20)) ? absl::OkStatus()
                                                                         : absl::DeadlineExceededError("alone");
  });
  EXPECT_TRUE(status.ok()) << status;
}

TEST(InParallelTest, AfterAnErrorNoneBegins) {
  std::atomic<int> calls = 0;
  const absl::Status one_by_one = InParallel(SystemThreads(), 10, 1, [&](size_t i) {
    ++calls;
    return i == 3 ? absl::AbortedError("3") : absl::OkStatus();
  });
  EXPECT_EQ(one_by_one.message(), "3");
  EXPECT_EQ(calls, 4);

  // Both fail, the higher one first.
  absl::Mutex mu;
  bool one_failed = false;
  const absl::Status lowest = InParallel(SystemThreads(), 2, 2, [&](size_t i) {
    absl::MutexLock lock(&mu);
    if (i == 0) mu.Await(absl::Condition(&one_failed));
    one_failed = true;
    return absl::AbortedError(std::to_string(i));
  });
  EXPECT_EQ(lowest.message(), "0");
}

}  // namespace
}  // namespace umbra::base
