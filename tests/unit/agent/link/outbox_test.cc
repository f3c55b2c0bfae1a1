// Proves that the outbox loses no result, says only the newest progress, keeps each assignment's order, and stays
// bounded.
#include "agent/link/outbox.h"

#include <gtest/gtest.h>

#include "tests/support/stepping_clock.h"

namespace umbra::link {
namespace {

agent::v1::AssignmentId Id(const std::string& job, int attempt = 1) {
  agent::v1::AssignmentId id;
  id.set_job_id(job);
  id.set_attempt(attempt);
  return id;
}

agent::v1::AssignmentProgress ProgressOf(const std::string& job, int64_t done) {
  agent::v1::AssignmentProgress progress;
  *progress.mutable_id() = Id(job);
  progress.mutable_progress()->set_done_bytes(done);
  return progress;
}

agent::v1::AssignmentResult ResultOf(const std::string& job, int attempt = 1) {
  agent::v1::AssignmentResult result;
  *result.mutable_id() = Id(job, attempt);
  return result;
}

agent::v1::AssignmentWarning WarningOf(const std::string& job) {
  agent::v1::AssignmentWarning warning;
  *warning.mutable_id() = Id(job);
  return warning;
}

class OutboxTest : public ::testing::Test {
 protected:
  std::vector<agent::v1::AgentMessage> TakeAll() {
    std::vector<agent::v1::AgentMessage> all;
    while (auto message = outbox_.Next(absl::ZeroDuration())) all.push_back(*message);
    return all;
  }

  testing::SteppingClock clock_;
  Outbox outbox_{clock_};
};

TEST_F(OutboxTest, OnlyTheNewestProgressOfEachAssignment) {
  for (int i = 1; i <= 1000; ++i) outbox_.Progress(ProgressOf("a", i));
  outbox_.Progress(ProgressOf("b", 7));
  const auto said = TakeAll();
  ASSERT_EQ(said.size(), 2u);
  EXPECT_EQ(said[0].progress().progress().done_bytes(), 1000);
  EXPECT_EQ(said[1].progress().progress().done_bytes(), 7);
}

TEST_F(OutboxTest, ResultComesAfterAllElseOfItsAssignment) {
  outbox_.Accepted(Id("a"));
  outbox_.Progress(ProgressOf("a", 1));
  outbox_.Warning(WarningOf("a"));
  outbox_.Result(ResultOf("a"));
  outbox_.Progress(ProgressOf("a", 2));  // too late
  const auto said = TakeAll();
  ASSERT_EQ(said.size(), 3u);
  EXPECT_TRUE(said[0].has_accepted());
  EXPECT_TRUE(said[1].has_warning());
  EXPECT_TRUE(said[2].has_result());
}

TEST_F(OutboxTest, ResultIsSaidAgainOnEachStreamUntilAcknowledged) {
  outbox_.Result(ResultOf("a"));
  outbox_.Result(ResultOf("a", 2));
  EXPECT_EQ(TakeAll().size(), 2u);
  EXPECT_TRUE(TakeAll().empty()) << "once a stream";
  outbox_.Rewind();
  EXPECT_EQ(TakeAll().size(), 2u);
  outbox_.Acknowledge(Id("a", 1));
  outbox_.Rewind();
  const auto said = TakeAll();
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].result().id().attempt(), 2);
  EXPECT_EQ(outbox_.Unacknowledged().size(), 1u);
  EXPECT_FALSE(outbox_.AwaitAcknowledged(absl::Seconds(1)));
  outbox_.Acknowledge(Id("a", 2));
  EXPECT_TRUE(outbox_.AwaitAcknowledged(absl::Seconds(1)));
}

TEST_F(OutboxTest, StaysBoundedWhileTheLinkIsDown) {
  for (int i = 0; i < 10'000; ++i) {
    outbox_.Warning(WarningOf("a"));
    outbox_.SetInventory({});
    outbox_.Progress(ProgressOf("a", i));
  }
  EXPECT_EQ(TakeAll().size(), kWarningsMax + 2);
}

TEST_F(OutboxTest, InterruptEndsOneWait) {
  outbox_.Interrupt();
  outbox_.Accepted(Id("a"));
  EXPECT_FALSE(outbox_.Next(absl::Seconds(100)).has_value());
  EXPECT_TRUE(outbox_.Next(absl::Seconds(100)).has_value());
}

}  // namespace
}  // namespace umbra::link
