#include "tests/sim/fleet/process.h"

namespace umbra::sim::fleet {

bool ProcessClock::AwaitFor(absl::Mutex& mu, const absl::Condition& condition,
                            absl::Duration timeout) ABSL_NO_THREAD_SAFETY_ANALYSIS {
  constexpr absl::Duration kDeadWait = absl::Nanoseconds(1);
  if (condition.Eval()) return true;
  if (timeout <= absl::ZeroDuration()) return false;
  if (!dead_()) on_wait_();
  const absl::Duration begin = run_.scheduler.Monotonic();
  if (!dead_()) {
    struct Context {
      const absl::Condition& condition;
      const std::function<bool()>& dead;
    } context{condition, dead_};
    const absl::Condition met_or_dead(
        +[](Context* c) { return c->condition.Eval() || c->dead(); }, &context);
    run_.scheduler.AwaitFor(mu, met_or_dead, timeout);
    if (condition.Eval()) return true;
    if (!dead_()) return false;
  }
  if (timeout == absl::InfiniteDuration()) return run_.scheduler.AwaitFor(mu, condition, timeout);
  const bool met = run_.scheduler.AwaitFor(mu, condition, kDeadWait);
  if (!met) skipped_ += std::max(absl::ZeroDuration(), timeout - (run_.scheduler.Monotonic() - begin));
  return met;
}

}  // namespace umbra::sim::fleet
