// A few pages over HTTP, without TLS or sign-in: for this machine or a network of its own.
#ifndef UMBRA_SERVER_METRICS_EXPORTER_H_
#define UMBRA_SERVER_METRICS_EXPORTER_H_

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"

struct mg_context;

namespace umbra::metrics {

struct Page {
  int status = 200;  // of HTTP
  std::string type = "text/plain; charset=utf-8";
  std::string text;
};

class Exporter {
 public:
  // A page is made each time that somebody asks for it, on threads of the exporter, several at once.
  using Pages = std::map<std::string, std::function<Page()>>;  // by path, such as "/metrics"

  // Answers GET and HEAD at `address` ("address:port", port 0 takes a free one) until the exporter is destroyed; then no
  // page is being made any more. FAILED_PRECONDITION / LISTEN_FAILED.
  static absl::StatusOr<std::unique_ptr<Exporter>> Start(const std::string& address, Pages pages);
  ~Exporter();
  Exporter(const Exporter&) = delete;
  Exporter& operator=(const Exporter&) = delete;

  // "address:port" with the port that was taken.
  const std::string& address() const { return address_; }

 private:
  explicit Exporter(Pages pages) : pages_(std::move(pages)) {}

  Pages pages_;  // the library knows their addresses
  std::string address_;
  mg_context* server_ = nullptr;
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_EXPORTER_H_
