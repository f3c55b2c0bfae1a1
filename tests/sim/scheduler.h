// Runs "threads" one at a time, as fibers of one real thread, on a clock that moves only when all of them wait. One
// seed decides who goes on when several could, so a run is repeated exactly by its seed, whatever the machine does.
//
// A fiber gives way to others only where it waits: AwaitFor, Sleep, Await, and the end of a Thread. Between two waits
// nobody else runs. A mutex held across a wait on another one blocks the fibers that want it, as it would block
// threads; when nobody can go on any more, the run ends with a list of who waits.
//
// Use it from the thread that made it.
#ifndef UMBRA_TESTS_SIM_SCHEDULER_H_
#define UMBRA_TESTS_SIM_SCHEDULER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/threads.h"
#include "tests/sim/dice.h"

namespace umbra::sim {

// What the monotonic clock shows when a run begins.
inline constexpr absl::Duration kStart = absl::Hours(1);

class Scheduler final : public base::Clock, public base::Threads {
 public:
  explicit Scheduler(uint64_t seed);
  ~Scheduler() override;  // every Thread has ended

  // base::Clock
  absl::Time Now() override { return absl::FromUnixSeconds(1'800'000'000) + now_; }
  absl::Duration Monotonic() override { return now_; }
  bool AwaitFor(absl::Mutex& mu, const absl::Condition& condition, absl::Duration timeout)
      ABSL_SHARED_LOCKS_REQUIRED(mu) override;

  // base::Threads
  std::unique_ptr<base::Thread> Start(std::function<void()> body) override;
  void Await(absl::Mutex& mu, const absl::Condition& condition) ABSL_SHARED_LOCKS_REQUIRED(mu) override;

  // Waits until `ready` is true or the monotonic clock shows `deadline`; returns whether it is true. `ready` is called
  // while other fibers run and must not wait.
  bool Wait(const std::function<bool()>& ready, absl::Duration deadline);

  // How often somebody went on: the length of a run.
  int64_t step_count() const { return step_count_; }

 private:
  struct Fiber;
  class FiberThread;

  static void Enter();
  void RunBody();
  // Hands over to whoever may go on, after moving the clock if need be.
  void Switch();
  void SwitchTo(Fiber* next);
  Fiber* Choose();
  [[noreturn]] void Stuck();

  Dice dice_;
  absl::Duration now_ = kStart;
  int64_t step_count_ = 0;
  std::vector<Fiber*> fibers_;  // all that have not ended
  std::vector<std::unique_ptr<Fiber>> owned_;
  std::vector<Fiber*> ended_;  // their stacks are used again
  Fiber* current_ = nullptr;
  int fiber_count_ = 0;
};

}  // namespace umbra::sim

#endif  // UMBRA_TESTS_SIM_SCHEDULER_H_
