// GET /metrics over HTTP, without TLS or sign-in: for this machine or a network of its own.
#ifndef UMBRA_SERVER_METRICS_EXPORTER_H_
#define UMBRA_SERVER_METRICS_EXPORTER_H_

#include <prometheus/collectable.h>
#include <prometheus/exposer.h>
#include <prometheus/metric_family.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"

namespace umbra::metrics {

class Exporter {
 public:
  // FAILED_PRECONDITION / LISTEN_FAILED.
  static absl::StatusOr<std::unique_ptr<Exporter>> Start(const std::string& address,
                                                         std::vector<std::shared_ptr<prometheus::Collectable>> sources);

  // "address:port" with the port that was taken.
  const std::string& address() const { return address_; }

 private:
  Exporter(std::unique_ptr<prometheus::Exposer> exposer, std::vector<std::shared_ptr<prometheus::Collectable>> sources,
           std::string address);

  // The exposer holds them weakly, so they must go after it.
  const std::vector<std::shared_ptr<prometheus::Collectable>> sources_;
  const std::string address_;
  const std::unique_ptr<prometheus::Exposer> exposer_;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_EXPORTER_H_
