// Runs policies when they are due. One thread on the injected clock.
//
// Exactly once, whenever the daemon dies: a run's jobs are submitted under request ids that follow from policy, due
// time and member, so that a repetition finds the jobs of the first time; then the due time is written down as done,
// with one event, in one transaction. A daemon that dies in between repeats the run, which makes nothing twice. Due
// times that passed while it was down are one run (calendar::Plan).
#ifndef UMBRA_SERVER_POLICIES_SCHEDULER_H_
#define UMBRA_SERVER_POLICIES_SCHEDULER_H_

#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/jobs/job_engine.h"
#include "server/policies/policy_set.h"
#include "storage/base/clock.h"
#include "storage/base/ticker.h"
#include "storage/catalog/catalog.h"

namespace umbra::policies {

// A due time is looked for at least this often: the clock may have been set, the machine may have slept.
inline constexpr absl::Duration kLookAgain = absl::Seconds(20);
// A run that begins later than this was missed, for policies that skip those.
inline constexpr absl::Duration kMissedAfter = absl::Minutes(10);
// A "done" further ahead than this comes from a clock that was wrong: it is taken back.
inline constexpr absl::Duration kClockWrongBy = absl::Hours(24);

// Thread-safe. What it is given outlives it.
class Scheduler {
 public:
  Scheduler(catalog::Catalog& catalog, jobs::JobEngine& engine, base::Clock& clock,
            base::Threads& threads = base::SystemThreads())
      : catalog_(catalog),
        engine_(engine),
        clock_(clock),
        ticker_(clock, threads, [this] { return TickOrTryAgain(); }) {}
  ~Scheduler() { Stop(); }
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Begins to run what is due, by a thread of its own.
  void Start() { ticker_.Start(); }
  void Stop() { ticker_.Stop(); }
  // Something about policies changed.
  void Wake() { ticker_.Wake(); }

  // Runs what is due now; returns how long nothing more will be, at most kLookAgain. For the thread, and for tests.
  absl::StatusOr<absl::Duration> Tick() ABSL_LOCKS_EXCLUDED(tick_mu_);

  // Every selected member now, whatever schedules and windows say. Members of which a job of the policy waits already
  // are left to it. A repeated `request_id` gives the jobs of the first time. NOT_FOUND / POLICY_NOT_FOUND;
  // INVALID_ARGUMENT / INVALID_REQUEST: the id is too long.
  absl::StatusOr<std::vector<catalog::JobId>> RunNow(const catalog::PolicyId& id, const std::string& request_id);

 private:
  // What one run is asked to submit.
  struct Order {
    std::string ticket;                // the same for a repetition of the run
    std::optional<calendar::Run> run;  // absent: asked for by a person
  };
  struct Outcome {
    std::vector<catalog::JobId> jobs;
    int64_t refused = 0;
    int64_t waiting = 0;  // members that a waiting job serves
  };

  absl::Duration TickOrTryAgain() ABSL_LOCKS_EXCLUDED(tick_mu_);
  absl::Status TickPolicy(const PolicySet& set, const CompiledPolicy& policy, absl::Time now);
  absl::StatusOr<Outcome> SubmitAll(const PolicySet& set, const CompiledPolicy& policy, const Order& order);
  absl::StatusOr<std::vector<jobs::Submission>> Submissions(const PolicySet& set, const CompiledPolicy& policy,
                                                            const Order& order, Outcome& outcome);
  absl::Status Record(const CompiledPolicy& policy, const calendar::Run& run, const std::string& message,
                      catalog::Severity severity, bool was_run);
  // How long until the policy's next run.
  absl::Duration WaitFor(const CompiledPolicy& policy, absl::Time now) const;

  catalog::Catalog& catalog_;
  jobs::JobEngine& engine_;
  base::Clock& clock_;

  absl::Mutex tick_mu_;  // one tick at a time; held while jobs are submitted
  base::Ticker ticker_;
};

}  // namespace umbra::policies

#endif  // UMBRA_SERVER_POLICIES_SCHEDULER_H_
