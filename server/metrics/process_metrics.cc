#include "server/metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "server/metrics/families.h"

namespace umbra::metrics {
namespace {

double SecondsOf(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessMetrics::Collect() const {
  std::vector<prometheus::MetricFamily> families;
  rusage usage = {};
  getrusage(RUSAGE_SELF, &usage);
  families.push_back(
      Family(prometheus::MetricType::Counter, "process_cpu_seconds_total", "Processor time, user and system.")
          .Add({}, SecondsOf(usage.ru_utime) + SecondsOf(usage.ru_stime))
          .Done());
  std::ifstream statm("/proc/self/statm");
  int64_t all_pages = 0;
  int64_t resident_pages = 0;
  if (statm >> all_pages >> resident_pages) {
    const auto page_bytes = static_cast<double>(sysconf(_SC_PAGESIZE));
    families.push_back(Family(prometheus::MetricType::Gauge, "process_resident_memory_bytes", "Resident memory.")
                           .Add({}, static_cast<double>(resident_pages) * page_bytes)
                           .Done());
  }
  std::error_code error;
  const std::filesystem::directory_iterator descriptors("/proc/self/fd", error);
  if (!error) {
    families.push_back(Family(prometheus::MetricType::Gauge, "process_open_fds", "Open file descriptors.")
                           .Add({}, static_cast<double>(std::distance(begin(descriptors), end(descriptors))))
                           .Done());
  }
  return families;
}

}  // namespace umbra::metrics
