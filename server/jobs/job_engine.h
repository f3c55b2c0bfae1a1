// Owns every change of a job. A change is one event: the table of job_state.h is asked, row and event are written in
// one transaction, and only then is anybody told.
//
// Facts of a job are the catalog's row, with one exception: progress comes several times a second and is kept in
// memory, and written at most once a second (kProgressStoreInterval). Get and List show the newest of both. After a
// crash a row's figures may be a second old; its state never is.
#ifndef UMBRA_SERVER_JOBS_JOB_ENGINE_H_
#define UMBRA_SERVER_JOBS_JOB_ENGINE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/jobs/job_state.h"
#include "server/jobs/notifier.h"
#include "storage/base/clock.h"
#include "storage/base/random.h"
#include "storage/catalog/catalog.h"

namespace umbra::jobs {

using catalog::ActiveJob;
using catalog::Job;
using catalog::JobId;

inline constexpr absl::Duration kProgressStoreInterval = absl::Seconds(1);
// A night of the largest fleet twice over; more are a mistake of a script, not a wish.
inline constexpr int64_t kQueuedJobsMax = 100'000;
inline constexpr int32_t kPriorityMax = 100;  // and -kPriorityMax
inline constexpr int32_t kRetriesMax = 100;
// Longer than any window; and a sum of times stays one.
inline constexpr absl::Duration kRetryBackoffMax = absl::Hours(24 * 7);
// A virtual machine has a handful of disks; the bound keeps a broken agent from filling memory and catalog.
inline constexpr size_t kProgressDisksMax = 1024;
inline constexpr size_t kRequestIdLengthMax = 64;
// A client that repeats a request does so within minutes.
inline constexpr absl::Duration kRequestsKeptFor = absl::Hours(24 * 7);
// An attempt number; kCurrentAttempt means whichever is current. (No number means it: numbers come from agents.)
using Attempt = std::optional<int32_t>;
inline constexpr std::nullopt_t kCurrentAttempt = std::nullopt;

// Facts that come with an event; each is read by the events named.
struct EventFacts {
  std::optional<catalog::JobPhase> phase;        // kProgress
  std::optional<catalog::JobProgress> progress;  // kProgress, kAgentDone, kAgentFailed, kAgentCancelled
  catalog::JobMessage
      error;  // kAgentFailed; also read by kAgentLost, kLeaseExpired, kServerRestarted instead of the usual text
  std::vector<catalog::RecoveryPoint> recovery_points;  // kRepoCommitted: all of the job's
  absl::Duration freeze_duration;                       // kAgentDone, kAgentFailed, kAgentCancelled
  absl::Duration downtime;                              // the same
  std::string restored_vm_uuid;                         // kAgentDone of a restore
  std::vector<catalog::DamagedChunk> damage;            // kAgentDone, kAgentFailed of a verification
  std::optional<catalog::PruneResult> prune_result;     // kAgentDone of a prune
};

// What makes a repeated request known. Without an id every request is new.
struct RequestKey {
  std::string id;    // the caller's request_id, at most kRequestIdLengthMax bytes
  std::string hash;  // of everything else in the request, as it came
};

// Whether the values of `terms` make sense: INVALID_ARGUMENT / INVALID_REQUEST naming the field.
absl::Status CheckTerms(const catalog::JobTerms& terms);

// A job that somebody wants.
struct Submission {
  catalog::JobSpec spec;
  catalog::JobTerms terms = {};
  RequestKey request = {};
};

struct Applied {
  Job job;       // as it is now
  bool changed;  // false: the event was late or a repetition, nothing changed
};

// Thread-safe. Calls that change something return after the commit is durable: a few milliseconds, longer on a busy
// disk. Every call may also return the errors of catalog::Catalog; then nothing was changed.
class JobEngine {
 public:
  // All must outlive the engine.
  JobEngine(catalog::Catalog& catalog, base::Clock& clock, base::Random& random)
      : catalog_(catalog), clock_(clock), random_(random) {}

  // ---- Changing ----

  // The job that `request` made before; absent when it is new. Ask before anything else is checked, so that a repeated
  // request gets its first answer although the world has changed.
  // ALREADY_EXISTS / REQUEST_ID_REUSED       the id came with another hash before.
  // INVALID_ARGUMENT / INVALID_REQUEST       the id is too long.
  absl::StatusOr<std::optional<Job>> FindRequest(const RequestKey& request) const;

  // Queues a job; when `request` made one before, returns that one as it is now. That what the spec names exists is the
  // caller's to check; the shape of the spec and the terms is checked here. Besides the errors of FindRequest:
  // INVALID_ARGUMENT / INVALID_REQUEST       the spec has a hole, or the terms make no sense.
  // RESOURCE_EXHAUSTED / SERVER_BUSY         kQueuedJobsMax jobs wait.
  absl::StatusOr<Job> Submit(const Submission& submission);
  // The same with the usual terms.
  absl::StatusOr<Job> Submit(const catalog::JobSpec& spec, const RequestKey& request = {});
  // Many at once, in one transaction and one sync: the answer to each in its place. An error of the call as a whole:
  // the catalog failed, and none is submitted.
  absl::StatusOr<std::vector<absl::StatusOr<Job>>> SubmitAll(const std::vector<Submission>& submissions);

  // Applies `event` to attempt `attempt` of a job. An event of an older attempt is late: `changed` is false.
  // kSubmit is not for this call. Details:
  //   kAssign          raises the attempt number: pass kCurrentAttempt and read Applied.job.attempt.
  //   kAgentDone       of a backup without kRepoCommitted before counts as kAgentFailed (UPLOAD_INVALID).
  //   kRepoCommitted   inserts the recovery points in the same transaction. When this is refused the caller must remove
  //                    them from the repository again: the job ended meanwhile.
  // NOT_FOUND / JOB_NOT_FOUND
  // FAILED_PRECONDITION / JOB_ENDED          the job has ended and the event isn't merely late (cancel, assign,
  // commit). FAILED_PRECONDITION / SESSION_NOT_FOUND  kRepoCommitted of an attempt that isn't current any more.
  // FAILED_PRECONDITION / JOB_BAD_STATE      refused by the table: a defect of the caller.
  // ABORTED / VM_BUSY                        kAssign while another job works on one of its virtual machines.
  absl::StatusOr<Applied> Apply(const JobId& id, Attempt attempt, JobEvent event, const EventFacts& facts = {});

  // A person wants it to stop: Apply(kCancelRequested) on whichever attempt is current.
  absl::StatusOr<Job> Cancel(const JobId& id);

  // Adds a warning to a job that hasn't ended; later ones, of older attempts, and those beyond kJobWarningsMax are
  // dropped.
  absl::Status AddWarning(const JobId& id, Attempt attempt, const catalog::JobMessage& warning);

  // ---- Dispatching ----

  // Queued jobs that may be assigned now, in order of submission: their host is online (`online` is called without a
  // lock of ours; not for verifications) and none of their virtual machines is held or claimed by an earlier job.
  // Writes down why the others wait (HOST_OFFLINE, VM_BUSY).
  absl::StatusOr<std::vector<ActiveJob>> Runnable(absl::FunctionRef<bool(const catalog::HostId&)> online);
  // Jobs that have not ended, in order of submission: what to cancel, whose lease to watch.
  absl::StatusOr<std::vector<ActiveJob>> Active() const;
  // Says why a queued job waits; no effect on others.
  absl::Status SetWaitReason(const JobId& id, const std::string& reason);
  // OK when `attempt` is the job's current one and its worker may work (DISPATCHING, RUNNING, COMMITTING) on `host`.
  // For the data service, before it opens a session, commits or reads, and for work that a Hello lists.
  // NOT_FOUND / JOB_NOT_FOUND, FAILED_PRECONDITION / SESSION_NOT_FOUND, PERMISSION_DENIED / PERMISSION_DENIED (host).
  absl::StatusOr<Job> CheckWorker(const JobId& id, int32_t attempt, const catalog::HostId& host) const;

  // ---- Looking ----

  // NOT_FOUND / JOB_NOT_FOUND.
  absl::StatusOr<Job> Get(const JobId& id) const;
  // Newest first. The key is Job::number.
  absl::StatusOr<catalog::Page<Job, int64_t>> List(const catalog::JobStore::Filter& filter,
                                                   const catalog::ListOptions<int64_t>& options) const;

  // `listener` is called after every change of the job, progress included (unthrottled). Subscribe first, then Get.
  [[nodiscard]] Subscription Subscribe(const JobId& id, Listener listener);
  // `listener` is called after every change of any job's state, submission included, progress not.
  [[nodiscard]] Subscription SubscribeStates(Listener listener);
  // Blocks until the job's revision is above `revision`, it has ended, or `timeout` passed; returns the job as it is
  // then.
  absl::StatusOr<Job> WaitForChange(const JobId& id, int64_t revision, absl::Duration timeout) const
      ABSL_LOCKS_EXCLUDED(mu_);

  // `listener` is called once for each job that ends, after that is durable, and with a lock held: it must neither block nor
  // call the engine. Set it once, before other threads use the engine.
  void SetEndListener(std::function<void(const Job&)> listener) { on_end_ = std::move(listener); }

  // Forgets request ids that kRequestsKeptFor no longer covers. Call now and then.
  absl::Status PruneRequests();

 private:
  // What is newer than the row of a job that a worker is busy with.
  struct Live {
    int32_t attempt = 0;
    JobState state = JobState::kDispatching;
    catalog::JobPhase phase = catalog::JobPhase::kNone;
    catalog::JobProgress progress;
    int64_t revision = 0;
    absl::Duration stored_at;  // monotonic time of the last write
  };

  // `is_new` is set when something is written.
  absl::StatusOr<Job> Insert(catalog::Stores& stores, const Submission& submission, absl::Time now, bool& is_new);

  // Change, but for the announcement: that happens with no lock held.
  absl::StatusOr<Applied> Change(const JobId& id, Attempt attempt, JobEvent event, const EventFacts& facts)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<Applied> ChangeRow(catalog::Stores& stores, const JobId& id, Attempt attempt, JobEvent event,
                                    const EventFacts& facts) const ABSL_LOCKS_EXCLUDED(mu_);
  absl::StatusOr<Applied> ApplyProgress(const JobId& id, Attempt attempt, const EventFacts& facts)
      ABSL_LOCKS_EXCLUDED(change_mu_, mu_);
  // Takes progress into memory. False: not taken, the row must be written instead.
  bool TakeProgress(Live& live, const EventFacts& facts) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mu_);

  // Shows what is newer in memory than in the row.
  static void Overlay(Job& job, const std::optional<Live>& live);
  std::optional<Live> LiveOf(const JobId& id) const ABSL_LOCKS_EXCLUDED(mu_);
  void UpdateLive(const Job& job) ABSL_LOCKS_EXCLUDED(mu_);
  void Announce(const JobId& id, bool state_changed) ABSL_LOCKS_EXCLUDED(mu_);

  int64_t NextRevision(int64_t current) const;

  catalog::Catalog& catalog_;
  base::Clock& clock_;
  base::Random& random_;
  std::function<void(const Job&)> on_end_;
  Notifier notifier_;  // topics: a job's id; kStatesTopic

  // Makes changes one at a time, so that live_ follows the rows in their order. Held across the commit's sync: the next
  // change couldn't be written meanwhile anyway. Taken first.
  absl::Mutex change_mu_;
  // live_ has an entry exactly for jobs in DISPATCHING, RUNNING and COMMITTING, as of the last commit. Held for moments
  // only, never while calling the catalog or a listener.
  mutable absl::Mutex mu_;
  absl::flat_hash_map<JobId, Live> live_ ABSL_GUARDED_BY(mu_);
  int64_t changes_ ABSL_GUARDED_BY(mu_) = 0;  // counts every change, for WaitForChange
};

}  // namespace umbra::jobs

#endif  // UMBRA_SERVER_JOBS_JOB_ENGINE_H_
