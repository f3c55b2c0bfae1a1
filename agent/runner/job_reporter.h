// What the daemon hears of one assignment while it runs: phase, figures, warnings.
#ifndef UMBRA_AGENT_RUNNER_JOB_REPORTER_H_
#define UMBRA_AGENT_RUNNER_JOB_REPORTER_H_

#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "agent/link/outbox.h"
#include "agent/transfer/progress_meter.h"
#include "storage/base/clock.h"
#include "storage/base/threads.h"
#include "umbra/agent/v1/agent_link.pb.h"
#include "umbra/v1/job.pb.h"

namespace umbra::runner {

// Thread-safe. Its own thread sends the figures four times a second, as long as they change.
class JobReporter {
 public:
  JobReporter(link::Outbox& outbox, base::Clock& clock, const agent::v1::AssignmentId& id,
              base::Threads& threads = base::SystemThreads());
  // Sends nothing more when it returns.
  ~JobReporter();

  transfer::ProgressMeter& meter() { return meter_; }

  void SetPhase(v1::Job::Phase phase);
  void Warn(const std::string& reason, const std::string& message);
  void Warn(const absl::Status& status);
  // For the job's events.
  void Note(const std::string& text);

  // The figures as they are now.
  v1::JobProgress Figures();

 private:
  void Run();
  void Send();

  link::Outbox& outbox_;
  base::Clock& clock_;
  const agent::v1::AssignmentId id_;
  transfer::ProgressMeter meter_;

  absl::Mutex mu_;
  v1::Job::Phase phase_ ABSL_GUARDED_BY(mu_) = v1::Job::PHASE_GATHERING;
  bool stop_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<base::Thread> thread_;
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_JOB_REPORTER_H_
