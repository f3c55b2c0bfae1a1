#include "storage/base/crash_point.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>
#include <utility>

namespace umbra::base {
namespace {

struct Armed {
  std::string name;
  std::atomic<int> countdown{1};

  Armed() {
    const char* spec = std::getenv("UMBRA_CRASH_POINT");
    if (spec == nullptr) return;
    name = spec;
    if (const size_t colon = name.rfind(':'); colon != std::string::npos) {
      countdown = std::atoi(name.c_str() + colon + 1);
      name.resize(colon);
    }
  }
};

// Never destroyed: threads may pass points until the process ends.
std::function<void(std::string_view)>& Observer() {
  static auto* observer = new std::function<void(std::string_view)>();
  return *observer;
}

}  // namespace

void ObserveCrashPoints(std::function<void(std::string_view name)> observer) { Observer() = std::move(observer); }

void CrashPoint(std::string_view name) {
  if (Observer()) Observer()(name);
  static Armed armed;
  if (armed.name.empty() || armed.name != name) return;
  if (armed.countdown.fetch_sub(1) == 1) kill(getpid(), SIGKILL);
}

}  // namespace umbra::base
