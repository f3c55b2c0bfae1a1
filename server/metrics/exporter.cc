#include "server/metrics/exporter.h"

#include <civetweb.h>

#include <string_view>
#include <utility>

#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::metrics {
namespace {

// A monitoring system or two ask every few seconds, and a probe or two; a page that hangs must not hold up all of them.
constexpr char kThreads[] = "4";
// A peer that says nothing gives its thread back after this.
constexpr char kRequestTimeoutMs[] = "5000";

std::string_view Phrase(int status) {
  return status == 200 ? "OK" : "Service Unavailable";
}

int AnswerWith(mg_connection* connection, void* page_maker) {
  const std::string_view method = mg_get_request_info(connection)->request_method;
  if (method != "GET" && method != "HEAD") return mg_send_http_error(connection, 405, "%s", "GET only");
  const Page page = (*static_cast<std::function<Page()>*>(page_maker))();
  std::string answer = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nContent-Length: {}\r\nCache-Control: no-store\r\nConnection: "
      "close\r\n\r\n",
      page.status, Phrase(page.status), page.type, page.text.size());
  if (method == "GET") answer += page.text;
  mg_write(connection, answer.data(), answer.size());
  return page.status;
}

int LogLine(const mg_connection* /*connection*/, const char* message) {
  base::Log("metrics")->debug("http: {}", message);
  return 1;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Exporter>> Exporter::Start(const std::string& address, Pages pages) {
  std::unique_ptr<Exporter> exporter(new Exporter(std::move(pages)));
  mg_callbacks callbacks = {};
  callbacks.log_message = LogLine;
  const char* options[] = {"listening_ports",    address.c_str(),   "num_threads", kThreads,
                           "request_timeout_ms", kRequestTimeoutMs, nullptr};
  exporter->server_ = mg_start(&callbacks, nullptr, options);
  mg_server_port port = {};
  if (exporter->server_ == nullptr || mg_get_server_ports(exporter->server_, 1, &port) != 1) {
    return base::Error(absl::StatusCode::kFailedPrecondition, "LISTEN_FAILED",
                       "metrics.listen: can't listen at {}; is it in use, or not an address of this machine?", address);
  }
  for (auto& [path, page] : exporter->pages_) {
    mg_set_request_handler(exporter->server_, path.c_str(), AnswerWith, &page);
  }
  exporter->address_ = fmt::format("{}:{}", address.substr(0, address.rfind(':')), port.port);
  return exporter;
}

Exporter::~Exporter() {
  if (server_ != nullptr) mg_stop(server_);
}

}  // namespace umbra::metrics
