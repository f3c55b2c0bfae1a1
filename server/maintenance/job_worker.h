// The daemon's own work on jobs of one kind, such as VERIFY: a thread that takes them as they are queued, one at a
// time.
#ifndef UMBRA_SERVER_MAINTENANCE_JOB_WORKER_H_
#define UMBRA_SERVER_MAINTENANCE_JOB_WORKER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "storage/base/clock.h"

namespace umbra::maintenance {

// A job that is being worked on. The worker's thread only, but for what a callback of `stop_token` does.
class RunningJob {
 public:
  // `stop` is that of the worker. Everything outlives it.
  RunningJob(jobs::JobEngine& engine, base::Clock& clock, const catalog::Job& job, const std::stop_token& stop);

  const catalog::Job& job() const { return job_; }
  // Asked by a stopping daemon, or by a person who cancels the job.
  std::stop_token stop_token() const { return cancel_.get_token(); }
  // The daemon stops: leave the job as it is, the next start ends it (DAEMON_RESTARTED).
  bool daemon_stops() const { return stop_.stop_requested(); }

  // Figures for people, with a rate and the time that is left. Failing to record them is only logged.
  void Progress(uint64_t done_bytes, uint64_t total_bytes, uint64_t read_bytes);

  absl::Status Warn(const catalog::JobMessage& warning);
  // Ends the job.
  absl::Status End(jobs::JobEvent event, const jobs::EventFacts& facts = {});
  // Ends it as cancelled, or as failed with the reason of `why`, which isn't OK.
  absl::Status EndWithError(const absl::Status& why);

 private:
  void CancelUnlessRunning();

  jobs::JobEngine& engine_;
  base::Clock& clock_;
  const catalog::Job& job_;
  const std::stop_token stop_;
  const absl::Duration start_;
  std::stop_source cancel_;
  const std::stop_callback<std::function<void()>> on_stop_;
  const jobs::Subscription subscription_;
};

class JobWorker {
 public:
  struct Work {
    catalog::JobKind kind;
    // Every time the worker looks for jobs: when the state of one changed, and every ten seconds.
    std::function<void()> look_around;
    // Does a job and ends it. An error: its end couldn't be recorded.
    std::function<absl::Status(RunningJob&)> run;
  };

  // What it is given outlives it. Starts to work at once; construct it after RecoverJobs.
  JobWorker(jobs::JobEngine& engine, base::Clock& clock, Work work);
  // Stops the job that runs, by its stop token, and waits for it.
  ~JobWorker();
  JobWorker(const JobWorker&) = delete;
  JobWorker& operator=(const JobWorker&) = delete;

 private:
  void Wake() ABSL_LOCKS_EXCLUDED(mu_);
  void Loop(std::stop_token stop) ABSL_LOCKS_EXCLUDED(mu_);
  bool WaitForWork(const std::stop_token& stop) ABSL_LOCKS_EXCLUDED(mu_);
  absl::Status Run(const catalog::JobId& id, const std::stop_token& stop);

  jobs::JobEngine& engine_;
  base::Clock& clock_;
  const Work work_;

  absl::Mutex mu_;  // a wake-up that comes while the thread works isn't lost
  bool woken_ ABSL_GUARDED_BY(mu_) = true;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  jobs::Subscription subscription_;
  std::jthread thread_;
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_JOB_WORKER_H_
