// Figures of ended jobs: counters and histograms since the daemon's start.
#ifndef UMBRA_SERVER_METRICS_JOB_METRICS_H_
#define UMBRA_SERVER_METRICS_JOB_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "server/jobs/job_engine.h"
#include "storage/catalog/records.h"

namespace umbra::metrics {

// Thread-safe. The registry outlives it.
class JobMetrics {
 public:
  explicit JobMetrics(prometheus::Registry& registry);

  void Ended(const catalog::Job& job);
  void PhaseEnded(const jobs::PhaseSpent& spent);

 private:
  prometheus::Family<prometheus::Counter>& ended_;
  prometheus::Family<prometheus::Counter>& warnings_;
  prometheus::Family<prometheus::Counter>& bytes_;
  prometheus::Family<prometheus::Histogram>& duration_;
  prometheus::Family<prometheus::Histogram>& wait_;
  prometheus::Family<prometheus::Histogram>& phase_;
  prometheus::Histogram& freeze_;
  prometheus::Histogram& downtime_;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_JOB_METRICS_H_
