#include "server/service_manager.h"

#include <systemd/sd-daemon.h>

#include <cstdint>
#include <utility>

namespace umbra::server {

ServiceManager::ServiceManager(base::Clock& clock, std::function<bool()> alive)
    : clock_(clock), alive_(std::move(alive)) {
  uint64_t interval_us = 0;
  if (sd_watchdog_enabled(/*unset_environment=*/0, &interval_us) <= 0) return;
  const absl::Duration interval = absl::Microseconds(static_cast<int64_t>(interval_us)) / 2;
  thread_.emplace([this, interval] { Watch(interval); });
}

ServiceManager::~ServiceManager() {
  sd_notify(0, "STOPPING=1");
  {
    absl::MutexLock lock(&mu_);
    stopping_ = true;
  }
  thread_.reset();
}

void ServiceManager::Ready() const {
  sd_notify(0, "READY=1");
}

void ServiceManager::Reloading() const {
  sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
             static_cast<long long>(absl::ToInt64Microseconds(clock_.Monotonic())));
}

void ServiceManager::Watch(absl::Duration interval) {
  const auto stopping = [this]() ABSL_SHARED_LOCKS_REQUIRED(mu_) { return stopping_; };
  while (true) {
    {
      absl::MutexLock lock(&mu_);
      if (clock_.AwaitFor(mu_, absl::Condition(&stopping), interval)) return;
    }
    if (alive_()) sd_notify(0, "WATCHDOG=1");
  }
}

}  // namespace umbra::server
