#include "server/maintenance/prune_runner.h"

#include <algorithm>
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

EventFacts ProgressFacts(const repo::PruneProgress& progress, absl::Duration elapsed) {
  catalog::JobProgress figures;
  figures.done_bytes = static_cast<int64_t>(progress.done_bytes);
  figures.total_bytes = static_cast<int64_t>(progress.total_bytes);
  if (elapsed > absl::ZeroDuration() && progress.done_bytes > 0) {
    const double rate = static_cast<double>(progress.done_bytes) / absl::ToDoubleSeconds(elapsed);
    figures.rate_bytes_per_second = static_cast<int64_t>(rate);
    figures.eta = absl::Seconds(static_cast<double>(progress.total_bytes - progress.done_bytes) / rate);
  }
  return {.phase = catalog::JobPhase::kTransferring, .progress = std::move(figures)};
}

catalog::PruneResult ResultOf(const repo::PruneReport& report) {
  return {.deleted_points = static_cast<int64_t>(report.deleted_points.size()),
          .deleted_packs = static_cast<int64_t>(report.deleted_packs),
          .freed_bytes = static_cast<int64_t>(report.freed_bytes),
          .copied_bytes = static_cast<int64_t>(report.copied_bytes),
          .waiting_bytes = static_cast<int64_t>(report.waiting_bytes),
          .needed_bytes = static_cast<int64_t>(report.needed_bytes)};
}

}  // namespace

PruneRunner::PruneRunner(catalog::Catalog& catalog, jobs::JobEngine& engine, jobs::EventHub& events,
                         const RepositorySet& repositories, base::Clock& clock, const PruneSchedule& schedule)
    : catalog_(catalog),
      engine_(engine),
      events_(events),
      repositories_(repositories),
      clock_(clock),
      schedule_(schedule),
      subscription_(engine.SubscribeStates([this] { Wake(); })),
      thread_([this](std::stop_token stop) { Loop(std::move(stop)); }) {}

PruneRunner::~PruneRunner() {
  subscription_.Cancel();
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.request_stop();
}

void PruneRunner::Wake() {
  absl::MutexLock lock(&mu_);
  woken_ = true;
}

bool PruneRunner::WaitForWork(const std::stop_token& stop) {
  const auto ready = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return woken_ || stopping_; };
  absl::MutexLock lock(&mu_);
  clock_.AwaitFor(mu_, absl::Condition(&ready), kRetryInterval);
  woken_ = false;
  return !stopping_ && !stop.stop_requested();
}

void PruneRunner::Loop(std::stop_token stop) {
  while (WaitForWork(stop)) {
    if (clock_.Monotonic() - maintained_at_ >= kMaintainInterval) {
      maintained_at_ = clock_.Monotonic();
      Maintain();
    }
    for (auto next = NextQueued(); next.ok() && next->has_value() && !stop.stop_requested(); next = NextQueued()) {
      const catalog::JobId id = **next;
      if (const absl::Status ran = Run(id, stop); !ran.ok()) {
        base::Log("maintenance")->error("prune not recorded job={} error={}", id, base::Describe(ran));
        break;  // the catalog is in trouble: try again later
      }
    }
  }
}

void PruneRunner::Maintain() {
  for (const OpenRepository& repository : repositories_.All()) {
    if (const absl::Status done = repository.repository->Maintain(schedule_.options); !done.ok()) {
      base::Log("maintenance")
          ->warn("repository not maintained repository={} error={}", repository.id, base::Describe(done));
    }
    TellOfClock(repository);
  }
  if (const absl::Status submitted = SubmitDue(); !submitted.ok()) {
    base::Log("maintenance")->warn("prune not scheduled, tried again later error={}", base::Describe(submitted));
  }
}

void PruneRunner::TellOfClock(const OpenRepository& repository) {
  const absl::Duration ahead = repository.repository->ClockAhead();
  if (ahead == absl::ZeroDuration()) {
    clock_told_.erase(repository.id);
    return;
  }
  if (!clock_told_.insert(repository.id).second) return;
  catalog::Event event;
  event.type = "CLOCK_JUMPED";
  event.resource = fmt::format("repositories/{}", repository.id);
  event.severity = catalog::Severity::kWarning;
  event.message = fmt::format(
      "the clock is {} ahead of the time that the repository has seen pass; removed recovery points wait longer, until "
      "the clock is "
      "confirmed: umbra repository confirm-clock {}",
      absl::FormatDuration(absl::Trunc(ahead, absl::Minutes(1))), repository.id);
  if (const absl::Status told = events_.Append(event); !told.ok()) {
    base::Log("maintenance")->error("event not written type=CLOCK_JUMPED error={}", base::Describe(told));
    clock_told_.erase(repository.id);
  }
}

absl::Status PruneRunner::SubmitDue() {
  if (schedule_.every == absl::ZeroDuration()) return absl::OkStatus();
  for (const OpenRepository& repository : repositories_.All()) {
    ASSIGN_OR_RETURN(const bool due, IsDue(repository));
    if (due) RETURN_IF_ERROR(engine_.Submit(catalog::PruneSpec{.repository = repository.id}).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<bool> PruneRunner::IsDue(const OpenRepository& repository) {
  absl::Time last = repository.repository->info().create_time;
  catalog::ListOptions<int64_t> options;
  while (true) {
    ASSIGN_OR_RETURN(const auto page, engine_.List({.kind = catalog::JobKind::kPrune}, options));
    for (const catalog::Job& job : page.items) {
      const auto& spec = std::get<catalog::PruneSpec>(job.spec);
      if (spec.repository != repository.id || spec.dry_run) continue;
      if (!catalog::IsTerminal(job.state)) return false;
      // Newest first. One that failed is tried again at the next due time only: the reason is in its job.
      return clock_.Now() - std::max(last, job.create_time) >= schedule_.every;
    }
    if (!page.next_key.has_value()) break;
    options.after_key = page.next_key;
  }
  return clock_.Now() - last >= schedule_.every;
}

absl::StatusOr<std::optional<catalog::JobId>> PruneRunner::NextQueued() {
  ASSIGN_OR_RETURN(const auto active, engine_.Active());
  for (const catalog::ActiveJob& job : active) {
    if (job.kind == catalog::JobKind::kPrune && job.state == JobState::kQueued) return job.id;
  }
  return std::nullopt;
}

absl::Status PruneRunner::Run(const catalog::JobId& id, const std::stop_token& stop) {
  const auto assigned = engine_.Apply(id, jobs::kCurrentAttempt, JobEvent::kAssign);
  if (absl::IsFailedPrecondition(assigned.status())) return absl::OkStatus();  // cancelled meanwhile
  RETURN_IF_ERROR(assigned.status());
  const catalog::Job& job = assigned->job;
  RETURN_IF_ERROR(engine_.Apply(id, job.attempt, JobEvent::kAccept).status());
  const absl::StatusOr<repo::PruneReport> report = Prune(job, stop);
  if (stop.stop_requested()) return absl::OkStatus();
  return Finish(job, report);
}

absl::StatusOr<repo::PruneReport> PruneRunner::Prune(const catalog::Job& job, const std::stop_token& stop) {
  const auto& spec = std::get<catalog::PruneSpec>(job.spec);
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
  const auto progress = [&](const repo::PruneProgress& done) {
    const auto applied =
        engine_.Apply(job.id, job.attempt, JobEvent::kProgress, ProgressFacts(done, clock_.Monotonic() - start));
    if (!applied.ok()) {
      base::Log("maintenance")->warn("progress not recorded job={} error={}", job.id, base::Describe(applied.status()));
    }
  };
  repo::PruneOptions options = schedule_.options;
  options.dry_run = spec.dry_run;
  return target->repository->Prune(options, progress, cancel.get_token());
}

absl::Status PruneRunner::Finish(const catalog::Job& job, const absl::StatusOr<repo::PruneReport>& report) {
  const auto apply = [&](JobEvent event, const EventFacts& facts) {
    return engine_.Apply(job.id, job.attempt, event, facts).status();
  };
  if (absl::IsCancelled(report.status())) return apply(JobEvent::kAgentCancelled, {});
  if (!report.ok()) {
    return apply(JobEvent::kAgentFailed,
                 {.error = {base::ReasonOf(report.status()), base::MessageOf(report.status())}});
  }
  if (!std::get<catalog::PruneSpec>(job.spec).dry_run) {
    RETURN_IF_ERROR(catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
      for (const std::string& id : report->deleted_points) {
        const absl::Status deleted = stores.recovery_points.Delete(catalog::RecoveryPointId(id));
        if (!absl::IsNotFound(deleted)) RETURN_IF_ERROR(deleted);
      }
      return absl::OkStatus();
    }));
  }
  if (report->clock_jumped) {
    RETURN_IF_ERROR(
        engine_.AddWarning(job.id, job.attempt,
                           {"CLOCK_JUMPED",
                            "the clock is ahead of the time that the repository has seen pass: removed "
                            "recovery points wait until it is confirmed (umbra repository confirm-clock)"}));
  }
  for (const std::string& problem : report->problems) {
    RETURN_IF_ERROR(engine_.AddWarning(job.id, job.attempt, {"CHUNK_DAMAGED", problem}));
  }
  return apply(JobEvent::kAgentDone, {.prune_result = ResultOf(*report)});
}

}  // namespace umbra::maintenance
