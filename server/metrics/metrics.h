// What monitoring reads: figures of jobs, counted as they end, and the state of the fleet, looked at when somebody
// asks. Names and labels: docs/operations.md.
#ifndef UMBRA_SERVER_METRICS_METRICS_H_
#define UMBRA_SERVER_METRICS_METRICS_H_

#include <memory>
#include <string>

#include "absl/status/statusor.h"
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

  // To be called once for each job that has ended, in whatever state. Never blocks.
  void JobEnded(const catalog::Job& job);

  // Everything in Prometheus' text format, as of now; figures that are slow to get may be a minute old.
  std::string Text() const;

  // Answers GET /metrics at `address` ("address:port", port 0 takes a free one) until the metrics are destroyed. Call
  // once. FAILED_PRECONDITION / LISTEN_FAILED.
  absl::Status Listen(const std::string& address);
  // Where it listens, "address:port"; empty before.
  const std::string& address() const;

 private:
  struct Parts;
  std::unique_ptr<Parts> parts_;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_METRICS_H_
