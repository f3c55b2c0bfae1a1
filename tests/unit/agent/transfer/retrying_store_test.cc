// Proves that a broken call is made again with jittered, growing waits, for a bounded time, and that other errors and a
// cancellation end it at once.
#include "agent/transfer/retrying_store.h"

#include <gtest/gtest.h>

#include "tests/support/memory_chunk_store.h"
#include "tests/support/stepping_clock.h"

namespace umbra::transfer {
namespace {

class RetryingStoreTest : public ::testing::Test {
 protected:
  testing::SteppingClock clock_;
  base::SeededRandom random_{3};
  Cancellation cancellation_;
  testing::MemoryChunkStore inner_;
  RetryingStore store_{inner_, clock_, random_, cancellation_};
};

TEST_F(RetryingStoreTest, TriesAgainUntilTheLinkIsBack) {
  inner_.SetFault([](const std::string&, int number) {
    return number < 4 ? absl::UnavailableError("link down") : absl::OkStatus();
  });
  EXPECT_TRUE(store_.OpenSession({}).ok());
  EXPECT_EQ(inner_.calls("OpenSession"), 5);
  EXPECT_GT(clock_.Monotonic(), absl::Seconds(1));
  EXPECT_LT(clock_.Monotonic(), absl::Seconds(4));
}

TEST_F(RetryingStoreTest, GivesUpAfterTheGrace) {
  inner_.SetFault([](const std::string&, int) { return absl::UnavailableError("link down"); });
  const absl::Status status = store_.OpenSession({}).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::ReasonOf(status), "AGENT_LOST");
  EXPECT_LE(clock_.Monotonic(), absl::Seconds(30));
  EXPECT_GE(clock_.Monotonic(), absl::Seconds(26));
}

TEST_F(RetryingStoreTest, OtherErrorsAreNotRepeated) {
  store::v1::NegotiateRequest request;
  request.set_session_id("nobody");
  EXPECT_EQ(base::ReasonOf(store_.Negotiate(request).status()), "SESSION_NOT_FOUND");
  EXPECT_EQ(inner_.calls("Negotiate"), 1);
}

TEST_F(RetryingStoreTest, CancellationEndsTheWait) {
  inner_.SetFault([this](const std::string&, int number) {
    if (number == 2) cancellation_.Cancel(base::MakeError(absl::StatusCode::kCancelled, "CANCELLED", "stop"));
    return absl::UnavailableError("link down");
  });
  EXPECT_EQ(base::ReasonOf(store_.OpenSession({}).status()), "CANCELLED");
  EXPECT_EQ(inner_.calls("OpenSession"), 3);
}

TEST_F(RetryingStoreTest, TheUploadsOfAHostShareItsLimit) {
  RateLimit host(clock_, 1000);
  RetryingStore one{inner_, clock_, random_, cancellation_, {}, 0, &host}, other{inner_, clock_, random_, cancellation_, {}, 0, &host};
  store::v1::UploadRequest batch;
  batch.add_chunks()->set_data(std::string(1000, 'x'));
  for (int i = 0; i < 5; ++i) {  // what becomes of them is no matter here
    (void)one.Upload(batch);
    (void)other.Upload(batch);
  }
  EXPECT_EQ(inner_.calls("Upload"), 10);
  EXPECT_GE(clock_.Monotonic(), absl::Seconds(8));
  EXPECT_LE(clock_.Monotonic(), absl::Seconds(11));
}

TEST(Backoff, DoublesWithJitterUpToTheLimit) {
  base::SeededRandom random(1);
  Backoff backoff(random, {});
  absl::Duration ceiling = absl::Milliseconds(500);
  for (int i = 0; i < 10; ++i) {
    const absl::Duration wait = backoff.Next();
    EXPECT_GE(wait, ceiling / 2);
    EXPECT_LE(wait, ceiling);
    ceiling = std::min(ceiling * 2, absl::Seconds(30));
  }
  EXPECT_EQ(ceiling, absl::Seconds(30));
  backoff.Reset();
  EXPECT_LE(backoff.Next(), absl::Milliseconds(500));
}

TEST(Backoff, SpreadsAFleet) {
  base::SeededRandom random(1);
  absl::Duration least = absl::InfiniteDuration(), most;
  for (int agent = 0; agent < 100; ++agent) {
    Backoff backoff(random, {});
    const absl::Duration wait = backoff.Next();
    least = std::min(least, wait);
    most = std::max(most, wait);
  }
  EXPECT_GT(most - least, absl::Milliseconds(200));
}

}  // namespace
}  // namespace umbra::transfer
