// Proves the three state tables by walking every pair against lists written out here.
#include <gtest/gtest.h>

#include <map>
#include <utility>

#include "agent/vss/requester_state.h"
#include "agent/vss/snapshot_state.h"
#include "agent/vss/writer_state.h"

namespace umbra::vss {
namespace {

TEST(SnapshotStates, FollowTheSequenceAndNothingElse) {
  using S = SnapshotState;
  using E = SnapshotEvent;
  std::map<std::pair<S, E>, S> allowed = {
      {{S::kUnknown, E::kStart}, S::kPreparing},
      {{S::kPreparing, E::kAddVolume}, S::kPreparing},
      {{S::kPreparing, E::kEndPrepare}, S::kProcessingPrepare},
      {{S::kProcessingPrepare, E::kDone}, S::kPrepared},
      {{S::kPrepared, E::kPreCommit}, S::kProcessingPreCommit},
      {{S::kProcessingPreCommit, E::kDone}, S::kPreCommitted},
      {{S::kPreCommitted, E::kCommit}, S::kProcessingCommit},
      {{S::kProcessingCommit, E::kDone}, S::kCommitted},
      {{S::kCommitted, E::kPostCommit}, S::kProcessingPostCommit},
      {{S::kProcessingPostCommit, E::kDone}, S::kPostCommitted},
      {{S::kPostCommitted, E::kPreFinalCommit}, S::kProcessingPreFinalCommit},
      {{S::kProcessingPreFinalCommit, E::kDone}, S::kPreFinalCommitted},
      {{S::kPreFinalCommitted, E::kPostFinalCommit}, S::kProcessingPostFinalCommit},
      {{S::kProcessingPostFinalCommit, E::kDone}, S::kCreated},
      {{S::kCreated, E::kDelete}, S::kDeleted},
      {{S::kDeleted, E::kDelete}, S::kDeleted},
  };
  // Abort works at any point of the making, and again.
  for (const S state :
       {S::kPreparing, S::kProcessingPrepare, S::kPrepared, S::kProcessingPreCommit, S::kPreCommitted,
        S::kProcessingCommit, S::kCommitted, S::kProcessingPostCommit, S::kPostCommitted, S::kProcessingPreFinalCommit,
        S::kPreFinalCommitted, S::kProcessingPostFinalCommit, S::kAborted}) {
    allowed[{state, E::kAbort}] = S::kAborted;
  }
  for (int s = 0; s < kSnapshotStateCount; ++s) {
    for (int e = 0; e < kSnapshotEventCount; ++e) {
      const auto pair = std::pair(static_cast<S>(s), static_cast<E>(e));
      const auto expected = allowed.find(pair);
      const auto next = NextState(pair.first, pair.second);
      EXPECT_EQ(next.has_value(), expected != allowed.end()) << NameOf(pair.first) << " x " << NameOf(pair.second);
      if (next.has_value() && expected != allowed.end()) {
        EXPECT_EQ(*next, expected->second);
      }
    }
  }
}

TEST(WriterStates, FollowMicrosoftsTable) {
  using S = WriterState;
  using E = WriterEvent;
  struct Outcome {
    S ok;
    S failed;
  };
  std::map<std::pair<S, E>, Outcome> allowed = {
      {{S::kStable, E::kPrepareBackup}, {S::kStable, S::kFailedAtPrepareBackup}},
      {{S::kWaitingForBackupComplete, E::kPrepareBackup}, {S::kStable, S::kFailedAtPrepareBackup}},
      {{S::kStable, E::kPrepareSnapshot}, {S::kWaitingForFreeze, S::kFailedAtPrepareSnapshot}},
      {{S::kWaitingForFreeze, E::kFreeze}, {S::kWaitingForThaw, S::kFailedAtFreeze}},
      {{S::kWaitingForThaw, E::kThaw}, {S::kWaitingForPostSnapshot, S::kFailedAtThaw}},
      {{S::kWaitingForPostSnapshot, E::kPostSnapshot}, {S::kWaitingForBackupComplete, S::kFailedAtPostSnapshot}},
      {{S::kWaitingForBackupComplete, E::kBackupComplete}, {S::kStable, S::kFailedAtBackupComplete}},
      // A backup that needed no snapshot.
      {{S::kStable, E::kBackupComplete}, {S::kStable, S::kFailedAtBackupComplete}},
      // The timer runs from the call of Freeze to the return of Thaw, and has no good end.
      {{S::kWaitingForFreeze, E::kFreezeTimer}, {S::kFailedAtFreeze, S::kFailedAtFreeze}},
      {{S::kWaitingForThaw, E::kFreezeTimer}, {S::kFailedAtFreeze, S::kFailedAtFreeze}},
      {{S::kStable, E::kPreRestore}, {S::kStable, S::kFailedAtPreRestore}},
      {{S::kWaitingForBackupComplete, E::kPreRestore}, {S::kStable, S::kFailedAtPreRestore}},
      {{S::kStable, E::kPostRestore}, {S::kStable, S::kFailedAtPostRestore}},
  };
  for (int s = 0; s < kWriterStateCount; ++s) {
    const S state = static_cast<S>(s);
    const bool failed = HasFailed(state);
    // Identify changes nothing; it isn't asked in the middle of a backup.
    if (state == S::kStable || state == S::kWaitingForBackupComplete || failed) {
      allowed[{state, E::kIdentify}] = {state, S::kFailedAtIdentify};
    }
    // Abort: before PostSnapshot only, and a failure stays to be read.
    const bool abortable = (state >= S::kStable && state <= S::kWaitingForPostSnapshot) ||
                           (state >= S::kFailedAtPrepareBackup && state <= S::kFailedAtThaw);
    if (abortable) allowed[{state, E::kAbort}] = failed ? Outcome{state, state} : Outcome{S::kStable, S::kStable};
    // Shutdown: every writer that took part in a backup.
    const bool of_restore_or_absent = state == S::kUnknown || state == S::kFailedAtIdentify ||
                                      state == S::kFailedAtPreRestore || state == S::kFailedAtPostRestore;
    if (!of_restore_or_absent) {
      allowed[{state, E::kBackupShutdown}] =
          failed ? Outcome{state, state} : Outcome{S::kStable, S::kFailedAtBackupShutdown};
    }
  }
  for (int s = 0; s < kWriterStateCount; ++s) {
    for (int e = 0; e < kWriterEventCount; ++e) {
      const auto pair = std::pair(static_cast<S>(s), static_cast<E>(e));
      const auto expected = allowed.find(pair);
      for (const bool ok : {true, false}) {
        const auto next = NextState(pair.first, pair.second, ok);
        ASSERT_EQ(next.has_value(), expected != allowed.end()) << NameOf(pair.first) << " x " << NameOf(pair.second);
        if (!next.has_value()) continue;
        EXPECT_EQ(*next, ok ? expected->second.ok : expected->second.failed)
            << NameOf(pair.first) << " x " << NameOf(pair.second) << " ok=" << ok;
      }
    }
  }
}

TEST(RequesterStates, LetEveryStepFollowOnlyItsOwn) {
  using S = RequesterState;
  using E = RequesterStep;
  std::map<std::pair<S, E>, S> allowed = {
      {{S::kNew, E::kGather}, S::kGathered},
      {{S::kGathered, E::kSelect}, S::kSelected},
      {{S::kSelected, E::kPrepare}, S::kPrepared},
      {{S::kPrepared, E::kSnapshot}, S::kSnapshotted},
      {{S::kSnapshotted, E::kSetBackupSucceeded}, S::kSnapshotted},
      {{S::kSnapshotted, E::kDocuments}, S::kSnapshotted},
      {{S::kSnapshotted, E::kComplete}, S::kEnded},
      {{S::kSelected, E::kPreRestore}, S::kPreRestored},
      {{S::kPreRestored, E::kSetFileRestoreStatus}, S::kPreRestored},
      {{S::kPreRestored, E::kPostRestore}, S::kEnded},
  };
  for (int s = 0; s < kRequesterStateCount; ++s) allowed[{static_cast<S>(s), E::kAbort}] = S::kEnded;
  for (int s = 0; s < kRequesterStateCount; ++s) {
    for (int e = 0; e < kRequesterStepCount; ++e) {
      const auto pair = std::pair(static_cast<S>(s), static_cast<E>(e));
      const auto expected = allowed.find(pair);
      const auto next = NextState(pair.first, pair.second);
      EXPECT_EQ(next.has_value(), expected != allowed.end()) << NameOf(pair.first) << " x " << NameOf(pair.second);
      if (next.has_value() && expected != allowed.end()) {
        EXPECT_EQ(*next, expected->second);
      }
    }
  }
}

}  // namespace
}  // namespace umbra::vss
