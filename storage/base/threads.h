// Threads, injected where a simulation must decide who runs when.
//
// SystemThreads gives threads of the operating system. A simulation runs the bodies one at a time on its clock, in an
// order that its seed decides; code that is to be simulated starts its threads here and waits only here and through
// base::Clock.
#ifndef UMBRA_STORAGE_BASE_THREADS_H_
#define UMBRA_STORAGE_BASE_THREADS_H_

#include <cstddef>
#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"

namespace umbra::base {

// One that was started. The destructor waits until its body has returned.
class Thread {
 public:
  virtual ~Thread() = default;
};

// Thread-safe.
class Threads {
 public:
  virtual ~Threads() = default;

  virtual std::unique_ptr<Thread> Start(std::function<void()> body) = 0;

  // Waits, with `mu` held on entry and exit, until `condition` is true, however long that takes. With a limit, wait
  // through base::Clock.
  virtual void Await(absl::Mutex& mu, const absl::Condition& condition) ABSL_SHARED_LOCKS_REQUIRED(mu) = 0;
};

// What the calling thread has computed so far, and what time it is; for differences only. A thread that wasn't waiting
// for anything but a processor has the same difference in both, or less in the first: then it had to share.
struct ThreadTimes {
  absl::Duration computed;
  absl::Duration now;
};
ThreadTimes ReadThreadTimes();

// Calls `work` with every number below `count`, up to `at_once` (at least 1) of them at the same time; the calling
// thread is one of those that work. After an error none begins any more. Returns when all that began have ended: OK, or
// the error of the lowest number.
absl::Status InParallel(Threads& threads, size_t count, size_t at_once,
                        const std::function<absl::Status(size_t)>& work);

// The operating system's. Lives as long as the process.
Threads& SystemThreads();

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_THREADS_H_
