#include "server/metrics/metrics.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <utility>
#include <vector>

#include "server/metrics/exporter.h"
#include "server/metrics/job_metrics.h"
#include "server/metrics/process_metrics.h"
#include "server/metrics/state_metrics.h"
#include "storage/base/status.h"

namespace umbra::metrics {

struct Metrics::Parts {
  explicit Parts(const Sources& sources)
      : registry(std::make_shared<prometheus::Registry>()),
        jobs(*registry),
        state(std::make_shared<StateMetrics>(sources)),
        process(std::make_shared<ProcessMetrics>()) {}

  std::shared_ptr<prometheus::Registry> registry;
  JobMetrics jobs;
  std::shared_ptr<StateMetrics> state;
  std::shared_ptr<ProcessMetrics> process;
  std::unique_ptr<Exporter> exporter;
  std::string address;
};

Metrics::Metrics(const Sources& sources) : parts_(std::make_unique<Parts>(sources)) {}
Metrics::~Metrics() = default;

void Metrics::JobEnded(const catalog::Job& job) {
  parts_->jobs.Ended(job);
}

std::string Metrics::Text() const {
  std::vector<prometheus::MetricFamily> all = parts_->registry->Collect();
  const std::vector<const prometheus::Collectable*> others = {parts_->state.get(), parts_->process.get()};
  for (const prometheus::Collectable* other : others) {
    for (prometheus::MetricFamily& family : other->Collect()) all.push_back(std::move(family));
  }
  return prometheus::TextSerializer().Serialize(all);
}

absl::Status Metrics::Listen(const std::string& address) {
  ASSIGN_OR_RETURN(parts_->exporter, Exporter::Start(address, {parts_->registry, parts_->state, parts_->process}));
  parts_->address = parts_->exporter->address();
  return absl::OkStatus();
}

const std::string& Metrics::address() const {
  return parts_->address;
}

}  // namespace umbra::metrics
