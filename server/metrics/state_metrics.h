// The state of the fleet, looked at when somebody asks: queue, running work, agents, recovery points, repositories,
// catalog.
#ifndef UMBRA_SERVER_METRICS_STATE_METRICS_H_
#define UMBRA_SERVER_METRICS_STATE_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <optional>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/metrics/metrics.h"

namespace umbra::metrics {

// Figures that cost a walk over the catalog or a repository are this old at most.
inline constexpr absl::Duration kSlowFiguresKeptFor = absl::Minutes(1);

// Thread-safe. A source that fails leaves its families out, and is counted in umbra_metrics_failures.
class StateMetrics final : public prometheus::Collectable {
 public:
  explicit StateMetrics(const Sources& sources) : sources_(sources) {}

  std::vector<prometheus::MetricFamily> Collect() const override ABSL_LOCKS_EXCLUDED(mu_);

 private:
  using Families = std::vector<prometheus::MetricFamily>;

  absl::Status AddJobs(Families& out) const;
  absl::Status AddCatalog(Families& out) const;
  absl::Status AddCoverage(Families& out) const;
  absl::Status AddRepositories(Families& out) const;
  void AddUploadLimits(Families& out) const;
  Families SlowFigures(int& failures) const;

  const Sources sources_;
  mutable absl::Mutex mu_;  // held while the slow figures are made: a second one who asks waits for the same
  mutable std::optional<absl::Duration> slow_made_ ABSL_GUARDED_BY(mu_);
  mutable Families slow_ ABSL_GUARDED_BY(mu_);
  mutable int slow_failures_ ABSL_GUARDED_BY(mu_) = 0;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_STATE_METRICS_H_
