#include "server/maintenance/verify_runner.h"

#include <algorithm>
#include <set>
#include <string>
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
// A job's damage list tells of every chunk; the event log only has to make somebody look.
constexpr size_t kDamageEventsMax = 20;

EventFacts ProgressFacts(const repo::VerifyProgress& progress, absl::Duration elapsed) {
  catalog::JobProgress figures;
  figures.done_bytes = static_cast<int64_t>(progress.done_bytes);
  figures.total_bytes = static_cast<int64_t>(progress.total_bytes);
  figures.read_bytes = figures.done_bytes;
  if (elapsed > absl::ZeroDuration() && progress.done_bytes > 0) {
    const double rate = static_cast<double>(progress.done_bytes) / absl::ToDoubleSeconds(elapsed);
    figures.rate_bytes_per_second = static_cast<int64_t>(rate);
    figures.eta = absl::Seconds(static_cast<double>(progress.total_bytes - progress.done_bytes) / rate);
  }
  return {.phase = catalog::JobPhase::kTransferring, .progress = std::move(figures)};
}

EventFacts FailureFacts(const repo::VerifyReport& report) {
  EventFacts facts;
  for (const repo::ChunkDamage& damage : report.damaged) {
    facts.damage.push_back({damage.chunk_id, catalog::RecoveryPointId(damage.recovery_point_id), damage.disk,
                            static_cast<int64_t>(damage.offset_bytes), damage.message});
  }
  if (report.damaged.empty()) {
    facts.error = {"MANIFEST_DAMAGED",
                   fmt::format("{} files are damaged; first: {}", report.problems.size(), report.problems.front())};
  } else {
    facts.error = {report.damaged.front().reason,
                   fmt::format("{} damaged places; first: {}", report.damaged_count, report.damaged.front().message)};
  }
  return facts;
}

}  // namespace

VerifyRunner::VerifyRunner(jobs::JobEngine& engine, jobs::EventHub& events, const RepositorySet& repositories,
                           base::Clock& clock)
    : engine_(engine),
      events_(events),
      repositories_(repositories),
      clock_(clock),
      subscription_(engine.SubscribeStates([this] { Wake(); })),
      thread_([this](std::stop_token stop) { Loop(std::move(stop)); }) {}

VerifyRunner::~VerifyRunner() {
  subscription_.Cancel();
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.request_stop();
}

void VerifyRunner::Wake() {
  absl::MutexLock lock(&mu_);
  woken_ = true;
}

bool VerifyRunner::WaitForWork(const std::stop_token& stop) {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return woken_ || stopping_; };
  absl::MutexLock lock(&mu_);
  clock_.AwaitFor(mu_, absl::Condition(&ready), kRetryInterval);
  woken_ = false;
  return !stopping_ && !stop.stop_requested();
}

void VerifyRunner::Loop(std::stop_token stop) {
  while (WaitForWork(stop)) {
    for (auto next = NextQueued(); next.ok() && next->has_value() && !stop.stop_requested(); next = NextQueued()) {
      const catalog::JobId id = **next;
      if (const absl::Status ran = Run(id, stop); !ran.ok()) {
        base::Log("maintenance")->error("verification not recorded job={} error={}", id, base::Describe(ran));
        break;  // the catalog is in trouble: try again later
      }
    }
  }
}

absl::StatusOr<std::optional<catalog::JobId>> VerifyRunner::NextQueued() {
  ASSIGN_OR_RETURN(const auto active, engine_.Active());
  for (const catalog::ActiveJob& job : active) {
    if (job.kind == catalog::JobKind::kVerify && job.state == JobState::kQueued) return job.id;
  }
  return std::nullopt;
}

absl::Status VerifyRunner::Run(const catalog::JobId& id, const std::stop_token& stop) {
  const auto assigned = engine_.Apply(id, jobs::kCurrentAttempt, JobEvent::kAssign);
  if (absl::IsFailedPrecondition(assigned.status())) return absl::OkStatus();  // cancelled meanwhile
  RETURN_IF_ERROR(assigned.status());
  const catalog::Job& job = assigned->job;
  RETURN_IF_ERROR(engine_.Apply(id, job.attempt, JobEvent::kAccept).status());
  const absl::StatusOr<repo::VerifyReport> report = Verify(job, stop);
  if (stop.stop_requested()) return absl::OkStatus();
  return Finish(job, report);
}

absl::StatusOr<repo::VerifyReport> VerifyRunner::Verify(const catalog::Job& job, const std::stop_token& stop) {
  const auto& spec = std::get<catalog::VerifySpec>(job.spec);
  ASSIGN_OR_RETURN(const OpenRepository* target, repositories_.Find(spec.repository));

  std::stop_source cancel;  // asked by a stopping daemon, or by a person who cancels the job
  const std::stop_callback on_stop(stop, [&cancel] { cancel.request_stop(); });
  const auto look = [&] {
    const auto now = engine_.Get(job.id);
    if (now.ok() && now->state != JobState::kRunning) cancel.request_stop();
  };
  const jobs::Subscription subscription = engine_.Subscribe(job.id, look);
  look();

  const absl::Duration start = clock_.Monotonic();
  const auto progress = [&](const repo::VerifyProgress& done) {
    const auto applied =
        engine_.Apply(job.id, job.attempt, JobEvent::kProgress, ProgressFacts(done, clock_.Monotonic() - start));
    if (!applied.ok())
      base::Log("maintenance")->warn("progress not recorded job={} error={}", job.id, base::Describe(applied.status()));
  };
  return target->repository->Verify({spec.recovery_point.value}, progress, cancel.get_token());
}

absl::Status VerifyRunner::Finish(const catalog::Job& job, const absl::StatusOr<repo::VerifyReport>& report) {
  const auto apply = [&](JobEvent event, const EventFacts& facts) {
    return engine_.Apply(job.id, job.attempt, event, facts).status();
  };
  if (absl::IsCancelled(report.status())) return apply(JobEvent::kAgentCancelled, {});
  if (!report.ok()) {
    return apply(JobEvent::kAgentFailed,
                 {.error = {base::ReasonOf(report.status()), base::MessageOf(report.status())}});
  }
  if (report->ok()) return apply(JobEvent::kAgentDone, {});
  for (const std::string& problem : report->problems) {
    RETURN_IF_ERROR(engine_.AddWarning(job.id, job.attempt, {"MANIFEST_DAMAGED", problem}));
  }
  RETURN_IF_ERROR(apply(JobEvent::kAgentFailed, FailureFacts(*report)));
  TellDamage(job, *report);
  return absl::OkStatus();
}

void VerifyRunner::TellDamage(const catalog::Job& job, const repo::VerifyReport& report) {
  std::set<std::string> told;
  for (const repo::ChunkDamage& damage : report.damaged) {
    if (told.size() >= kDamageEventsMax || !told.insert(damage.recovery_point_id).second) continue;
    catalog::Event event;
    event.type = damage.reason;
    event.resource = damage.recovery_point_id.empty() ? fmt::format("jobs/{}", job.id)
                                                      : fmt::format("recoveryPoints/{}", damage.recovery_point_id);
    event.severity = catalog::Severity::kError;
    event.message = damage.message;
    if (const absl::Status told_of = events_.Append(event); !told_of.ok()) {
      base::Log("maintenance")->error("damage event not written job={} error={}", job.id, base::Describe(told_of));
    }
  }
  base::Log("maintenance")
      ->error("damage found job={} places={} problems={}", job.id, report.damaged_count, report.problems.size());
}

}  // namespace umbra::maintenance
