// Proves that one who follows the events misses and repeats none, however many write meanwhile.
#include <atomic>
#include <thread>

#include "tests/unit/server/jobs/fixture.h"

namespace umbra::jobs {
namespace {

class EventHubTest : public EngineTest {
 protected:
  void Append(const std::string& message) {
    ASSERT_TRUE(hub_->Append({.type = "TEST", .resource = "hosts/h1", .message = message}).ok());
  }
};

TEST_F(EventHubTest, TellsOfEveryCommit) {
  int calls = 0;
  Subscription s = hub_->Subscribe([&] { ++calls; });
  EXPECT_EQ(hub_->Newest(), 0);
  Append("one");
  EXPECT_EQ(hub_->Newest(), 1);
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(Events().at(0).time, clock_.Now());
  Submit(Verify());  // events of others count too
  EXPECT_EQ(hub_->Newest(), 2);
  EXPECT_EQ(calls, 2);
}

TEST_F(EventHubTest, ContinuesAfterARestart) {
  Append("one");
  Restart();
  EXPECT_EQ(hub_->Newest(), 1);
}

TEST_F(EventHubTest, WaitPastReturnsAtOnceOrAfterTheTimeout) {
  Append("one");
  EXPECT_EQ(hub_->WaitPast(0, absl::Hours(1)), 1);
  EXPECT_EQ(hub_->WaitPast(1, absl::Hours(1)), 1);  // the clock steps over the hour
}

TEST_F(EventHubTest, AFollowerSeesEachNumberOnce) {
  constexpr int kThreads = 3;
  constexpr int kEach = 20;
  std::atomic<bool> stop = false;
  std::vector<int64_t> seen;
  std::jthread follower([&] {
    base::SystemClock clock;
    int64_t last = 0;
    while (!stop || hub_->Newest() > last) {
      hub_->WaitPast(last, absl::Milliseconds(1));
      const auto page = catalog_->Read(
          [&](const catalog::Stores& s) { return s.events.List("", {.page_size = 7, .after_key = last}); });
      for (const catalog::Event& event : page->items) seen.push_back(last = event.sequence);
    }
  });
  {
    std::vector<std::jthread> writers;
    for (int t = 0; t < kThreads; ++t) {
      writers.emplace_back([&] {
        for (int i = 0; i < kEach; ++i) Append("x");
      });
    }
  }
  stop = true;
  follower.join();
  ASSERT_EQ(seen.size(), size_t{kThreads * kEach});
  for (size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], static_cast<int64_t>(i) + 1);
}

TEST_F(EventHubTest, PruneForgetsTheOld) {
  Append("old");
  clock_.Advance(kEventsKeptFor + absl::Hours(1));
  Append("new");
  ASSERT_TRUE(hub_->Prune().ok());
  ASSERT_EQ(Events().size(), 1u);
  EXPECT_EQ(Events()[0].sequence, 2);
}

}  // namespace
}  // namespace umbra::jobs
