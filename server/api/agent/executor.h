// A few threads that do what gRPC's own threads must not: disk, database, decompression.
#ifndef UMBRA_SERVER_API_AGENT_EXECUTOR_H_
#define UMBRA_SERVER_API_AGENT_EXECUTOR_H_

#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace umbra::api {

// Runs tasks in the order they came, on a fixed number of threads. Thread-safe.
//
// The queue has no limit of its own: every caller submits at most one task at a time for a stream or a call, and those are
// limited (StoreLimits, and gRPC's streams per connection).
class Executor {
 public:
  explicit Executor(int thread_count);
  // Runs what was submitted, then joins.
  ~Executor();

  void Submit(std::function<void()> task);

 private:
  void Run();

  absl::Mutex mu_;
  std::deque<std::function<void()>> tasks_ ABSL_GUARDED_BY(mu_);
  bool closing_ ABSL_GUARDED_BY(mu_) = false;
  std::vector<std::jthread> threads_;  // constant after construction
};

}  // namespace umbra::api

#endif  // UMBRA_SERVER_API_AGENT_EXECUTOR_H_
