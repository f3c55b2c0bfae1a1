// Proves that sums are counted once for all who ask, only while somebody asks, never given out too old, and that
// whoever waits is answered when counting fails or ends.
#include "server/policies/coverage_board.h"

#include <atomic>
#include <thread>

#include "tests/support/manual_clock.h"
#include "tests/unit/server/policies/fixture.h"

namespace umbra::policies {
namespace {

class CoverageBoardTest : public PoliciesTest {
 protected:
  CoverageBoardTest() {
    AddHost("h1", {"a", "b"});
    catalog_->SetObserver(time_, [this](const catalog::TransactionFacts&) { ++transactions_; });
  }
  ~CoverageBoardTest() override { board_.Stop(); }

  std::atomic<int> transactions_ = 0;
  testing::ManualClock time_;
  CoverageBoard board_{*catalog_, time_};
};

TEST_F(CoverageBoardTest, ManyWhoAskAreOneCount) {
  board_.Start();
  const auto first = board_.Get();
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_EQ((*first)->total, 2);
  const int counted = transactions_;
  std::vector<std::thread> threads;
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      for (int n = 0; n < 50; ++n) EXPECT_EQ(board_.Get()->get(), first->get());
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(transactions_, counted) << "the same answer, and nothing read for it";
}

TEST_F(CoverageBoardTest, SumsThatAreTooOldAreNotGivenOut) {
  board_.Start();
  EXPECT_EQ((*board_.Get())->total, 2);
  time_.Advance(kCoverageAskedFor + absl::Seconds(10));
  SetVms("h1", {"a", "b", "c"});
  EXPECT_EQ((*board_.Get())->total, 3);
}

TEST_F(CoverageBoardTest, CountingGoesOnWhileSomebodyAsksAndEndsThen) {
  ASSERT_EQ(board_.Tick(), kCoverageAskedFor);
  EXPECT_EQ(transactions_, 0) << "nobody asked";
  std::thread asks([&] { EXPECT_TRUE(board_.Get().ok()); });
  while (transactions_ == 0) (void)board_.Tick();
  asks.join();
  int counted = transactions_;
  time_.Advance(kCoverageEvery - absl::Seconds(1));
  EXPECT_EQ(board_.Tick(), absl::Seconds(1)) << "too early";
  EXPECT_EQ(transactions_, counted);
  time_.Advance(absl::Seconds(1));
  EXPECT_EQ(board_.Tick(), kCoverageEvery);
  EXPECT_GT(transactions_, counted) << "before the sums are too old";
  time_.Advance(kCoverageAskedFor);
  counted = transactions_;
  EXPECT_EQ(board_.Tick(), kCoverageAskedFor);
  EXPECT_EQ(transactions_, counted);
}

TEST_F(CoverageBoardTest, WhoWaitsIsAnsweredWhenItEnds) {
  std::thread waiting([&] { EXPECT_EQ(base::ReasonOf(board_.Get().status()), "SERVER_BUSY"); });
  board_.Stop();
  waiting.join();
}

}  // namespace
}  // namespace umbra::policies
