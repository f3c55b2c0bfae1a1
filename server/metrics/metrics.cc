#include "server/metrics/metrics.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <utility>
#include <vector>

#include "server/metrics/catalog_metrics.h"
#include "server/metrics/job_metrics.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/state_metrics.h"

namespace umbra::metrics {

struct Metrics::Parts {
  explicit Parts(const Sources& sources) : jobs(registry), catalog(registry), state(sources) {}

  prometheus::Registry registry;
  JobMetrics jobs;
  CatalogMetrics catalog;
  StateMetrics state;
  ProcessMetrics process;
};

Metrics::Metrics(const Sources& sources) : sources_(sources), parts_(std::make_unique<Parts>(sources)) {}
Metrics::~Metrics() = default;

void Metrics::Listen() {
  sources_.engine.SetEndListener([this](const catalog::Job& job) { parts_->jobs.Ended(job); });
  sources_.engine.SetPhaseListener([this](const jobs::PhaseSpent& spent) { parts_->jobs.PhaseEnded(spent); });
  sources_.catalog.SetObserver(sources_.clock,
                               [this](const catalog::TransactionFacts& facts) { parts_->catalog.Ended(facts); });
}

std::string Metrics::Text() const {
  std::vector<prometheus::MetricFamily> all = parts_->registry.Collect();
  const std::vector<const prometheus::Collectable*> others = {&parts_->state, &parts_->process};
  for (const prometheus::Collectable* other : others) {
    for (prometheus::MetricFamily& family : other->Collect()) all.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(all);
}

}  // namespace umbra::metrics
