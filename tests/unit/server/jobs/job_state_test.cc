// Proves the state table by walking every pair of state and event against an expectation written as rules, not as a
// table, and by one named test for what matters most to a person.
#include "server/jobs/job_state.h"

#include <gtest/gtest.h>

namespace umbra::jobs {
namespace {

using S = JobState;
using E = JobEvent;

Transition Move(S next) {
  return {Verdict::kMove, next};
}
constexpr Transition kLate = {Verdict::kIgnore, S::kNone};
constexpr Transition kNo = {Verdict::kRefuse, S::kNone};

// The rules, in the words of the header.
Transition Expected(S state, E event) {
  if (event == E::kSubmit) return state == S::kNone ? Move(S::kQueued) : kNo;
  if (state == S::kNone) return kNo;
  if (event == E::kAssign) return state == S::kQueued ? Move(S::kDispatching) : kNo;
  if (event == E::kWindowMissed) return state == S::kQueued ? Move(S::kFailed) : kLate;
  if (catalog::IsTerminal(state)) {
    if (event == E::kCancelRequested) return kNo;
    return event == E::kRepoCommitted && state != S::kSucceeded ? kNo : kLate;
  }
  if (state == S::kQueued) {
    if (event == E::kCancelRequested) return Move(S::kCancelled);
    return event == E::kRepoCommitted ? kNo : kLate;
  }
  // A worker has it from here on.
  const bool safe = state == S::kCommitting;
  const bool stopping = state == S::kCancelling;
  switch (event) {
    case E::kAccept:
      return state == S::kDispatching ? Move(S::kRunning) : kLate;
    case E::kProgress:
      return stopping ? kLate : Move(safe ? S::kCommitting : S::kRunning);
    case E::kCancelRequested:
      return safe || stopping ? kLate : Move(S::kCancelling);
    case E::kRepoCommitted:
      return safe ? kLate : Move(S::kCommitting);
    case E::kAgentDone:
      return Move(S::kSucceeded);
    case E::kAgentFailed:
      return Move(safe ? S::kSucceeded : S::kFailed);
    case E::kAgentCancelled:
      return Move(safe ? S::kSucceeded : stopping ? S::kCancelled : S::kFailed);
    case E::kAgentLost:
    case E::kLeaseExpired:
      if (safe) return Move(S::kSucceeded);
      if (stopping) return Move(S::kCancelled);
      return Move(state == S::kDispatching ? S::kQueued : S::kFailed);
    case E::kServerRestarted:
      if (stopping) return Move(S::kCancelled);
      return Move(state == S::kDispatching ? S::kQueued : S::kFailed);
    case E::kAttemptFailed:
      if (safe) return Move(S::kSucceeded);
      return Move(stopping ? S::kCancelled : S::kQueued);
    default:
      return kNo;
  }
}

TEST(JobStateTest, EveryPairHasTheExpectedAnswer) {
  for (int s = 0; s < kJobStateCount; ++s) {
    for (int e = 0; e < kJobEventCount; ++e) {
      const Transition actual = Lookup(static_cast<S>(s), static_cast<E>(e));
      EXPECT_EQ(actual, Expected(static_cast<S>(s), static_cast<E>(e)))
          << catalog::NameOf(static_cast<S>(s)) << " x " << NameOf(static_cast<E>(e));
    }
  }
}

TEST(JobStateTest, FinalStatesNeverMove) {
  for (S state : {S::kSucceeded, S::kFailed, S::kCancelled}) {
    for (int e = 0; e < kJobEventCount; ++e) EXPECT_NE(Lookup(state, static_cast<E>(e)).verdict, Verdict::kMove);
  }
}

TEST(JobStateTest, EveryStateThatHoldsMachinesEndsWithoutItsWorker) {
  for (int s = 0; s < kJobStateCount; ++s) {
    if (!HoldsVms(static_cast<S>(s))) continue;
    for (E event : {E::kAgentLost, E::kLeaseExpired, E::kServerRestarted}) {
      const Transition t = Lookup(static_cast<S>(s), event);
      EXPECT_EQ(t.verdict, Verdict::kMove);
      EXPECT_FALSE(HoldsVms(t.next));
    }
  }
}

// Another attempt is made only of an attempt that failed, and never while somebody wants the job to stop.
TEST(JobStateTest, OnlyUnfinishedWorkIsQueuedAgain) {
  for (int s = 0; s < kJobStateCount; ++s) {
    for (int e = 0; e < kJobEventCount; ++e) {
      const Transition t = Lookup(static_cast<S>(s), static_cast<E>(e));
      if (t.verdict != Verdict::kMove || t.next != S::kQueued || static_cast<S>(s) == S::kNone) continue;
      EXPECT_TRUE(static_cast<S>(s) == S::kDispatching ||
                  (static_cast<S>(s) == S::kRunning && static_cast<E>(e) == E::kAttemptFailed))
          << s << " " << e;
    }
  }
}

TEST(JobStateTest, SuccessComesOnlyFromAWorkerOrFromSafeData) {
  for (int s = 0; s < kJobStateCount; ++s) {
    for (int e = 0; e < kJobEventCount; ++e) {
      const Transition t = Lookup(static_cast<S>(s), static_cast<E>(e));
      if (t.verdict != Verdict::kMove || t.next != S::kSucceeded) continue;
      EXPECT_TRUE(static_cast<E>(e) == E::kAgentDone || static_cast<S>(s) == S::kCommitting);
    }
  }
}

TEST(JobStateTest, NamesAreThereAndDiffer) {
  for (int a = 0; a < kJobEventCount; ++a) {
    for (int b = 0; b < a; ++b) EXPECT_NE(NameOf(static_cast<E>(a)), NameOf(static_cast<E>(b)));
    EXPECT_FALSE(NameOf(static_cast<E>(a)).empty());
  }
}

}  // namespace
}  // namespace umbra::jobs
