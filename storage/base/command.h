// Programs run as child processes, injected: no shell, a time limit, bounded output.
//
// What is handed over is a list of arguments, so no text of a user is ever read as a command. A child gets nothing of
// this process but what is named here: no open files, no environment, no signal settings, and a process group of its
// own.
#ifndef UMBRA_STORAGE_BASE_COMMAND_H_
#define UMBRA_STORAGE_BASE_COMMAND_H_

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"

namespace umbra::base {

struct Command {
  // The program and what it is given. A program without a slash is looked for in kCommandPath.
  std::vector<std::string> arguments;
  // Beside PATH (kCommandPath) and LC_ALL=C, which can be replaced.
  std::vector<std::pair<std::string, std::string>> environment;
  // From the start to the end. Then the child's whole process group gets SIGTERM, and SIGKILL `kill_grace` later.
  absl::Duration timeout = absl::Seconds(30);
  absl::Duration kill_grace = absl::Seconds(5);
  // Asked every few milliseconds while it runs, on the thread that waits: once it isn't OK, the command is ended as
  // after its time, and that is the answer. Null: nobody ends it early. Must be quick.
  std::function<absl::Status()> check;
  // Kept of the output, and of the errors; what comes beyond is read and dropped, so that the child doesn't block.
  size_t output_bytes_max = 64 * kKiB;
};

inline constexpr std::string_view kCommandPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

struct CommandResult {
  int exit_status = 0;     // 0 to 255
  std::string output;      // standard output
  std::string errors;      // standard error
  bool truncated = false;  // one of the two was longer than output_bytes_max
  absl::Duration duration;

  bool ok() const { return exit_status == 0; }
};

// Thread-safe.
class CommandRunner {
 public:
  virtual ~CommandRunner() = default;

  // Runs the command to its end, with an empty standard input, in the folder "/". Blocks up to timeout + kill_grace.
  // The command has ended when the program itself has: what it left in the background keeps running, and what that
  // prints later isn't waited for.
  // An exit status other than 0 is a result, not an error. Errors:
  // NOT_FOUND / COMMAND_NOT_FOUND            there is no such program; nothing ran
  // PERMISSION_DENIED / COMMAND_NOT_RUNNABLE it can't be run; nothing ran
  // DEADLINE_EXCEEDED / COMMAND_TIMEOUT      it was ended; the text has the end of what it printed
  // ABORTED / COMMAND_KILLED                 a signal ended it
  // what command.check said                  it was ended
  // UNAVAILABLE / IO_ERROR                   no process or pipe could be had
  virtual absl::StatusOr<CommandResult> Run(const Command& command) = 0;

  // As Run, and ABORTED / COMMAND_FAILED with the end of its errors when the exit status isn't 0.
  absl::StatusOr<CommandResult> RunToSuccess(const Command& command);
};

// The operating system's.
class SystemCommandRunner final : public CommandRunner {
 public:
  explicit SystemCommandRunner(Clock& clock) : clock_(clock) {}

  absl::StatusOr<CommandResult> Run(const Command& command) override;

 private:
  Clock& clock_;
};

// The last line with something in it of what a command printed, at most 300 characters, without control characters: for
// messages to people.
std::string LastLineOf(std::string_view text);

}  // namespace umbra::base

#endif  // UMBRA_STORAGE_BASE_COMMAND_H_
