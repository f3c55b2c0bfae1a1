#include "storage/base/crash_point.h"

#include <signal.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <string>

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

}  // namespace

void CrashPoint(std::string_view name) {
  static Armed armed;
  if (armed.name.empty() || armed.name != name) return;
  if (armed.countdown.fetch_sub(1) == 1) kill(getpid(), SIGKILL);
}

}  // namespace umbra::base
