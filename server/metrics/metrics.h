// What monitoring reads: figures of jobs and of the catalog's transactions, counted as they end, and the state of the
// fleet, looked at when somebody asks. Names and labels: docs/operations.md.
#ifndef UMBRA_SERVER_METRICS_METRICS_H_
#define UMBRA_SERVER_METRICS_METRICS_H_

#include <memory>
#include <string>

#include "server/dispatch/agent_registry.h"
#include "server/jobs/job_engine.h"
#include "server/maintenance/repository_set.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/catalog/catalog.h"

namespace umbra::metrics {

// Where the figures come from; all outlive the metrics.
struct Sources {
  catalog::Catalog& catalog;
  std::string catalog_path;  // for the size of the file and its log
  jobs::JobEngine& engine;
  const dispatch::AgentRegistry& agents;
  const maintenance::RepositorySet& repositories;
  base::Filesystem& filesystem;
  base::Clock& clock;
};

// Thread-safe.
class Metrics {
 public:
  explicit Metrics(const Sources& sources);
  ~Metrics();
  Metrics(const Metrics&) = delete;
  Metrics& operator=(const Metrics&) = delete;

  // Has engine and catalog tell of what ends. Before other threads use them; they tell nobody else, and nothing more
  // may end in them when the metrics are destroyed.
  void Listen();

  // Everything in Prometheus' text format, as of now; figures that are slow to get may be a minute old.
  std::string Text() const;

 private:
  struct Parts;
  const Sources sources_;
  std::unique_ptr<Parts> parts_;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_METRICS_H_
