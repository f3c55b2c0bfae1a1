// Figures of the catalog's transactions: counters and histograms since the daemon's start.
#ifndef UMBRA_SERVER_METRICS_CATALOG_METRICS_H_
#define UMBRA_SERVER_METRICS_CATALOG_METRICS_H_

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include "storage/catalog/transaction_timing.h"

namespace umbra::metrics {

// Thread-safe. The registry outlives it.
class CatalogMetrics {
 public:
  explicit CatalogMetrics(prometheus::Registry& registry);

  void Ended(const catalog::TransactionFacts& facts);

 private:
  // Of one kind; found once, since transactions are many.
  struct OfKind {
    OfKind(prometheus::Family<prometheus::Counter>& count, prometheus::Family<prometheus::Histogram>& took,
           prometheus::Family<prometheus::Histogram>& waited, const char* kind);
    prometheus::Counter& done;
    prometheus::Counter& refused;
    prometheus::Counter& busy;
    prometheus::Counter& failed;
    prometheus::Histogram& took;
    prometheus::Histogram& waited;
  };
  static prometheus::Counter& CounterOf(OfKind& kind, const absl::Status& status);

  prometheus::Family<prometheus::Counter>& count_;
  prometheus::Family<prometheus::Histogram>& took_;
  prometheus::Family<prometheus::Histogram>& waited_;
  OfKind reads_;
  OfKind writes_;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_CATALOG_METRICS_H_
