#include "server/jobs/job_state.h"

#include "storage/base/status.h"

namespace umbra::jobs {
namespace {

constexpr Transition kLate = {Verdict::kIgnore, JobState::kNone};
constexpr Transition kNo = {Verdict::kRefuse, JobState::kNone};
constexpr Transition To(JobState next) {
  return {Verdict::kMove, next};
}

constexpr Transition kQueue = To(JobState::kQueued);
constexpr Transition kDispatch = To(JobState::kDispatching);
constexpr Transition kRun = To(JobState::kRunning);
constexpr Transition kCommit = To(JobState::kCommitting);
constexpr Transition kSucceed = To(JobState::kSucceeded);
constexpr Transition kFail = To(JobState::kFailed);
constexpr Transition kStop = To(JobState::kCancelling);
constexpr Transition kCancel = To(JobState::kCancelled);

// clang-format off
// Rows are states by their stored value, columns are events.
constexpr Transition kTable[kJobStateCount][kJobEventCount] = {
    //                  Submit  Assign     Accept Progress AgentLost LeaseExp. CancelReq. AgentDone AgentFail AgentCanc. RepoComm. Restart AttemptF. WindowMissed
    /* NONE        */ { kQueue, kNo,       kNo,   kNo,     kNo,      kNo,      kNo,       kNo,      kNo,      kNo,       kNo,      kNo, kNo, kNo },
    /* QUEUED      */ { kNo,    kDispatch, kLate, kLate,   kLate,    kLate,    kCancel,   kLate,    kLate,    kLate,     kNo,      kLate, kLate, kFail },
    // A worker's first sign may overtake its Accept: they travel on different connections.
    /* DISPATCHING */ { kNo,    kNo,       kRun,  kRun,    kQueue,   kQueue,   kStop,     kSucceed, kFail,    kFail,     kCommit,  kQueue, kQueue, kLate },
    // A worker that stopped unasked was shut down: the job failed, nobody cancelled it.
    /* RUNNING     */ { kNo,    kNo,       kLate, kRun,    kFail,    kFail,    kStop,     kSucceed, kFail,    kFail,     kCommit,  kFail, kQueue, kLate },
    // The data is safe: whatever happens to the worker now, the result stands. A cancel comes too late.
    /* COMMITTING  */ { kNo,    kNo,       kLate, kCommit, kSucceed, kSucceed, kLate,     kSucceed, kSucceed, kSucceed,  kLate,    kFail, kSucceed, kLate },
    /* SUCCEEDED   */ { kNo,    kNo,       kLate, kLate,   kLate,    kLate,    kNo,       kLate,    kLate,    kLate,     kLate,    kLate, kLate, kLate },
    /* FAILED      */ { kNo,    kNo,       kLate, kLate,   kLate,    kLate,    kNo,       kLate,    kLate,    kLate,     kNo,      kLate, kLate, kLate },
    /* CANCELLED   */ { kNo,    kNo,       kLate, kLate,   kLate,    kLate,    kNo,       kLate,    kLate,    kLate,     kNo,      kLate, kLate, kLate },
    // Work that was finished before the cancel reached the worker is finished.
    /* CANCELLING  */ { kNo,    kNo,       kLate, kLate,   kCancel,  kCancel,  kLate,     kSucceed, kFail,    kCancel,   kCommit,  kCancel, kCancel, kLate },
};
// clang-format on

}  // namespace

Transition Lookup(JobState state, JobEvent event) {
  const int row = static_cast<int>(state);
  const int column = static_cast<int>(event);
  UMBRA_CHECK(row >= 0 && row < kJobStateCount && column >= 0 && column < kJobEventCount);
  return kTable[row][column];
}

std::string_view NameOf(JobEvent event) {
  constexpr std::string_view kNames[kJobEventCount] = {
      "submit",         "assign",           "accept",         "progress",     "agent-lost",
      "lease-expired",  "cancel-requested", "agent-done",     "agent-failed", "agent-cancelled",
      "repo-committed", "server-restarted", "attempt-failed", "window-missed"};
  return kNames[static_cast<int>(event)];
}

}  // namespace umbra::jobs
