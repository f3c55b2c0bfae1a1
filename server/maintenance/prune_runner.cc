#include "server/maintenance/prune_runner.h"

#include <algorithm>
#include <string>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {
namespace {

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
                         const RepositorySet& repositories, base::Clock& clock, const repo::PruneOptions& options)
    : catalog_(catalog),
      events_(events),
      repositories_(repositories),
      clock_(clock),
      options_(options),
      worker_(engine, clock,
              {.kind = catalog::JobKind::kPrune,
               .look_around = [this] { MaintainWhenDue(); },
               .run = [this](RunningJob& running) { return Run(running); }}) {}

void PruneRunner::MaintainWhenDue() {
  if (clock_.Monotonic() - maintained_at_ < kMaintainInterval) return;
  maintained_at_ = clock_.Monotonic();
  for (const OpenRepository& repository : repositories_.All()) {
    if (const absl::Status done = repository.repository->Maintain(options_); !done.ok()) {
      base::Log("maintenance")
          ->warn("repository not maintained repository={} error={}", repository.id, base::Describe(done));
    }
    TellOfClock(repository);
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

absl::Status PruneRunner::Run(RunningJob& running) {
  const auto report = Prune(running);
  if (running.daemon_stops()) return absl::OkStatus();
  if (!report.ok()) return running.EndWithError(report.status());
  if (!std::get<catalog::PruneSpec>(running.job().spec).dry_run) RETURN_IF_ERROR(ForgetDeleted(*report));
  if (report->clock_jumped) {
    RETURN_IF_ERROR(
        running.Warn({"CLOCK_JUMPED",
                      "the clock is ahead of the time that the repository has seen pass: removed "
                      "recovery points wait until it is confirmed (umbra repository confirm-clock)"}));
  }
  for (const std::string& problem : report->problems) RETURN_IF_ERROR(running.Warn({"CHUNK_DAMAGED", problem}));
  return running.End(jobs::JobEvent::kAgentDone, {.prune_result = ResultOf(*report)});
}

absl::StatusOr<repo::PruneReport> PruneRunner::Prune(RunningJob& running) {
  const auto& spec = std::get<catalog::PruneSpec>(running.job().spec);
  ASSIGN_OR_RETURN(const OpenRepository* target, repositories_.Find(spec.repository));
  const auto progress = [&](const repo::PruneProgress& done) {
    running.Progress(done.done_bytes, done.total_bytes, /*read_bytes=*/0);
  };
  repo::PruneOptions options = options_;
  options.dry_run = spec.dry_run;
  return target->repository->Prune(options, progress, running.stop_token());
}

absl::Status PruneRunner::ForgetDeleted(const repo::PruneReport& report) {
  return catalog_.Write([&](catalog::Stores& stores) -> absl::Status {
    for (const std::string& id : report.deleted_points) {
      const absl::Status deleted = stores.recovery_points.Delete(catalog::RecoveryPointId(id));
      if (!absl::IsNotFound(deleted)) RETURN_IF_ERROR(deleted);
    }
    return absl::OkStatus();
  });
}

}  // namespace umbra::maintenance
