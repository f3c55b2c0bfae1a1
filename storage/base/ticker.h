// A thread that does one thing again and again: at its start, when the time is over that it named the last time, and
// when it is woken.
#ifndef UMBRA_STORAGE_BASE_TICKER_H_
#define UMBRA_STORAGE_BASE_TICKER_H_

#include <functional>
#include <memory>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "storage/base/clock.h"
#include "storage/base/threads.h"

namespace umbra::base {

// Thread-safe, but for Start and Stop, which are its owner's.
class Ticker {
 public:
  // `work` returns how long to wait for the next time, if nobody wakes it before. Clock and threads outlive the ticker.
  Ticker(Clock& clock, Threads& threads, std::function<absl::Duration()> work)
      : clock_(clock), threads_(threads), work_(std::move(work)) {}
  ~Ticker() { Stop(); }
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

  // Begins. Once.
  void Start();
  // Returns when the work that runs has ended; none begins any more. Also without a start, and again.
  void Stop() ABSL_LOCKS_EXCLUDED(mu_);
  // The work is done once more, at once or when it has ended that runs now.
  void Wake() ABSL_LOCKS_EXCLUDED(mu_);
  // For work that is long and can end in between.
  bool stopping() const ABSL_LOCKS_EXCLUDED(mu_);

 private:
  void Loop() ABSL_LOCKS_EXCLUDED(mu_);

  Clock& clock_;
  Threads& threads_;
  const std::function<absl::Duration()> work_;
  mutable absl::Mutex mu_;
  bool stopping_ ABSL_GUARDED_BY(mu_) = false;
  bool awake_ ABSL_GUARDED_BY(mu_) = false;
  std::unique_ptr<Thread> thread_;
};

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_TICKER_H_
