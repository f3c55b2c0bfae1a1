// The process itself, under the names that all of Prometheus' client libraries use.
#ifndef UMBRA_SERVER_METRICS_PROCESS_METRICS_H_
#define UMBRA_SERVER_METRICS_PROCESS_METRICS_H_

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <vector>

namespace umbra::metrics {

// Thread-safe. Memory and open files are from Linux' /proc (proc(5)); elsewhere they are left out.
class ProcessMetrics final : public prometheus::Collectable {
 public:
  std::vector<prometheus::MetricFamily> Collect() const override;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_PROCESS_METRICS_H_
