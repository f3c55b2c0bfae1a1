// Whether the daemon lives and takes work, for whoever restarts or asks it: GET /healthz and /readyz.
#ifndef UMBRA_SERVER_METRICS_HEALTH_H_
#define UMBRA_SERVER_METRICS_HEALTH_H_

#include <functional>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace umbra::metrics {

// Thread-safe.
class Health {
 public:
  struct Answer {
    bool good;
    std::string text;  // one word or two, for people
  };

  // Where a start is. Not ready until Ready.
  void Starting(const std::string& what) ABSL_LOCKS_EXCLUDED(mu_);
  // From now on whoever lets it in may do so. `catalog_answers` is what life hangs on; it may block.
  void Ready(std::function<bool()> catalog_answers) ABSL_LOCKS_EXCLUDED(mu_);
  // For good. Returns when nobody asks `catalog_answers` any more.
  void Stopping() ABSL_LOCKS_EXCLUDED(mu_);

  // A start may take long (a repository is healed), and a stop some seconds: both are life.
  Answer Live() const ABSL_LOCKS_EXCLUDED(mu_);
  Answer ReadyNow() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  mutable absl::Mutex mu_;  // shared while the catalog is asked
  std::string state_ ABSL_GUARDED_BY(mu_) = "starting";
  std::function<bool()> catalog_answers_ ABSL_GUARDED_BY(mu_);  // empty: not ready
};

}  // namespace umbra::metrics

#endif  // UMBRA_SERVER_METRICS_HEALTH_H_
