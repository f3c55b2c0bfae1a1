#include "server/maintenance/job_worker.h"

#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {
namespace {

using catalog::JobState;
using jobs::EventFacts;
using jobs::JobEvent;

// The catalog couldn't be asked (disk full, ...): look again then.
constexpr absl::Duration kRetryInterval = absl::Seconds(10);

}  // namespace

RunningJob::RunningJob(jobs::JobEngine& engine, base::Clock& clock, const catalog::Job& job,
                       const std::stop_token& stop)
    : engine_(engine),
      clock_(clock),
      job_(job),
      stop_(stop),
      start_(clock.Monotonic()),
      on_stop_(stop, [this] { cancel_.request_stop(); }),
      subscription_(engine.Subscribe(job.id, [this] { CancelUnlessRunning(); })) {
  CancelUnlessRunning();  // it may have been cancelled before
}

void RunningJob::CancelUnlessRunning() {
  const auto now = engine_.Get(job_.id);
  if (now.ok() && now->state != JobState::kRunning) cancel_.request_stop();
}

void RunningJob::Progress(uint64_t done_bytes, uint64_t total_bytes, uint64_t read_bytes) {
  catalog::JobProgress figures;
  figures.done_bytes = static_cast<int64_t>(done_bytes);
  figures.total_bytes = static_cast<int64_t>(total_bytes);
  figures.read_bytes = static_cast<int64_t>(read_bytes);
  const absl::Duration elapsed = clock_.Monotonic() - start_;
  if (elapsed > absl::ZeroDuration() && done_bytes > 0) {
    const double rate = static_cast<double>(done_bytes) / absl::ToDoubleSeconds(elapsed);
    figures.rate_bytes_per_second = static_cast<int64_t>(rate);
    figures.eta = absl::Seconds(static_cast<double>(total_bytes - done_bytes) / rate);
  }
  const EventFacts facts{.phase = catalog::JobPhase::kTransferring, .progress = std::move(figures)};
  const auto applied = engine_.Apply(job_.id, job_.attempt, JobEvent::kProgress, facts);
  if (!applied.ok()) {
    base::Log("maintenance")->warn("progress not recorded job={} error={}", job_.id, base::Describe(applied.status()));
  }
}

absl::Status RunningJob::Warn(const catalog::JobMessage& warning) {
  return engine_.AddWarning(job_.id, job_.attempt, warning);
}

absl::Status RunningJob::End(JobEvent event, const EventFacts& facts) {
  return engine_.Apply(job_.id, job_.attempt, event, facts).status();
}

absl::Status RunningJob::EndWithError(const absl::Status& why) {
  if (absl::IsCancelled(why)) return End(JobEvent::kAgentCancelled);
  return End(JobEvent::kAgentFailed, {.error = {base::ReasonOf(why), base::MessageOf(why)}});
}

JobWorker::JobWorker(jobs::JobEngine& engine, base::Clock& clock, Work work)
    : engine_(engine),
      clock_(clock),
      work_(std::move(work)),
      subscription_(engine.SubscribeStates([this] { Wake(); })),
      thread_([this](std::stop_token stop) { Loop(std::move(stop)); }) {}

JobWorker::~JobWorker() {
  subscription_.Cancel();
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.request_stop();
}

void JobWorker::Wake() {
  absl::MutexLock lock(&mu_);
  woken_ = true;
}

bool JobWorker::WaitForWork(const std::stop_token& stop) {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return woken_ || stopping_; };
  absl::MutexLock lock(&mu_);
  clock_.AwaitFor(mu_, absl::Condition(&ready), kRetryInterval);
  woken_ = false;
  return !stopping_ && !stop.stop_requested();
}

void JobWorker::Loop(std::stop_token stop) {
  while (WaitForWork(stop)) {
    work_.look_around();
    const auto next_own = [this] { return engine_.NextOwn(work_.kind); };
    for (auto next = next_own(); next.ok() && next->has_value() && !stop.stop_requested(); next = next_own()) {
      const catalog::JobId id = **next;
      if (const absl::Status ran = Run(id, stop); !ran.ok()) {
        base::Log("maintenance")->error("end of a job not recorded job={} error={}", id, base::Describe(ran));
        break;  // the catalog is in trouble: try again later
      }
    }
  }
}

absl::Status JobWorker::Run(const catalog::JobId& id, const std::stop_token& stop) {
  const auto assigned = engine_.Apply(id, jobs::kCurrentAttempt, JobEvent::kAssign);
  if (absl::IsFailedPrecondition(assigned.status())) return absl::OkStatus();  // cancelled meanwhile
  RETURN_IF_ERROR(assigned.status());
  RETURN_IF_ERROR(engine_.Apply(id, assigned->job.attempt, JobEvent::kAccept).status());
  RunningJob running(engine_, clock_, assigned->job, stop);
  return work_.run(running);
}

}  // namespace umbra::maintenance
