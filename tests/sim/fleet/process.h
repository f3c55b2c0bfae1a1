// The clock of a process that can die. A dead process does nothing more to the world; its code can't be stopped in the
// middle, so it runs to its end without effect, and each wait of it takes a nanosecond.
#ifndef UMBRA_TESTS_SIM_FLEET_PROCESS_H_
#define UMBRA_TESTS_SIM_FLEET_PROCESS_H_

#include <functional>
#include <utility>

#include "storage/base/clock.h"
#include "tests/sim/run_context.h"

namespace umbra::sim::fleet {

class ProcessClock final : public base::Clock {
 public:
  // `wall_ahead`: of true time, as the machine's wall clock is set. `on_wait` runs before each wait of a live process,
  // and may be what kills it.
  ProcessClock(RunContext& run, std::function<bool()> dead, const absl::Duration& wall_ahead,
               std::function<void()> on_wait)
      : run_(run), dead_(std::move(dead)), wall_ahead_(wall_ahead), on_wait_(std::move(on_wait)) {}

  absl::Time Now() override { return run_.scheduler.Now() + skipped_ + wall_ahead_; }
  absl::Duration Monotonic() override { return run_.scheduler.Monotonic() + skipped_; }
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override;

 private:
  RunContext& run_;
  const std::function<bool()> dead_;
  const absl::Duration& wall_ahead_;
  const std::function<void()> on_wait_;
  absl::Duration skipped_;  // by the waits of the dead
};

}  // namespace umbra::sim::fleet

#endif  // UMBRA_TESTS_SIM_FLEET_PROCESS_H_
