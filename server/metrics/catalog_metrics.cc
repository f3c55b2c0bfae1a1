#include "server/metrics/catalog_metrics.h"

#include <string>

#include "absl/time/time.h"
#include "storage/base/status.h"

namespace umbra::metrics {
namespace {

using prometheus::Histogram;

// Seconds. A read takes less than a millisecond, a write one sync, and after five seconds a transaction gives up.
Histogram::BucketBoundaries Buckets() {
  return {0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5};
}

// Of the file or the library, not of what was asked for.
bool IsFault(const std::string& reason) {
  return reason == "STORAGE_FULL" || reason == "CATALOG_CORRUPT" || reason == "IO_ERROR" || reason == "INTERNAL";
}

}  // namespace

CatalogMetrics::OfKind::OfKind(prometheus::Family<prometheus::Counter>& count, prometheus::Family<Histogram>& took,
                               prometheus::Family<Histogram>& waited, const char* kind)
    : done(count.Add({{"kind", kind}, {"outcome", "done"}})),
      refused(count.Add({{"kind", kind}, {"outcome", "refused"}})),
      busy(count.Add({{"kind", kind}, {"outcome", "busy"}})),
      failed(count.Add({{"kind", kind}, {"outcome", "failed"}})),
      took(took.Add({{"kind", kind}}, Buckets())),
      waited(waited.Add({{"kind", kind}}, Buckets())) {}

CatalogMetrics::CatalogMetrics(prometheus::Registry& registry)
    : count_(
          prometheus::BuildCounter()
              .Name("umbra_catalog_transactions_total")
              .Help("Transactions of the catalog. refused: by what was asked for, nothing is wrong with the catalog; "
                    "busy: another process held the file.")
              .Register(registry)),
      took_(prometheus::BuildHistogram()
                .Name("umbra_catalog_transaction_seconds")
                .Help("From a transaction's turn to its end; of a write, its sync is in it.")
                .Register(registry)),
      waited_(prometheus::BuildHistogram()
                  .Name("umbra_catalog_wait_seconds")
                  .Help("How long transactions waited for their turn: one reads and one writes at a time.")
                  .Register(registry)),
      reads_(count_, took_, waited_, "read"),
      writes_(count_, took_, waited_, "write") {}

prometheus::Counter& CatalogMetrics::CounterOf(OfKind& kind, const absl::Status& status) {
  if (status.ok()) return kind.done;
  const std::string reason = base::ReasonOf(status);
  if (reason == "CATALOG_BUSY") return kind.busy;
  return IsFault(reason) ? kind.failed : kind.refused;
}

void CatalogMetrics::Ended(const catalog::TransactionFacts& facts) {
  OfKind& kind = facts.kind == catalog::TransactionKind::kRead ? reads_ : writes_;
  CounterOf(kind, facts.status).Increment();
  kind.took.Observe(absl::ToDoubleSeconds(facts.took));
  kind.waited.Observe(absl::ToDoubleSeconds(facts.waited));
}

}  // namespace umbra::metrics
