// Owns every change of a job. A change is one event: the table of job_state.h is asked, row and event are written in
// one transaction, and only then is anybody told.
//
// Facts of a job are the catalog's row, with two exceptions. Progress comes several times a second and is kept in
// memory, and written at most once a second (kProgressStoreInterval). Get and List show the newest of both. After a
// crash a row's figures may be a second old; its state never is. And why a queued job waits is told by the queue
// (job_queue.h), which is in memory; the row has it only where it was reported as an event.
#ifndef UMBRA_SERVER_JOBS_JOB_ENGINE_H_
#define UMBRA_SERVER_JOBS_JOB_ENGINE_H_

#include <cstdint>
#include <deque>
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
#include "server/jobs/job_queue.h"
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
inline constexpr int32_t kWeightMax = 100;
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
  bool error_stays = false;  // kAgentFailed: who failed says that another attempt wouldn't do better (retry.h)
  std::vector<catalog::RecoveryPoint> recovery_points;  // kRepoCommitted: all of the job's
  absl::Duration freeze_duration;                       // kAgentDone, kAgentFailed, kAgentCancelled
  absl::Duration downtime;                              // the same
  std::vector<catalog::JobWriter> writers;              // the same
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

// What a job at work did until now.
struct PhaseSpent {
  catalog::JobKind kind;
  catalog::JobPhase phase;
  absl::Duration duration;
};

struct Applied {
  Job job;       // as it is now
  bool changed;  // false: the event was late or a repetition, nothing changed
  bool moved = false;  // the state is another one
};

// One of several events that are applied together.
struct Change {
  JobId id;
  Attempt attempt;
  JobEvent event;
  EventFacts facts = {};
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

  // The same for many, in this order, in one transaction and one sync: the answer to each in its place. Of kProgress
  // the job in the answer may have nothing but its id. An error of the call as a whole: the catalog failed, nothing
  // changed.
  absl::StatusOr<std::vector<absl::StatusOr<Applied>>> ApplyAll(const std::vector<Change>& changes);

  // A person wants it to stop: Apply(kCancelRequested) on whichever attempt is current.
  absl::StatusOr<Job> Cancel(const JobId& id);

  // Adds a warning to a job that hasn't ended; later ones, of older attempts, and those beyond kJobWarningsMax are
  // dropped.
  absl::Status AddWarning(const JobId& id, Attempt attempt, const catalog::JobMessage& warning);

  // Appends what happened during an attempt to the job's events (JOB_NOTE); of older attempts and ended jobs it is
  // dropped.
  absl::Status AddNote(const JobId& id, Attempt attempt, const std::string& text);

  // ---- Queue ----

  void SetLimits(const QueueLimits& limits) ABSL_LOCKS_EXCLUDED(mu_);
  // Whether a host takes work: an empty `reason` says so, else it is why its jobs wait, such as HOST_DRAINED. Hosts
  // that nobody spoke of are HOST_OFFLINE.
  void SetHost(const catalog::HostId& host, const std::string& reason) ABSL_LOCKS_EXCLUDED(mu_);
  // Maintenance begins or ends. The row of the host is the caller's, who writes it first; a restart reads it.
  void SetDrained(const catalog::HostId& host, bool drained) ABSL_LOCKS_EXCLUDED(mu_);
  // Assigns (kAssign) at most `count_max` jobs of agents, in the order of the queue and as far as its limits allow, in
  // one transaction. Fewer: no other may begin now.
  absl::StatusOr<std::vector<Job>> AssignNext(size_t count_max);
  // The daemon's own job of this kind that is next; assign it with Apply.
  absl::StatusOr<std::optional<JobId>> NextOwn(catalog::JobKind kind);
  // What time brings: ends jobs whose backup window is over (BACKUP_WINDOW_MISSED), and says once of each job that is
  // due and waits for a host which takes no work for `report_after` that it does so (event JOB_WAITING). Call it every
  // second or so, and at NextTime.
  absl::Status Tick(absl::Duration report_after);
  // When Tick or AssignNext have something to do although nothing happened; InfiniteFuture: not foreseen.
  absl::Time NextTime() const ABSL_LOCKS_EXCLUDED(mu_);

  // Jobs that have not ended, in order of submission.
  absl::StatusOr<std::vector<ActiveJob>> Active() const;
  // Those that a worker may be busy with, and those of them that shall stop.
  absl::StatusOr<std::vector<ActiveJob>> Working();
  absl::StatusOr<std::vector<ActiveJob>> Cancelling();
  // Of a host: how many its agent works on, and all that have not ended.
  absl::StatusOr<int> WorkingOn(const catalog::HostId& host);
  absl::StatusOr<std::vector<JobId>> JobsOf(const catalog::HostId& host);
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

  // The same each time that a job leaves a phase, by whatever way. After a restart of the daemon a phase counts from then.
  void SetPhaseListener(std::function<void(const PhaseSpent&)> listener) { on_phase_ = std::move(listener); }

  // Forgets request ids that kRequestsKeptFor no longer covers, and jobs that ended longer than `jobs_kept_for` ago,
  // but for those that a recovery point in the catalog came from. Call now and then.
  absl::Status Prune(absl::Duration jobs_kept_for);

 private:
  // What is newer than the row of a job that a worker is busy with.
  struct Live {
    int32_t attempt = 0;
    JobState state = JobState::kDispatching;
    catalog::JobPhase phase = catalog::JobPhase::kNone;
    catalog::JobProgress progress;
    int64_t revision = 0;
    absl::Duration stored_at;    // monotonic time of the last write
    absl::Duration phase_since;  // the same of the phase's beginning
  };

  // `is_new` is set when something is written.
  absl::StatusOr<Job> Insert(catalog::Stores& stores, const Submission& submission, size_t queued, absl::Time now,
                             bool& is_new);

  // What a queued job was last said to wait for.
  struct ToldWait {
    std::string reason;
    int64_t revision = 0;
  };

  // Reads the queue from the catalog, once.
  absl::Status Load() ABSL_LOCKS_EXCLUDED(change_mu_, mu_);
  absl::Status LoadLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_) ABSL_LOCKS_EXCLUDED(mu_);
  using Answers = absl::StatusOr<std::vector<absl::StatusOr<Applied>>>;
  // A call of ApplyAll that waits for its turn.
  struct Waiting {
    const std::vector<Change>& changes;
    Answers answers;
    bool done = false;  // guarded by change_mu_
  };

  // Writes what all waiting calls want, as far as that is a reasonable amount, in one transaction.
  void ServeWaiting() ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_) ABSL_LOCKS_EXCLUDED(mu_, waiting_mu_);
  std::vector<Waiting*> TakeWaiting() ABSL_LOCKS_EXCLUDED(waiting_mu_);
  // ApplyAll, but for the announcement: that happens with no lock held.
  Answers Write(const std::vector<const Change*>& changes) ABSL_EXCLUSIVE_LOCKS_REQUIRED(change_mu_)
      ABSL_LOCKS_EXCLUDED(mu_);
  // `wrote` is set when something was written; an error without is the answer to the change.
  absl::StatusOr<Applied> ChangeRow(catalog::Stores& stores, const Change& change, bool& wrote) const
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status CheckVmsFree(const Job& job) const ABSL_LOCKS_EXCLUDED(mu_);
  void AnnounceAll(const std::vector<absl::StatusOr<Applied>>& applied, const std::vector<Change>& changes)
      ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status EndMissedWindows() ABSL_LOCKS_EXCLUDED(change_mu_, mu_);
  absl::Status ReportWaits(absl::Duration report_after) ABSL_LOCKS_EXCLUDED(change_mu_, mu_);
  void TellWaits() ABSL_LOCKS_EXCLUDED(mu_);
  // The next jobs, as they were; the queue counts them as working from then on.
  std::vector<ActiveJob> TakeNext(size_t count_max) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes progress into memory. False: not taken, the row must be written instead.
  bool TakeProgress(const Change& change) ABSL_LOCKS_EXCLUDED(mu_);

  // Shows what is newer in memory than in the row.
  static void Overlay(Job& job, const std::optional<Live>& live);
  // Shows why a queued job waits.
  void ShowWait(Job& job) const ABSL_LOCKS_EXCLUDED(mu_);
  std::optional<Live> LiveOf(const JobId& id) const ABSL_LOCKS_EXCLUDED(mu_);
  void UpdateLive(const Job& job) ABSL_LOCKS_EXCLUDED(mu_);
  // Takes the job as it is into live_ and the queue; the phase that it left, when it left one.
  std::optional<PhaseSpent> TakeLive(const Job& job) ABSL_LOCKS_EXCLUDED(mu_);
  // Tells the watchers of the job; those of states are told once for all changes of a call.
  void Announce(const JobId& id) ABSL_LOCKS_EXCLUDED(mu_);

  int64_t NextRevision(int64_t current) const;

  catalog::Catalog& catalog_;
  base::Clock& clock_;
  base::Random& random_;
  std::function<void(const Job&)> on_end_;
  std::function<void(const PhaseSpent&)> on_phase_;
  Notifier notifier_;  // topics: a job's id; kStatesTopic

  // Makes changes one at a time, so that live_ follows the rows in their order. Held across the commit's sync: the next
  // change couldn't be written meanwhile anyway. Taken first.
  absl::Mutex change_mu_;
  // live_ has an entry exactly for jobs in DISPATCHING, RUNNING and COMMITTING, as of the last commit. Held for moments
  // only, never while calling the catalog or a listener.
  mutable absl::Mutex mu_;
  absl::flat_hash_map<JobId, Live> live_ ABSL_GUARDED_BY(mu_);
  JobQueue queue_ ABSL_GUARDED_BY(mu_);  // every job that has not ended, as of the last commit
  mutable absl::flat_hash_map<JobId, ToldWait> told_waits_ ABSL_GUARDED_BY(mu_);
  bool loaded_ ABSL_GUARDED_BY(change_mu_) = false;
  // Who waits for change_mu_ to have something written: whoever gets it next writes for all of them. Taken last.
  absl::Mutex waiting_mu_;
  std::deque<Waiting*> waiting_ ABSL_GUARDED_BY(waiting_mu_);
  int64_t changes_ ABSL_GUARDED_BY(mu_) = 0;  // counts every change, for WaitForChange
};

}  // namespace umbra::jobs

#endif  // UMBRA_SERVER_JOBS_JOB_ENGINE_H_
