// Proves that a listener hears of every change (merged, never lost, never twice at once) and of nothing after it
// cancelled, from any thread and from inside itself.
#include "server/jobs/notifier.h"

#include <gtest/gtest.h>

#include <atomic>
#include <optional>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"

namespace umbra::jobs {
namespace {

TEST(NotifierTest, CallsTheListenersOfATopic) {
  Notifier notifier;
  int a = 0;
  int b = 0;
  Subscription first = notifier.Subscribe("a", [&] { ++a; });
  Subscription second = notifier.Subscribe("a", [&] { ++a; });
  Subscription other = notifier.Subscribe("b", [&] { ++b; });
  notifier.Notify("a");
  notifier.Notify("nobody");
  EXPECT_EQ(a, 2);
  EXPECT_EQ(b, 0);
  second.Cancel();
  notifier.Notify("a");
  EXPECT_EQ(a, 3);
}

TEST(NotifierTest, AssigningEndsTheOldSubscription) {
  Notifier notifier;
  int a = 0;
  int b = 0;
  Subscription s = notifier.Subscribe("t", [&] { ++a; });
  s = notifier.Subscribe("t", [&] { ++b; });
  notifier.Notify("t");
  EXPECT_EQ(a, 0);
  EXPECT_EQ(b, 1);
}

TEST(NotifierTest, AListenerMayEndItsOwnSubscription) {
  Notifier notifier;
  int calls = 0;
  std::optional<Subscription> subscription;
  subscription = notifier.Subscribe("t", [&] {
    ++calls;
    subscription.reset();
  });
  notifier.Notify("t");
  notifier.Notify("t");
  EXPECT_EQ(calls, 1);
}

TEST(NotifierTest, AChangeFromInsideTheListenerLeadsToOneMoreCall) {
  Notifier notifier;
  int calls = 0;
  Subscription s = notifier.Subscribe("t", [&] {
    if (++calls == 1) {
      notifier.Notify("t");
      notifier.Notify("t");
      EXPECT_EQ(calls, 1);  // not from within
    }
  });
  notifier.Notify("t");
  EXPECT_EQ(calls, 2);
}

TEST(NotifierTest, CancelWaitsForACallUnderWay) {
  Notifier notifier;
  absl::Notification entered;
  absl::Notification leave;
  std::atomic<bool> finished = false;
  Subscription s = notifier.Subscribe("t", [&] {
    entered.Notify();
    leave.WaitForNotification();
    finished = true;
  });
  std::jthread notifying([&] { notifier.Notify("t"); });
  entered.WaitForNotification();
  std::jthread releasing([&] { leave.Notify(); });
  s.Cancel();
  EXPECT_TRUE(finished);
}

TEST(NotifierTest, ASubscriptionMayOutliveItsNotifier) {
  Subscription s;
  {
    Notifier notifier;
    s = notifier.Subscribe("t", [] {});
  }
  s.Cancel();
}

// Many threads change, listeners look: after the last Notify returned, or its call merged into a running one, the
// listener has seen the last value.
TEST(NotifierTest, NothingIsLostBetweenThreads) {
  Notifier notifier;
  std::atomic<int> value = 0;
  std::atomic<int> seen = 0;
  std::atomic<int> inside = 0;
  Subscription s = notifier.Subscribe("t", [&] {
    EXPECT_EQ(++inside, 1);
    seen = value.load();
    --inside;
  });
  {
    std::vector<std::jthread> threads;
    for (int t = 0; t < 4; ++t) {
      threads.emplace_back([&] {
        for (int i = 0; i < 500; ++i) {
          ++value;
          notifier.Notify("t");
        }
      });
    }
  }
  EXPECT_EQ(seen, 2000);
}

}  // namespace
}  // namespace umbra::jobs
