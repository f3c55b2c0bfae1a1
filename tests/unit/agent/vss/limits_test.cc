// Proves the time limits where one part's slowness meets another's: nobody stays frozen because somebody else hangs,
// late answers change nothing, whoever waits for another set waits on the clock, in order, and for as long as it said.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "agent/vss/coordinator.h"
#include "agent/vss/requester.h"
#include "agent/vss/retry_policy.h"
#include "storage/base/status.h"
#include "tests/support/stepping_clock.h"
#include "tests/unit/agent/vss/two_writers.h"

namespace umbra::vss {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

using testing::kFront;
using testing::kProvider;
using testing::kSystem;

class LimitsTest : public testing::TwoWritersTest {
 protected:
  std::unique_ptr<Session> Prepared() { return TwoWritersTest::Prepared({"/a/"}); }

  // Whether the front end has had its Abort; notes when.
  bool Aborted() {
    absl::MutexLock lock(&mu_);
    return aborted_at_.has_value();
  }

  absl::Mutex mu_;
  std::optional<absl::Duration> aborted_at_;
};

TEST_F(LimitsTest, HangInTheNextLevelsFreezeEndsTheFirstLevelsMinuteToo) {
  system_.limits_.freeze = absl::Minutes(5);
  system_.on["Freeze"] = [this](EventContext&) { return Hang(absl::Seconds(60)); };
  front_.on["Abort"] = [this](EventContext&) {
    absl::MutexLock lock(&mu_);
    aborted_at_ = clock_.Monotonic();
    return absl::OkStatus();
  };
  auto session = Prepared();
  // The front end is aborted when its own minute is over, not when the system's five are.
  std::jthread later([this] {
    while (clock_.Monotonic() < absl::Seconds(60)) std::this_thread::yield();
    for (int i = 0; i < 200 && !Aborted(); ++i) base::SystemClock().Sleep(absl::Milliseconds(5));
    clock_.AdvanceWhileAwaited(absl::Minutes(5));
  });
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kFailedAtFreeze);
  EXPECT_EQ(CodeOf(StatusOf(*session, kFront).failure), Code::kWriterErrorTimeout);
  EXPECT_EQ(StatusOf(*session, kSystem).state, WriterState::kFailedAtFreeze);
  ASSERT_TRUE(aborted_at_.has_value());
  EXPECT_LE(*aborted_at_, absl::Seconds(61));
}

TEST_F(LimitsTest, NobodyWaitsForAnAbortWhileOthersAreFrozen) {
  absl::Notification thawed;
  front_.on["Freeze"] = [](EventContext&) { return absl::UnavailableError("not now"); };
  // The one that vetoed takes its time to undo: until long after the others ran again.
  front_.on["Abort"] = [&](EventContext&) { return thawed.WaitForNotification(), absl::OkStatus(); };
  system_.on["Thaw"] = [&](EventContext&) { return thawed.Notify(), absl::OkStatus(); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kSystem).state, WriterState::kWaitingForBackupComplete);
}

TEST_F(LimitsTest, HangInOneLevelsThawDoesNotKeepTheNextLevelFrozen) {
  absl::Notification front_thawed;
  // The system is thawed first; it returns only after the front end was.
  system_.on["Thaw"] = [&](EventContext&) {
    clock_.AdvanceWhileAwaited(absl::Seconds(1));
    front_thawed.WaitForNotification();
    return absl::OkStatus();
  };
  front_.on["Thaw"] = [&](EventContext&) { return front_thawed.Notify(), absl::OkStatus(); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kWaitingForBackupComplete);
  EXPECT_EQ(StatusOf(*session, kSystem).state, WriterState::kWaitingForBackupComplete);
}

TEST_F(LimitsTest, WhoeversMinuteEndsWhileAProviderHangsHasFailedAtFreeze) {
  system_.limits_.freeze = absl::Seconds(5);
  provider_.on["Commit"] = [this] { return Hang(absl::Seconds(6)); };
  auto session = Prepared();
  EXPECT_FALSE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kSystem).state, WriterState::kFailedAtFreeze);
  EXPECT_EQ(CodeOf(StatusOf(*session, kSystem).failure), Code::kWriterErrorTimeout);
  EXPECT_TRUE(StatusOf(*session, kFront).failure.ok());  // aborted in time
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kStable);
}

// One that ended in time isn't late because somebody else was waited for.
TEST_F(LimitsTest, AnswerCountsFromWhenItCameNotFromWhenItIsRead) {
  system_.identity_.level = ApplicationLevel::kFrontEnd;
  coordinator_.emplace(clock_, random_);
  coordinator_->AddWriter(front_);
  coordinator_->AddWriter(system_);
  coordinator_->AddProvider(provider_);
  absl::Notification front_done;
  front_.limits_.freeze = absl::Seconds(60);
  front_.on["Thaw"] = [&](EventContext&) { return front_done.Notify(), absl::OkStatus(); };
  system_.limits_.freeze = absl::Seconds(50);  // read first, and late
  system_.on["Thaw"] = [&](EventContext&) {
    front_done.WaitForNotification();
    base::SystemClock().Sleep(absl::Milliseconds(5));  // the front's answer is on its way
    return Hang(absl::Seconds(70));
  };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kSystem).state, WriterState::kFailedAtFreeze);
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kWaitingForBackupComplete);
}

TEST_F(LimitsTest, EveryWritersLimitIsItsOwnAndNamesTheEvent) {
  struct Case {
    std::string event;
    WriterState state;
    absl::Duration WriterLimits::*limit;
  };
  for (const Case& c : {Case{"PrepareBackup", WriterState::kFailedAtPrepareBackup, &WriterLimits::prepare_backup},
                        Case{"PrepareSnapshot", WriterState::kFailedAtPrepareSnapshot, &WriterLimits::prepare_snapshot},
                        Case{"PostSnapshot", WriterState::kFailedAtPostSnapshot, &WriterLimits::post_snapshot},
                        Case{"BackupComplete", WriterState::kFailedAtBackupComplete, &WriterLimits::backup_complete}}) {
    SCOPED_TRACE(c.event);
    testing::StillClock clock;
    testing::ScriptedWriter writer("w", kFront, record_);
    writer.AddComponent("A", "/a/");
    writer.limits_.*c.limit = absl::Seconds(7);
    absl::Notification release;
    writer.on[c.event] = [&](EventContext& context) {
      for (BackupComponent& component : context.components) component.backup_metadata = "late";
      clock.AdvanceWhileAwaited(absl::Seconds(8));
      release.WaitForNotification();
      return absl::OkStatus();
    };
    Coordinator coordinator(clock, random_);
    coordinator.AddWriter(writer);
    coordinator.AddProvider(provider_);
    auto session = coordinator.NewSession();
    ASSERT_TRUE(session->InitializeForBackup().ok());
    ASSERT_TRUE(session->SetBackupState({}).ok());
    ASSERT_TRUE(session->GatherWriterMetadata().ok());
    ASSERT_TRUE(session->AddComponent({kFront, "", "A"}).ok());
    ASSERT_TRUE(session->StartSnapshotSet().ok());
    ASSERT_TRUE(session->AddToSnapshotSet("/a/", Guid()).ok());
    ASSERT_TRUE(session->PrepareForBackup().ok());
    ASSERT_TRUE(session->DoSnapshotSet().ok());
    session->BackupComplete().IgnoreError();
    const WriterStatus status = StatusOf(*session, kFront);
    EXPECT_EQ(status.state, c.state);
    EXPECT_EQ(CodeOf(status.failure), Code::kWriterNotResponding);
    EXPECT_THAT(base::MessageOf(status.failure), HasSubstr("writer \"w\" failed at " + c.event));
    EXPECT_THAT(base::MessageOf(status.failure), HasSubstr("7s"));
    // What it says when it comes back isn't heard any more.
    release.Notify();
    session->AbortBackup().IgnoreError();
    EXPECT_EQ(session->components().writers[0].components[0].backup_metadata, "");
    EXPECT_EQ(StatusOf(*session, kFront).state, c.state);
  }
}

TEST_F(LimitsTest, HangInThawIsAFailureAtFreezeThatNamesTheThaw) {
  front_.on["Thaw"] = [this](EventContext&) { return Hang(absl::Seconds(61)); };
  auto session = Prepared();
  EXPECT_TRUE(session->DoSnapshotSet().ok());
  EXPECT_EQ(StatusOf(*session, kFront).state, WriterState::kFailedAtFreeze);
  EXPECT_EQ(CodeOf(StatusOf(*session, kFront).failure), Code::kWriterErrorTimeout);
  EXPECT_THAT(base::MessageOf(StatusOf(*session, kFront).failure), HasSubstr("failed at Thaw"));
}

TEST_F(LimitsTest, WriterThatDoesNotAnswerIdentifyIsAbsent) {
  front_.limits_.identify = absl::Seconds(3);
  front_.on["Identify"] = [this](EventContext&) { return Hang(absl::Seconds(4)); };
  auto session = Gathered();
  EXPECT_EQ(session->writer_metadata().size(), 1u);
  EXPECT_EQ(CodeOf(coordinator_->LastWriterStatus()[0].failure), Code::kWriterNotResponding);
  LetGo();
}

TEST_F(LimitsTest, ProvidersLimitsNameTheCall) {
  struct Case {
    std::string call;
    absl::Duration time;
    Code code;
  };
  for (const Case& c : {Case{"EndPrepare", absl::Minutes(11), Code::kUnexpectedProviderError},
                        Case{"PreCommit", absl::Seconds(11), Code::kUnexpectedProviderError},
                        Case{"Commit", absl::Seconds(11), Code::kHoldWritesTimeout},
                        Case{"PostCommit", absl::Seconds(11), Code::kUnexpectedProviderError},
                        Case{"PreFinalCommit", absl::Minutes(11), Code::kUnexpectedProviderError},
                        Case{"PostFinalCommit", absl::Minutes(11), Code::kUnexpectedProviderError}}) {
    SCOPED_TRACE(c.call);
    testing::StillClock clock;
    absl::Notification release;
    testing::ScriptedProvider provider("p", kProvider, record_);
    provider.on[c.call] = [&] {
      clock.AdvanceWhileAwaited(c.time);
      release.WaitForNotification();
      return absl::OkStatus();
    };
    testing::ScriptedWriter writer("w", kFront, record_);
    writer.AddComponent("A", "/a/");
    Coordinator coordinator(clock, random_);
    coordinator.AddWriter(writer);
    coordinator.AddProvider(provider);
    BackupRequester backup(coordinator.NewSession(), {});
    ASSERT_TRUE(backup.Gather().ok());
    ASSERT_TRUE(backup.Select({{{kFront, "", "A"}, ""}}).ok());
    ASSERT_TRUE(backup.Prepare().ok());
    const absl::Status made = backup.Snapshot().status();
    EXPECT_EQ(CodeOf(made), c.code);
    EXPECT_TRUE(IsRetryable(made));
    EXPECT_THAT(base::MessageOf(made), HasSubstr("provider \"p\": " + c.call));
    release.Notify();
  }
}

// --- one set at a time ---

TEST_F(LimitsTest, SecondSetWaitsForTheFirstOnTheClock) {
  auto first = Prepared();
  auto second = Gathered();
  // In vain.
  std::jthread in_vain([this] { clock_.AdvanceWhileAwaited(absl::Seconds(31)); });
  const absl::Status busy = second->StartSnapshotSet(absl::Seconds(30)).status();
  EXPECT_EQ(CodeOf(busy), Code::kSnapshotSetInProgress);
  EXPECT_TRUE(IsRetryable(busy));
  in_vain.join();
  // And again, while the first one gets ready.
  std::jthread ready([&] {
    base::SystemClock().Sleep(absl::Milliseconds(20));
    EXPECT_TRUE(first->DoSnapshotSet().ok());
  });
  EXPECT_TRUE(second->StartSnapshotSet(absl::Seconds(30)).ok());
}

TEST_F(LimitsTest, ThoseWhoWaitGetTheirTurnInOrder) {
  auto holder = Prepared();
  std::vector<int> order;
  absl::Mutex mu;
  std::vector<std::jthread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] {
      auto session = Gathered();
      EXPECT_TRUE(session->StartSnapshotSet(absl::Hours(1)).ok());
      {
        absl::MutexLock lock(&mu);
        order.push_back(i);
      }
      session.reset();  // gives it up
    });
    base::SystemClock().Sleep(absl::Milliseconds(30));  // it waits by now
  }
  holder.reset();
  threads.clear();
  EXPECT_THAT(order, ElementsAre(0, 1, 2));
}

TEST_F(LimitsTest, WaitingCanBeCancelled) {
  auto first = Prepared();
  BackupSettings settings;
  settings.set_wait = absl::Hours(1);
  BackupRequester second(coordinator_->NewSession(), settings);
  ASSERT_TRUE(second.Gather().ok());
  ASSERT_TRUE(second.Select({{{kFront, "", "A"}, ""}}).ok());
  std::jthread cancels([&] {
    base::SystemClock().Sleep(absl::Milliseconds(20));
    second.Cancel();
  });
  EXPECT_EQ(base::ReasonOf(second.Prepare()), "CANCELLED");
  EXPECT_TRUE(first->DoSnapshotSet().ok());
}

// --- trying again ---

TEST(RetryPolicy, WaitsTenMinutesAndTriesThreeTimesMore) {
  umbra::testing::SteppingClock clock;
  int tries = 0;
  const absl::Status result = RetryPolicy().Run(
      [&] {
        ++tries;
        return Error(Code::kHoldWritesTimeout, "busy");
      },
      clock);
  EXPECT_EQ(tries, 4);
  EXPECT_EQ(clock.Monotonic(), absl::Minutes(30));
  EXPECT_EQ(CodeOf(result), Code::kHoldWritesTimeout);
  EXPECT_THAT(base::MessageOf(result), HasSubstr("after 4 tries"));
}

TEST(RetryPolicy, StopsWhenItWorksOrNeverWill) {
  umbra::testing::SteppingClock clock;
  int tries = 0;
  EXPECT_TRUE(RetryPolicy()
                  .Run([&] { return ++tries < 3 ? Error(Code::kWriterErrorTimeout, "x") : absl::OkStatus(); }, clock)
                  .ok());
  EXPECT_EQ(tries, 3);
  tries = 0;
  const absl::Status never =
      RetryPolicy().Run([&] { return ++tries, Error(Code::kWriterErrorNonRetryable, "x"); }, clock);
  EXPECT_EQ(tries, 1);
  EXPECT_EQ(never, Error(Code::kWriterErrorNonRetryable, "x"));
}

TEST(RetryPolicy, WaitThatIsCutOffEndsIt) {
  int tries = 0;
  const absl::Status result = RetryPolicy().Run([&] { return ++tries, Error(Code::kProviderVeto, "x"); },
                                                [](absl::Duration pause) {
                                                  EXPECT_EQ(pause, absl::Minutes(10));
                                                  return absl::CancelledError("enough");
                                                });
  EXPECT_EQ(tries, 1);
  EXPECT_TRUE(absl::IsCancelled(result));
}

}  // namespace
}  // namespace umbra::vss
