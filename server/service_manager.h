// What systemd is told of the daemon (sd_notify(3)): ready, reloading, stopping, and that it lives. Without systemd,
// nothing.
#ifndef UMBRA_SERVER_SERVICE_MANAGER_H_
#define UMBRA_SERVER_SERVICE_MANAGER_H_

#include <functional>
#include <optional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"

namespace umbra::server {

class ServiceManager {
 public:
  // `alive` is called by a thread of its own, twice in each of the watchdog's intervals (WatchdogSec= of the unit);
  // while it doesn't come back, or says no, systemd isn't told that the daemon lives, and in the end restarts it.
  ServiceManager(base::Clock& clock, std::function<bool()> alive);
  // The daemon stops.
  ~ServiceManager();
  ServiceManager(const ServiceManager&) = delete;
  ServiceManager& operator=(const ServiceManager&) = delete;

  void Ready() const;
  // Until Ready is called again.
  void Reloading() const;

 private:
  void Watch(absl::Duration interval) ABSL_LOCKS_EXCLUDED(mu_);

  base::Clock& clock_;
  const std::function<bool()> alive_;
  absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  std::optional<std::jthread> thread_;
};

}  // namespace umbra::server

#endif  // UMBRA_SERVER_SERVICE_MANAGER_H_
