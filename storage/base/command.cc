#include "storage/base/command.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <map>
#include <optional>

#include "storage/base/descriptor.h"
#include "storage/base/status.h"

namespace umbra::base {
namespace {

constexpr size_t kMessageCharactersMax = 300;
// How often the clock is looked at while nothing happens: the injected clock doesn't wake poll.
constexpr int kPollMilliseconds = 20;

struct Pipe {
  Descriptor read, write;

  // The reading end never blocks.
  absl::Status Open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoError(errno, "pipe");
    read.Set(ends[0]);
    write.Set(ends[1]);
    if (fcntl(ends[0], F_SETFL, O_NONBLOCK) != 0) return ErrnoError(errno, "pipe");
    return absl::OkStatus();
  }
};

// A program's absolute path; empty when there is none.
std::string Find(const std::string& program) {
  if (program.find('/') != std::string::npos) return access(program.c_str(), F_OK) == 0 ? program : "";
  std::string_view rest = kCommandPath;
  while (!rest.empty()) {
    const size_t colon = std::min(rest.find(':'), rest.size());
    const std::string path = fmt::format("{}/{}", rest.substr(0, colon), program);
    if (access(path.c_str(), X_OK) == 0) return path;
    rest.remove_prefix(std::min(colon + 1, rest.size()));
  }
  return "";
}

std::vector<std::string> EnvironmentOf(const Command& command) {
  std::map<std::string, std::string> values{{"PATH", std::string(kCommandPath)}, {"LC_ALL", "C"}};
  for (const auto& [name, value] : command.environment) values[name] = value;
  std::vector<std::string> environment;
  for (const auto& [name, value] : values) environment.push_back(name + "=" + value);
  return environment;
}

std::vector<char*> Pointers(std::vector<std::string>& texts) {
  std::vector<char*> pointers;
  for (std::string& text : texts) pointers.push_back(text.data());
  pointers.push_back(nullptr);
  return pointers;
}

// What posix_spawn is told. Its calls fail only for want of memory or by a mistake of ours.
class SpawnPlan {
 public:
  SpawnPlan(int output, int errors) {
    posix_spawn_file_actions_init(&actions_);
    posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions_, output, STDOUT_FILENO);
    posix_spawn_file_actions_adddup2(&actions_, errors, STDERR_FILENO);
    posix_spawn_file_actions_addclosefrom_np(&actions_, STDERR_FILENO + 1);
    posix_spawn_file_actions_addchdir_np(&actions_, "/");
    posix_spawnattr_init(&attributes_);
    sigset_t none, all;
    sigemptyset(&none);
    sigfillset(&all);
    posix_spawnattr_setsigmask(&attributes_, &none);
    posix_spawnattr_setsigdefault(&attributes_, &all);
    posix_spawnattr_setpgroup(&attributes_, 0);
    posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
  }
  ~SpawnPlan() {
    posix_spawnattr_destroy(&attributes_);
    posix_spawn_file_actions_destroy(&actions_);
  }
  SpawnPlan(const SpawnPlan&) = delete;
  SpawnPlan& operator=(const SpawnPlan&) = delete;

  // 0 or an errno.
  int Spawn(const std::string& path, std::vector<char*> arguments, std::vector<char*> environment, pid_t* pid) {
    return posix_spawn(pid, path.c_str(), &actions_, &attributes_, arguments.data(), environment.data());
  }

 private:
  posix_spawn_file_actions_t actions_;
  posix_spawnattr_t attributes_;
};

// A running child. It is reaped by the end of Await at the latest.
class Child {
 public:
  Child(const Command& command, Clock& clock) : command_(command), clock_(clock), start_(clock.Monotonic()) {}

  absl::Status Start() {
    const std::string path = Find(command_.arguments.front());
    if (path.empty()) {
      return Error(absl::StatusCode::kNotFound, "COMMAND_NOT_FOUND", "there is no program {}",
                   command_.arguments.front());
    }
    RETURN_IF_ERROR(output_.Open());
    RETURN_IF_ERROR(errors_.Open());
    std::vector<std::string> arguments = command_.arguments;
    std::vector<std::string> environment = EnvironmentOf(command_);
    SpawnPlan plan(output_.write.get(), errors_.write.get());
    const int failed = plan.Spawn(path, Pointers(arguments), Pointers(environment), &pid_);
    output_.write.Close();
    errors_.write.Close();
    if (failed == EACCES || failed == ENOEXEC || failed == ENOENT) {
      return Error(absl::StatusCode::kPermissionDenied, "COMMAND_NOT_RUNNABLE", "{} can't be run: {}", path,
                   MessageOf(ErrnoError(failed, "start")));
    }
    if (failed != 0) return ErrnoError(failed, "start " + path);
    // Without it (an old kernel) the end of the child is seen a little later, when the clock is looked at.
    // (glibc 2.36 has pidfd_open without C linkage.)
    end_.Set(static_cast<int>(syscall(SYS_pidfd_open, pid_, 0)));
    return absl::OkStatus();
  }

  absl::StatusOr<CommandResult> Await() {
    while (!HasEnded()) {
      EndWhenDue();
      Wait();
      Drain();
    }
    // Before the child is reaped, so that the group's number is still its own.
    if (ending_since_) kill(-pid_, SIGKILL);
    Reap();
    Drain();
    result_.duration = clock_.Monotonic() - start_;
    return Result();
  }

 private:
  bool HasEnded() const {
    siginfo_t info{};
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) == 0 && info.si_pid == pid_;
  }

  void Reap() {
    while (waitpid(pid_, &status_, 0) < 0 && errno == EINTR) {
    }
  }

  // When it has taken too long, or somebody wants it to stop.
  void EndWhenDue() {
    const absl::Duration now = clock_.Monotonic();
    if (!ending_since_) {
      if (command_.check != nullptr) stopped_ = command_.check();
      if (stopped_.ok() && now - start_ < command_.timeout) return;
      kill(-pid_, SIGTERM);
      // From when it was due: a clock that jumped over both gives no more time.
      ending_since_ = stopped_.ok() ? start_ + command_.timeout : now;
    }
    if (now - *ending_since_ >= command_.kill_grace) kill(-pid_, SIGKILL);
  }

  void Wait() {
    std::array<pollfd, 3> places{
        {{output_.read.get(), POLLIN, 0}, {errors_.read.get(), POLLIN, 0}, {end_.get(), POLLIN, 0}}};
    poll(places.data(), places.size(), kPollMilliseconds);
  }

  void Drain() {
    Drain(output_.read, result_.output);
    Drain(errors_.read, result_.errors);
  }

  void Drain(Descriptor& from, std::string& to) {
    std::array<char, 16 * kKiB> piece;
    // Bounded, so that a child that never stops printing doesn't keep us from looking at the clock.
    for (int i = 0; i < 64 && from.ok(); ++i) {
      const ssize_t length = read(from.get(), piece.data(), piece.size());
      if (length < 0 && errno == EINTR) continue;
      if (length < 0 && errno == EAGAIN) return;
      if (length <= 0) return from.Close();
      const size_t kept = std::min(static_cast<size_t>(length), command_.output_bytes_max - to.size());
      to.append(piece.data(), kept);
      if (kept < static_cast<size_t>(length)) result_.truncated = true;
    }
  }

  absl::StatusOr<CommandResult> Result() {
    const std::string& program = command_.arguments.front();
    RETURN_IF_ERROR(stopped_);
    if (ending_since_) {
      return Error(absl::StatusCode::kDeadlineExceeded, "COMMAND_TIMEOUT", "{} did not end in {}: {}", program,
                   absl::FormatDuration(command_.timeout), LastWords());
    }
    if (WIFSIGNALED(status_)) {
      return Error(absl::StatusCode::kAborted, "COMMAND_KILLED", "{} was ended by signal {}: {}", program,
                   WTERMSIG(status_), LastWords());
    }
    result_.exit_status = WEXITSTATUS(status_);
    return std::move(result_);
  }

  std::string LastWords() const {
    const std::string errors = LastLineOf(result_.errors);
    return errors.empty() ? LastLineOf(result_.output) : errors;
  }

  const Command& command_;
  Clock& clock_;
  const absl::Duration start_;
  Pipe output_, errors_;
  Descriptor end_;  // readable when the child has ended
  pid_t pid_ = -1;
  int status_ = 0;
  absl::Status stopped_;                        // what command_.check said
  std::optional<absl::Duration> ending_since_;  // it is told to end
  CommandResult result_;
};

}  // namespace

absl::StatusOr<CommandResult> CommandRunner::RunToSuccess(const Command& command) {
  ASSIGN_OR_RETURN(CommandResult result, Run(command));
  if (result.ok()) return result;
  const std::string errors = LastLineOf(result.errors);
  return Error(absl::StatusCode::kAborted, "COMMAND_FAILED", "{} failed with status {}: {}", command.arguments.front(),
               result.exit_status, errors.empty() ? LastLineOf(result.output) : errors);
}

absl::StatusOr<CommandResult> SystemCommandRunner::Run(const Command& command) {
  UMBRA_CHECK(!command.arguments.empty());
  Child child(command, clock_);
  RETURN_IF_ERROR(child.Start());
  return child.Await();
}

std::string LastLineOf(std::string_view text) {
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  if (const size_t feed = text.rfind('\n'); feed != std::string_view::npos) text.remove_prefix(feed + 1);
  std::string line(text.substr(0, kMessageCharactersMax));
  std::replace_if(
      line.begin(), line.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, ' ');
  return line;
}

}  // namespace umbra::base
