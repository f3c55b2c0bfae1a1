#include "storage/base/threads.h"

#include <time.h>

#include <thread>
#include <utility>

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

}  // namespace

ThreadTimes ReadThreadTimes() {
  timespec computed{}, now{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &computed);
  clock_gettime(CLOCK_MONOTONIC, &now);
  return {absl::DurationFromTimespec(computed), absl::DurationFromTimespec(now)};
}

Threads& SystemThreads() {
  static SystemThreadsImpl threads;
  return threads;
}

}  // namespace umbra::base
