// Families of metrics that are made anew at each look.
#ifndef UMBRA_SERVER_METRICS_FAMILIES_H_
#define UMBRA_SERVER_METRICS_FAMILIES_H_

#include <prometheus/metric_family.h>

#include <string>
#include <utility>
#include <vector>

namespace umbra::metrics {

using Labels = std::vector<prometheus::ClientMetric::Label>;

class Family {
 public:
  Family(prometheus::MetricType type, std::string name, std::string help) {
    family_.name = std::move(name);
    family_.help = std::move(help);
    family_.type = type;
  }

  Family& Add(Labels labels, double value) {
    prometheus::ClientMetric& metric = family_.metric.emplace_back();
    metric.label = std::move(labels);
    if (family_.type == prometheus::MetricType::Counter) {
      metric.counter.value = value;
    } else {
      metric.gauge.value = value;
    }
    return *this;
  }

  prometheus::MetricFamily Done() { return std::move(family_); }

 private:
  prometheus::MetricFamily family_;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_FAMILIES_H_
