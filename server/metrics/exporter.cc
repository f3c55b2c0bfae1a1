#include "server/metrics/exporter.h"

#include <exception>
#include <utility>

#include "storage/base/status.h"

namespace umbra::metrics {
namespace {

// A monitoring system or two ask every few seconds; a third one waits.
constexpr char kThreads[] = "2";
// A peer that says nothing gives its thread back after this.
constexpr char kRequestTimeoutMs[] = "5000";

}  // namespace

Exporter::Exporter(std::unique_ptr<prometheus::Exposer> exposer,
                   std::vector<std::shared_ptr<prometheus::Collectable>> sources, std::string address)
    : sources_(std::move(sources)), address_(std::move(address)), exposer_(std::move(exposer)) {
  for (const auto& source : sources_) exposer_->RegisterCollectable(source);
}

absl::StatusOr<std::unique_ptr<Exporter>> Exporter::Start(
    const std::string& address, std::vector<std::shared_ptr<prometheus::Collectable>> sources) {
  const auto failed = [&](std::string_view why) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "LISTEN_FAILED",
                       "metrics.listen: can't listen at {}; is it in use, or not an address of this machine? ({})",
                       address, why);
  };
  try {
    auto exposer = std::make_unique<prometheus::Exposer>(std::vector<std::string>{
        "listening_ports", address, "num_threads", kThreads, "request_timeout_ms", kRequestTimeoutMs});
    const std::vector<int> ports = exposer->GetListeningPorts();
    if (ports.empty()) return failed("no port");
    std::string taken = fmt::format("{}:{}", address.substr(0, address.rfind(':')), ports.front());
    return std::unique_ptr<Exporter>(new Exporter(std::move(exposer), std::move(sources), std::move(taken)));
  } catch (const std::exception& e) {  // as the library tells its errors
    return failed(e.what());
  }
}

}  // namespace umbra::metrics
