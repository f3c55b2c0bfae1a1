#include "server/metrics/state_metrics.h"

#include <map>
#include <string>
#include <utility>

#include "server/metrics/families.h"
#include "server/policies/coverage.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::metrics {
namespace {

constexpr auto kGauge = prometheus::MetricType::Gauge;
constexpr auto kCounter = prometheus::MetricType::Counter;

std::string Text(std::string_view name) {
  return std::string(name);
}

double SizeOf(base::Filesystem& filesystem, const std::string& path) {
  const auto file = filesystem.Open(path, base::OpenMode::kRead);
  if (!file.ok()) return 0;
  return static_cast<double>((*file)->Size().value_or(0));
}

// 1 when it fails, and says so in the log.
int Count(const char* what, const absl::Status& status) {
  if (status.ok()) return 0;
  base::Log("metrics")->warn("figures are missing what={} error={}", what, base::Describe(status));
  return 1;
}

}  // namespace

absl::Status StateMetrics::AddJobs(Families& out) const {
  ASSIGN_OR_RETURN(const auto active, sources_.engine.Active());
  std::map<std::pair<std::string, std::string>, int> states;
  std::map<std::string, int> reasons;
  std::map<std::string, int> phases;
  double rate = 0;
  for (const catalog::ActiveJob& job : active) {
    ++states[{Text(NameOf(job.kind)), Text(NameOf(job.state))}];
    if (job.state == catalog::JobState::kQueued) {
      ++reasons[job.wait_reason];
      continue;
    }
    const auto whole = sources_.engine.Get(job.id);
    if (!whole.ok()) continue;  // it has ended meanwhile, and is forgotten
    ++phases[Text(NameOf(whole->phase))];
    rate += static_cast<double>(whole->progress.rate_bytes_per_second);
  }
  Family jobs(kGauge, "umbra_jobs", "Jobs that have not ended, by kind and state.");
  for (const auto& [key, count] : states) jobs.Add({{"kind", key.first}, {"state", key.second}}, count);
  out.push_back(jobs.Done());
  Family queued(kGauge, "umbra_jobs_queued", "Jobs that wait, by what for; empty: for nothing but their turn.");
  for (const auto& [reason, count] : reasons) queued.Add({{"wait_reason", reason}}, count);
  out.push_back(queued.Done());
  Family running(kGauge, "umbra_jobs_in_phase", "Jobs at work, by phase.");
  for (const auto& [phase, count] : phases) running.Add({{"phase", phase}}, count);
  out.push_back(running.Done());
  out.push_back(
      Family(kGauge, "umbra_transfer_bytes_per_second", "What all jobs at work read together.").Add({}, rate).Done());
  return absl::OkStatus();
}

absl::Status StateMetrics::AddCatalog(Families& out) const {
  ASSIGN_OR_RETURN(const catalog::FleetFigures fleet,
                   sources_.catalog.Read([](const catalog::Stores& stores) { return stores.figures.OfFleet(); }));
  out.push_back(
      Family(kGauge, "umbra_hosts", "Hosts that are enrolled.").Add({}, static_cast<double>(fleet.host_count)).Done());
  out.push_back(Family(kGauge, "umbra_virtual_machines", "Virtual machines that agents have reported.")
                    .Add({}, static_cast<double>(fleet.vm_count))
                    .Done());
  out.push_back(
      Family(kGauge, "umbra_virtual_machines_without_recovery_point", "Those of them that no recovery point is of.")
          .Add({}, static_cast<double>(fleet.unprotected_vm_count))
          .Done());
  out.push_back(Family(kCounter, "umbra_events_total", "Number of the newest event.")
                    .Add({}, static_cast<double>(fleet.newest_event))
                    .Done());
  return absl::OkStatus();
}

absl::Status StateMetrics::AddCoverage(Families& out) const {
  ASSIGN_OR_RETURN(const policies::PolicySet set, policies::PolicySet::Load(sources_.catalog));
  ASSIGN_OR_RETURN(const policies::CoverageFigures figures,
                   policies::CountCoverage(sources_.catalog, set, sources_.clock.Now()));
  out.push_back(Family(kGauge, "umbra_virtual_machines_unprotected", "Virtual machines that no policy selects.")
                    .Add({}, static_cast<double>(figures.unprotected))
                    .Done());
  out.push_back(Family(kGauge, "umbra_virtual_machines_beyond_promised_age",
                       "Virtual machines without a good recovery point of the age that their policies promise.")
                    .Add({}, static_cast<double>(figures.rpo_missed))
                    .Done());
  Family members(kGauge, "umbra_policy_virtual_machines", "Virtual machines that the policy selects.");
  Family without(kGauge, "umbra_policy_virtual_machines_without_good_point", "Those of them without a good point.");
  Family oldest(kGauge, "umbra_policy_oldest_good_point_seconds",
                "The greatest age among the newest good points of the machines that the policy selects.");
  for (const auto& [id, policy] : figures.policies) {
    members.Add({{"policy", id.value}}, static_cast<double>(policy.members));
    without.Add({{"policy", id.value}}, static_cast<double>(policy.without_good_point));
    if (policy.oldest) oldest.Add({{"policy", id.value}}, absl::ToDoubleSeconds(*policy.oldest));
  }
  for (Family* family : {&members, &without, &oldest}) out.push_back(family->Done());
  return absl::OkStatus();
}

absl::Status StateMetrics::AddRepositories(Families& out) const {
  Family points(kGauge, "umbra_repository_recovery_points", "Recovery points in the repository.");
  Family bytes(kGauge, "umbra_repository_bytes",
               "logical: data of all recovery points; unique: without what they share; stored: as it lies on disk.");
  Family free(kGauge, "umbra_repository_free_bytes", "Free space where the repository is.");
  for (const maintenance::OpenRepository& open : sources_.repositories.All()) {
    ASSIGN_OR_RETURN(const repo::RepositoryStats stats, open.repository->Stats());
    const std::string& id = open.id.value;
    points.Add({{"repository", id}}, static_cast<double>(stats.recovery_point_count));
    bytes.Add({{"repository", id}, {"what", "logical"}}, static_cast<double>(stats.logical_bytes));
    bytes.Add({{"repository", id}, {"what", "unique"}}, static_cast<double>(stats.unique_bytes));
    bytes.Add({{"repository", id}, {"what", "stored"}}, static_cast<double>(stats.stored_bytes));
    free.Add({{"repository", id}}, static_cast<double>(stats.free_bytes));
  }
  out.push_back(points.Done());
  out.push_back(bytes.Done());
  out.push_back(free.Done());
  return absl::OkStatus();
}

void StateMetrics::AddUploadLimits(Families& out) const {
  Family limit(kGauge, "umbra_repository_upload_limit_bytes_per_second",
               "What uploads to the repository get; 0: no limit.");
  Family waited(prometheus::MetricType::Counter, "umbra_repository_upload_wait_seconds_total",
                "Time that uploads were made to wait for the repository's limit, of all streams together.");
  for (const maintenance::OpenRepository& open : sources_.repositories.All()) {
    if (open.upload_limit == nullptr) continue;
    limit.Add({{"repository", open.id.value}}, static_cast<double>(open.upload_limit->rate()));
    waited.Add({{"repository", open.id.value}}, absl::ToDoubleSeconds(open.upload_limit->waited()));
  }
  out.push_back(limit.Done());
  out.push_back(waited.Done());
}

StateMetrics::Families StateMetrics::SlowFigures(int& failures) const {
  absl::MutexLock lock(&mu_);
  const absl::Duration now = sources_.clock.Monotonic();
  if (!slow_made_.has_value() || now - *slow_made_ >= kSlowFiguresKeptFor) {
    slow_.clear();
    slow_failures_ = Count("catalog", AddCatalog(slow_)) + Count("coverage", AddCoverage(slow_)) +
                     Count("repositories", AddRepositories(slow_));
    slow_made_ = now;
  }
  failures += slow_failures_;
  return slow_;
}

std::vector<prometheus::MetricFamily> StateMetrics::Collect() const {
  Families out;
  int failures = Count("jobs", AddJobs(out));
  for (prometheus::MetricFamily& family : SlowFigures(failures)) out.push_back(std::move(family));
  AddUploadLimits(out);
  out.push_back(Family(kGauge, "umbra_agents_online", "Agents that are connected.")
                    .Add({}, static_cast<double>(sources_.agents.Online().size()))
                    .Done());
  out.push_back(Family(kGauge, "umbra_catalog_bytes", "The catalog's file, and its write-ahead log.")
                    .Add({{"file", "database"}}, SizeOf(sources_.filesystem, sources_.catalog_path))
                    .Add({{"file", "wal"}}, SizeOf(sources_.filesystem, sources_.catalog_path + "-wal"))
                    .Done());
  out.push_back(Family(kGauge, "umbra_metrics_failures", "Sources of this page that failed; their figures are missing.")
                    .Add({}, failures)
                    .Done());
  return out;
}

}  // namespace umbra::metrics
