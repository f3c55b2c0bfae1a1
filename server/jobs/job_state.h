// What a job may do next: one table, state x event, looked up by a pure function.
//
// State is the life cycle only. Phase (where a running job is), the reason of a failure, warnings and the wait reason
// are fields of their own; a half-good result is a SUCCEEDED job with warnings.
#ifndef UMBRA_SERVER_JOBS_JOB_STATE_H_
#define UMBRA_SERVER_JOBS_JOB_STATE_H_

#include <string_view>

#include "storage/catalog/records.h"

namespace umbra::jobs {

using catalog::JobState;

// The states, and for each: is the result usable, who moves it on, what does a restart of the daemon do.
//
//   NONE         Not submitted. Nothing is stored.
//   QUEUED       Nothing is touched. The dispatcher moves it on (Assign) when it is its turn (server/jobs/job_queue.h),
//   or
//                ends it when its backup window is over (WindowMissed). A restart keeps it.
//   DISPATCHING  Sent, not accepted. The worker moves it on. A restart queues it again; the next Assign gets a new
//   attempt
//                number, so that a worker that did start is known as old and told to stop.
//   RUNNING      No result yet. The worker moves it on. A restart ends the attempt: its data session died with the
//   daemon.
//                An attempt that failed for a reason that passes (server/jobs/retry.h) is followed by another one while
//                there are some left: the job is QUEUED again (AttemptFailed), else FAILED.
//   COMMITTING   Backups only: the recovery points are durable in the repository and visible in the catalog, the worker
//                cleans up. Usable; the job can't fail any more unless the repository loses the points. The worker
//                moves it on, and so does losing the worker. A restart finishes it.
//   CANCELLING   The worker was told to stop and puts everything back. No result. The worker moves it on, and so does
//                losing it (a worker without link stops by itself). A restart ends it as CANCELLED.
//   SUCCEEDED    Usable, warnings may tell of more. Final.
//   FAILED       Nothing is visible; the error says why. Final.
//   CANCELLED    Nothing is visible; a person wanted it so. Final.
//
// "Worker" is the host's agent, or the daemon itself for a verification.
inline constexpr int kJobStateCount = 9;

enum class JobEvent {
  kSubmit,           // a caller wants it
  kAssign,           // the dispatcher sends it to the worker; starts the next attempt
  kAccept,           // the worker took it on
  kProgress,         // the worker tells how far it is
  kAgentLost,        // the worker came back without this work: it restarted
  kLeaseExpired,     // the worker's link is down for longer than its lease
  kCancelRequested,  // a person wants it to stop
  kAgentDone,        // the worker did it all (of a backup: after RepoCommitted)
  kAgentFailed,      // the worker gave up and put everything back
  kAgentCancelled,   // the worker stopped and put everything back
  kRepoCommitted,    // the repository holds the recovery points, durably
  kServerRestarted,  // the daemon came up again, and the repository holds no recovery point of this job
  kAttemptFailed,    // the attempt failed, and another one follows; the engine makes it of the events that fail a job
  kWindowMissed,     // the backup window is over
};
inline constexpr int kJobEventCount = 14;

enum class Verdict {
  kMove,    // go to `next` (which may be the same state: the event's facts are taken)
  kIgnore,  // late or repeated; answer OK, change nothing
  kRefuse,  // FAILED_PRECONDITION
};

struct Transition {
  Verdict verdict;
  JobState next;  // meaningful for kMove only

  bool operator==(const Transition&) const = default;
};

// Total: every pair has an answer. Thread-safe, pure.
Transition Lookup(JobState state, JobEvent event);

// Whether a worker may be busy with a job in `state`: its virtual machines are taken.
constexpr bool HoldsVms(JobState state) {
  return state == JobState::kDispatching || state == JobState::kRunning || state == JobState::kCommitting ||
         state == JobState::kCancelling;
}

// "assign", "repo-committed"; for logs and messages.
std::string_view NameOf(JobEvent event);

}  // namespace umbra::jobs

#endif  // UMBRA_SERVER_JOBS_JOB_STATE_H_
