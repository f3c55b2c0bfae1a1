#include "server/metrics/job_metrics.h"

#include <string>

#include "absl/time/time.h"

namespace umbra::metrics {
namespace {

using prometheus::Histogram;

// Seconds. A snapshot takes parts of one, a first full backup hours.
Histogram::BucketBoundaries JobBuckets() {
  return {1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600};
}

// Seconds. A phase may be over at once.
Histogram::BucketBoundaries PhaseBuckets() {
  return {0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 12 * 3600};
}

// Seconds, up to the longest that VSS lets anything stand still.
Histogram::BucketBoundaries StandstillBuckets() {
  return {0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60};
}

}  // namespace

JobMetrics::JobMetrics(prometheus::Registry& registry)
    : ended_(prometheus::BuildCounter()
                 .Name("umbra_jobs_ended_total")
                 .Help("Jobs that ended, by kind, state and reason.")
                 .Register(registry)),
      warnings_(prometheus::BuildCounter()
                    .Name("umbra_job_warnings_total")
                    .Help("Warnings of ended jobs, by kind and reason.")
                    .Register(registry)),
      bytes_(prometheus::BuildCounter()
                 .Name("umbra_job_bytes_total")
                 .Help("Bytes that ended jobs read, found to be new, and sent to be stored.")
                 .Register(registry)),
      duration_(prometheus::BuildHistogram()
                    .Name("umbra_job_duration_seconds")
                    .Help("From the start of a job's work to its end.")
                    .Register(registry)),
      wait_(prometheus::BuildHistogram()
                .Name("umbra_job_wait_seconds")
                .Help("From a job's submission to the start of its work.")
                .Register(registry)),
      phase_(prometheus::BuildHistogram()
                 .Name("umbra_job_phase_seconds")
                 .Help("How long jobs were in each phase, counted as they leave it.")
                 .Register(registry)),
      freeze_(prometheus::BuildHistogram()
                  .Name("umbra_guest_freeze_seconds")
                  .Help("Longest freeze of a guest in a backup, from the call to the answer of the thaw.")
                  .Register(registry)
                  .Add({}, StandstillBuckets())),
      downtime_(prometheus::BuildHistogram()
                    .Name("umbra_vm_downtime_seconds")
                    .Help("Longest standstill of a virtual machine for its saved state in a backup.")
                    .Register(registry)
                    .Add({}, StandstillBuckets())) {}

void JobMetrics::Ended(const catalog::Job& job) {
  const std::string kind(catalog::NameOf(catalog::KindOf(job.spec)));
  ended_.Add({{"kind", kind}, {"state", std::string(catalog::NameOf(job.state))}, {"reason", job.error.reason}})
      .Increment();
  for (const catalog::JobMessage& warning : job.warnings) {
    warnings_.Add({{"kind", kind}, {"reason", warning.reason}}).Increment();
  }
  const auto count = [&](const char* what, int64_t bytes) {
    if (bytes > 0) bytes_.Add({{"kind", kind}, {"what", what}}).Increment(static_cast<double>(bytes));
  };
  count("read", job.progress.read_bytes);
  count("new", job.progress.new_bytes);
  count("stored", job.progress.stored_bytes);
  if (job.start_time.has_value()) {
    wait_.Add({{"kind", kind}}, JobBuckets()).Observe(absl::ToDoubleSeconds(*job.start_time - job.create_time));
    if (job.end_time.has_value()) {
      duration_.Add({{"kind", kind}}, JobBuckets()).Observe(absl::ToDoubleSeconds(*job.end_time - *job.start_time));
    }
  }
  if (job.freeze_duration > absl::ZeroDuration()) freeze_.Observe(absl::ToDoubleSeconds(job.freeze_duration));
  if (job.downtime > absl::ZeroDuration()) downtime_.Observe(absl::ToDoubleSeconds(job.downtime));
}

void JobMetrics::PhaseEnded(const jobs::PhaseSpent& spent) {
  phase_
      .Add({{"kind", std::string(catalog::NameOf(spent.kind))}, {"phase", std::string(catalog::NameOf(spent.phase))}},
           PhaseBuckets())
      .Observe(absl::ToDoubleSeconds(spent.duration));
}

}  // namespace umbra::metrics
