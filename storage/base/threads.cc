#include "storage/base/threads.h"

#include <time.h>

#include <algorithm>
#include <thread>
#include <utility>
#include <vector>

namespace umbra::base {
namespace {

class SystemThread final : public Thread {
 public:
  explicit SystemThread(std::function<void()> body) : thread_(std::move(body)) {}

 private:
  std::jthread thread_;
};

class SystemThreadsImpl final : public Threads {
 public:
  std::unique_ptr<Thread> Start(std::function<void()> body) override {
    return std::make_unique<SystemThread>(std::move(body));
  }
  void Await(absl::Mutex& mu, const absl::Condition& condition) override { mu.Await(condition); }
};

// What the workers of one InParallel share.
class Numbers {
 public:
  explicit Numbers(size_t count) : count_(count), failed_(count) {}

  void Work(const std::function<absl::Status(size_t)>& work) {
    while (true) {
      const size_t number = Take();
      if (number >= count_) return;
      const absl::Status status = work(number);
      if (!status.ok()) Fail(number, status);
    }
  }
  absl::Status status() const {
    absl::MutexLock lock(&mu_);
    return status_;
  }

 private:
  // `count_` when there is none left to begin.
  size_t Take() {
    absl::MutexLock lock(&mu_);
    return status_.ok() ? std::min(count_, next_++) : count_;
  }
  void Fail(size_t number, const absl::Status& status) {
    absl::MutexLock lock(&mu_);
    if (number > failed_) return;
    failed_ = number;
    status_ = status;
  }

  const size_t count_;
  mutable absl::Mutex mu_;
  size_t next_ ABSL_GUARDED_BY(mu_) = 0;
  size_t failed_ ABSL_GUARDED_BY(mu_);  // the lowest so far
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

}  // namespace

ThreadTimes ReadThreadTimes() {
  timespec computed{}, now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &computed);
  clock_gettime(CLOCK_MONOTONIC, &now);
  return {absl::DurationFromTimespec(computed), absl::DurationFromTimespec(now)};
}

absl::Status InParallel(Threads& threads, size_t count, size_t at_once,
                        const std::function<absl::Status(size_t)>& work) {
  Numbers numbers(count);
  {
    std::vector<std::unique_ptr<Thread>> helpers;
    for (size_t i = 1; i < std::min(count, at_once); ++i) helpers.push_back(threads.Start([&] { numbers.Work(work); }));
    numbers.Work(work);
  }
  return numbers.status();
}

Threads& SystemThreads() {
  static SystemThreadsImpl threads;
  return threads;
}

}  // namespace umbra::base
