// Commands that don't run: each is remembered and answered by a function of the test.
#ifndef UMBRA_TESTS_SUPPORT_FAKE_COMMAND_RUNNER_H_
#define UMBRA_TESTS_SUPPORT_FAKE_COMMAND_RUNNER_H_

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "storage/base/command.h"

namespace umbra::testing {

// Thread-safe when the function is.
class FakeCommandRunner final : public base::CommandRunner {
 public:
  using Answer = std::function<absl::StatusOr<base::CommandResult>(const base::Command&)>;

  explicit FakeCommandRunner(Answer answer) : answer_(std::move(answer)) {}

  absl::StatusOr<base::CommandResult> Run(const base::Command& command) override {
    std::string line;
    for (const std::string& argument : command.arguments) line += (line.empty() ? "" : " ") + argument;
    {
      absl::MutexLock lock(&mu_);
      lines_.push_back(std::move(line));
    }
    return answer_(command);
  }

  // What was run, each as one line with spaces between the arguments.
  std::vector<std::string> lines() const {
    absl::MutexLock lock(&mu_);
    return lines_;
  }

 private:
  const Answer answer_;
  mutable absl::Mutex mu_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mu_);
};

}  // namespace umbra::testing

#endif  // UMBRA_TESTS_SUPPORT_FAKE_COMMAND_RUNNER_H_
