// Does what has to be done now and then: forgets what is too old to be of use (events, request ids, enrolment tokens,
// healed damage), and runs the tasks that it is given.
#ifndef UMBRA_SERVER_MAINTENANCE_HOUSEKEEPER_H_
#define UMBRA_SERVER_MAINTENANCE_HOUSEKEEPER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/jobs/event_hub.h"
#include "server/jobs/job_engine.h"
#include "storage/base/clock.h"
#include "storage/base/ticker.h"
#include "storage/catalog/catalog.h"

namespace umbra::maintenance {

inline constexpr absl::Duration kHousekeepingInterval = absl::Hours(1);

struct HousekeepingTask {
  std::string name;  // for the log
  std::function<absl::Status()> run;
};

// How long what happened is remembered. Jobs that a recovery point in the catalog came from stay.
struct HistoryKept {
  absl::Duration events = jobs::kEventsKeptFor;
  absl::Duration jobs = absl::Hours(24 * 90);
};

// One thread that works once at the start and then every kHousekeepingInterval. What it is given outlives it.
class Housekeeper {
 public:
  Housekeeper(catalog::Catalog& catalog, jobs::JobEngine& engine, jobs::EventHub& events, base::Clock& clock,
              std::vector<HousekeepingTask> tasks = {}, HistoryKept kept = {},
              base::Threads& threads = base::SystemThreads());
  Housekeeper(const Housekeeper&) = delete;
  Housekeeper& operator=(const Housekeeper&) = delete;

 private:
  void Clean();

  catalog::Catalog& catalog_;
  jobs::JobEngine& engine_;
  jobs::EventHub& events_;
  base::Clock& clock_;
  const std::vector<HousekeepingTask> tasks_;
  const HistoryKept kept_;
  base::Ticker ticker_;
};

}  // namespace umbra::maintenance

#endif  // UMBRA_SERVER_MAINTENANCE_HOUSEKEEPER_H_
