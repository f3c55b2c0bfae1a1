#include "server/maintenance/verify_runner.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>

#include "server/maintenance/verify_plan.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::maintenance {
namespace {

using jobs::EventFacts;
using jobs::JobEvent;

// A job's damage list tells of every chunk; the event log only has to make somebody look.
constexpr size_t kDamageEventsMax = 20;

EventFacts FailureFacts(const repo::VerifyReport& report) {
  EventFacts facts;
  for (const repo::ChunkDamage& damage : report.damaged) {
    facts.damage.push_back({damage.chunk_id, catalog::RecoveryPointId(damage.recovery_point_id), damage.disk,
                            static_cast<int64_t>(damage.offset_bytes), damage.message,
                            static_cast<int64_t>(damage.length_bytes)});
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

VerifyRunner::VerifyRunner(catalog::Catalog& catalog, jobs::JobEngine& engine, jobs::EventHub& events,
                           const RepositorySet& repositories, base::Clock& clock, absl::Duration verify_within)
    : catalog_(catalog),
      events_(events),
      repositories_(repositories),
      clock_(clock),
      verify_within_(verify_within),
      book_(catalog, events, clock),
      worker_(engine, clock,
              {.kind = catalog::JobKind::kVerify,
               .look_around = [this] { CloseHealed(); },
               .run = [this](RunningJob& running) { return Run(running); }}) {}

absl::Status VerifyRunner::Run(RunningJob& running) {
  const auto report = Verify(running);
  if (running.daemon_stops()) return absl::OkStatus();
  if (!report.ok()) return running.EndWithError(report.status());
  const catalog::Job& job = running.job();
  if (const absl::Status recorded = Record(running, *report); !recorded.ok()) {
    base::Log("maintenance")->error("findings not recorded job={} error={}", job.id, base::Describe(recorded));
  }
  if (report->ok()) return running.End(JobEvent::kAgentDone);
  for (const std::string& problem : report->problems) {
    RETURN_IF_ERROR(running.Warn({"MANIFEST_DAMAGED", problem}));
  }
  RETURN_IF_ERROR(running.End(JobEvent::kAgentFailed, FailureFacts(*report)));
  TellDamage(job, *report);
  return absl::OkStatus();
}

absl::StatusOr<repo::VerifyReport> VerifyRunner::Verify(RunningJob& running) {
  const catalog::Job& job = running.job();
  const auto& spec = std::get<catalog::VerifySpec>(job.spec);
  ASSIGN_OR_RETURN(const OpenRepository* target, repositories_.Find(spec.repository));
  const auto progress = [&](const repo::VerifyProgress& done) {
    running.Progress(done.done_bytes, done.total_bytes, done.done_bytes);
  };
  CheckRecorder recorder(catalog_, clock_, target->id);
  ASSIGN_OR_RETURN(repo::VerifyScope scope, ScopeOf(spec, *target));
  scope.on_pack = [&](const repo::PackCheck& check) { recorder.Add(check); };
  scope.on_point = [&](const repo::PointCheck& check) { recorder.Add(check); };
  auto report = target->repository->Verify(scope, progress, running.stop_token());
  if (const absl::Status flushed = recorder.Flush(); !flushed.ok()) {
    base::Log("maintenance")->error("results not recorded job={} error={}", job.id, base::Describe(flushed));
  }
  return report;
}

absl::StatusOr<repo::VerifyScope> VerifyRunner::ScopeOf(const catalog::VerifySpec& spec,
                                                        const OpenRepository& repository) {
  repo::VerifyScope scope;
  scope.recovery_point_id = spec.recovery_point.value;
  if (spec.level != catalog::VerifyLevel::kUnspecified) scope.level = static_cast<repo::VerifyLevel>(spec.level);
  if (spec.time_budget > absl::ZeroDuration()) scope.time_budget = spec.time_budget;
  if (spec.byte_budget > 0) scope.byte_budget = static_cast<uint64_t>(spec.byte_budget);
  if (!spec.recovery_point.empty()) return scope;
  if (scope.level != repo::VerifyLevel::kDisks) {
    ASSIGN_OR_RETURN(const auto packs, PacksByAge(catalog_, repository, spec.level));
    for (const PackAge& pack : packs) scope.packs.push_back(pack.pack);
    return scope;
  }
  ASSIGN_OR_RETURN(const auto ids, catalog_.Read([&](const catalog::Stores& stores) {
    return stores.recovery_points.Ids(repository.id);
  }));
  ASSIGN_OR_RETURN(const auto times, catalog_.Read([&](const catalog::Stores& stores) {
    return stores.verify.PointCheckTimes(repository.id);
  }));
  for (const catalog::RecoveryPointId& id : ids) scope.recovery_points.push_back(id.value);
  const auto checked = [&](const std::string& id) {
    const auto at = times.find(id);
    return at == times.end() ? absl::InfinitePast() : at->second;
  };
  std::ranges::stable_sort(scope.recovery_points, {}, checked);
  return scope;
}

void VerifyRunner::CloseHealed() {
  for (const OpenRepository& repository : repositories_.All()) {
    if (const absl::Status closed = book_.CloseHealed(repository); !closed.ok()) {
      base::Log("maintenance")
          ->warn("healed damage not looked for repository={} error={}", repository.id, base::Describe(closed));
    }
  }
}

absl::Status VerifyRunner::Record(RunningJob& running, const repo::VerifyReport& report) {
  const auto& spec = std::get<catalog::VerifySpec>(running.job().spec);
  ASSIGN_OR_RETURN(const OpenRepository* repository, repositories_.Find(spec.repository));
  RETURN_IF_ERROR(book_.Enter(repository->id, report));
  RETURN_IF_ERROR(book_.CloseHealed(*repository));
  RETURN_IF_ERROR(ForgetGonePacks(catalog_, *repository));
  for (const std::string& harmless : report.healed) {
    RETURN_IF_ERROR(running.Warn({"DAMAGE_HARMLESS", harmless}));
  }
  return report.complete ? absl::OkStatus() : WarnWhenBehind(running, *repository);
}

absl::Status VerifyRunner::WarnWhenBehind(RunningJob& running, const OpenRepository& repository) {
  const auto& spec = std::get<catalog::VerifySpec>(running.job().spec);
  if (spec.level == catalog::VerifyLevel::kDisks || !spec.recovery_point.empty()) return absl::OkStatus();
  ASSIGN_OR_RETURN(const auto packs, PacksByAge(catalog_, repository, spec.level));
  const absl::Time oldest = clock_.Now() - verify_within_;
  const auto late = std::ranges::count_if(packs, [&](const PackAge& pack) { return pack.since < oldest; });
  if (late == 0) return absl::OkStatus();
  return running.Warn(
      {"VERIFY_BEHIND", fmt::format("{} of {} packs were last read more than {} ago; give the verification "
                                    "a larger budget",
                                    late, packs.size(), absl::FormatDuration(verify_within_))});
}

void VerifyRunner::TellDamage(const catalog::Job& job, const repo::VerifyReport& report) {
  struct Touched {
    const repo::ChunkDamage* first = nullptr;
    size_t places = 0;
    uint64_t bytes = 0;
  };
  std::map<std::string, Touched> points;
  for (const repo::ChunkDamage& damage : report.damaged) {
    Touched& touched = points[damage.recovery_point_id];
    if (touched.places++ == 0) touched.first = &damage;
    touched.bytes += damage.length_bytes;
  }
  size_t told = 0;
  for (const auto& [point, touched] : points) {
    if (++told > kDamageEventsMax) break;
    catalog::Event event;
    event.type = touched.first->reason;
    event.resource = point.empty() ? fmt::format("jobs/{}", job.id) : fmt::format("recoveryPoints/{}", point);
    event.severity = catalog::Severity::kError;
    event.message = fmt::format("{} damaged places with {} bytes; first: {}", touched.places, touched.bytes,
                                touched.first->message);
    if (const absl::Status told_of = events_.Append(event); !told_of.ok()) {
      base::Log("maintenance")->error("damage event not written job={} error={}", job.id, base::Describe(told_of));
    }
  }
  base::Log("maintenance")
      ->error("damage found job={} places={} problems={}", job.id, report.damaged_count, report.problems.size());
}

}  // namespace umbra::maintenance
