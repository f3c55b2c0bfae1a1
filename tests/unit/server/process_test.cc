// Proves the program umbrad from outside: exit codes, signals, what it leaves behind, and that it comes up again after
// it was killed at each of its crash points.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <string>
#include <vector>

#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "tests/support/temp_dir.h"

namespace umbra::server {
namespace {

constexpr absl::Duration kPatience = absl::Seconds(30);

class ProcessTest : public ::testing::Test {
 protected:
  ~ProcessTest() override {
    if (pid_ == 0) return;
    kill(pid_, SIGKILL);
    waitpid(pid_, nullptr, 0);
  }

  void Spawn(std::vector<std::string> arguments, const std::string& crash_point = "") {
    arguments.insert(arguments.begin(), UMBRAD);
    std::vector<char*> argv;
    for (std::string& argument : arguments) argv.push_back(argument.data());
    argv.push_back(nullptr);
    std::string crash = "UMBRA_CRASH_POINT=" + crash_point;
    std::string secrets_key = "UMBRA_SECRETS_KEY=" + secrets_key_;
    char* environment[] = {crash.data(), secrets_key.data(), nullptr};
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 1, dir_.File("out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    posix_spawn_file_actions_addopen(&actions, 2, dir_.File("err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ASSERT_EQ(posix_spawn(&pid_, UMBRAD, &actions, nullptr, argv.data(), environment), 0);
    posix_spawn_file_actions_destroy(&actions);
  }

  void SpawnDaemon(const std::string& crash_point = "") {
    Spawn({"--data-dir", dir_.File("d"), "--agent-listen", "127.0.0.1:0", "--enrolment-listen", "127.0.0.1:0"},
          crash_point);
  }

  void AwaitAddresses() {
    const absl::Duration start = clock_.Monotonic();
    while (!*files_.Exists(dir_.File("d/umbrad.addresses"))) {
      ASSERT_LT(clock_.Monotonic() - start, kPatience) << *files_.ReadFile(dir_.File("err"));
      clock_.Sleep(absl::Milliseconds(10));
    }
  }

  // Exit code, or minus the signal.
  int Wait() {
    int status = 0;
    EXPECT_EQ(waitpid(pid_, &status, 0), pid_);
    pid_ = 0;
    return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
  }

  testing::TempDir dir_;
  base::PosixFilesystem files_;
  base::SystemClock clock_;
  std::string secrets_key_;
  pid_t pid_ = 0;
};

TEST_F(ProcessTest, HelpVersionAndMistakes) {
  Spawn({"--help"});
  EXPECT_EQ(Wait(), 0);
  EXPECT_NE(files_.ReadFile(dir_.File("out"))->find("Examples:"), std::string::npos);
  Spawn({"--version"});
  EXPECT_EQ(Wait(), 0);
  EXPECT_TRUE(files_.ReadFile(dir_.File("out"))->starts_with("umbrad "));
  Spawn({"--no-such-flag"});
  EXPECT_EQ(Wait(), 2);
  EXPECT_NE(files_.ReadFile(dir_.File("err"))->find("CONFIG_INVALID"), std::string::npos);
  Spawn({"--data-dir", "/proc/nowhere"});
  EXPECT_EQ(Wait(), 1);
}

TEST_F(ProcessTest, StopsGracefullyOnASignal) {
  for (const int signal : {SIGTERM, SIGINT}) {
    SpawnDaemon();
    AwaitAddresses();
    const absl::Duration start = clock_.Monotonic();
    kill(pid_, signal);
    EXPECT_EQ(Wait(), 0);
    EXPECT_LT(clock_.Monotonic() - start, absl::Seconds(10));
    EXPECT_FALSE(*files_.Exists(dir_.File("d/umbrad.addresses")));
  }
}

TEST_F(ProcessTest, SecretsAreSealedWithAKeyFromElsewhereAndWithoutItNothingStarts) {
  const std::string secrets[] = {dir_.File("d/authority.pem"), dir_.File("d/keys/main.key")};
  const auto run = [&] {
    SpawnDaemon();
    AwaitAddresses();
    kill(pid_, SIGTERM);
    EXPECT_EQ(Wait(), 0) << *files_.ReadFile(dir_.File("err"));
  };
  const auto fails_with = [&](const std::string& reason) {
    SpawnDaemon();
    EXPECT_EQ(Wait(), 1);
    const std::string said = *files_.ReadFile(dir_.File("err"));
    EXPECT_NE(said.find(reason), std::string::npos) << said;
  };
  run();  // an earlier version's, in the clear
  const std::string plain[] = {*files_.ReadFile(secrets[0]), *files_.ReadFile(secrets[1])};
  secrets_key_ = "a key of the test, 32 characters or more";
  run();
  for (const std::string& path : secrets) EXPECT_TRUE(files_.ReadFile(path)->starts_with("umbra-sealed-v1\n")) << path;
  run();
  secrets_key_ = "another key of the test, 32 characters or more";
  fails_with("SECRETS_KEY_WRONG");
  secrets_key_ = "";
  fails_with("SECRETS_KEY_MISSING");
  secrets_key_ = "a key of the test, 32 characters or more";
  Spawn({"--data-dir", dir_.File("d"), "unseal-secrets"});
  EXPECT_EQ(Wait(), 0) << *files_.ReadFile(dir_.File("err"));
  for (int i = 0; i < 2; ++i) EXPECT_EQ(*files_.ReadFile(secrets[i]), plain[i]) << secrets[i];
  secrets_key_ = "";
  run();
}

TEST_F(ProcessTest, TheFirstStartSaysWhereThePasswordIsAndNotWhatItIs) {
  SpawnDaemon();
  AwaitAddresses();
  kill(pid_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
  const std::string file = *files_.ReadFile(dir_.File("d/first-credential"));
  const std::string password = file.substr(file.find("password: ") + 10, 39);
  const std::string said = *files_.ReadFile(dir_.File("err"));
  EXPECT_NE(said.find("d/first-credential"), std::string::npos) << said;
  EXPECT_EQ(said.find(password), std::string::npos);
}

TEST_F(ProcessTest, ReadsItsFileAgainWhenAsked) {
  const std::string file = dir_.File("umbrad.toml");
  const std::string rest = "data_dir = \"" + dir_.File("d") + "\"\n[agents]\nlisten = \"127.0.0.1:0\"\nenrolment_listen = \"127.0.0.1:0\"\n";
  ASSERT_TRUE(files_.WriteFileAtomic(file, rest).ok());
  Spawn({"--config", file});
  AwaitAddresses();
  const auto reload = [&](const std::string& content, const std::string& said) {
    ASSERT_TRUE(files_.WriteFileAtomic(file, content).ok());
    kill(pid_, SIGHUP);
    const absl::Duration start = clock_.Monotonic();
    while (files_.ReadFile(dir_.File("err"))->find(said) == std::string::npos) {
      ASSERT_LT(clock_.Monotonic() - start, kPatience) << said << " is not in " << *files_.ReadFile(dir_.File("err"));
      clock_.Sleep(absl::Milliseconds(10));
    }
  };
  reload(rest + "[log]\nlevel = \"debug\"\n", "configuration reloaded log_level=debug");
  reload("not a configuration", "configuration not reloaded");
  reload(rest + "[metrics]\nlisten = \"127.0.0.1:0\"\n", "configuration needs a restart keys=metrics.listen");
  kill(pid_, SIGTERM);
  EXPECT_EQ(Wait(), 0);
}

TEST_F(ProcessTest, ComesUpAfterBeingKilledAnywhere) {
  for (const char* point :
       {"daemon.catalog_open", "daemon.jobs_recovered", "daemon.catalog_rebuilt", "daemon.listening"}) {
    SpawnDaemon(point);
    EXPECT_EQ(Wait(), -SIGKILL) << point;
    SpawnDaemon();
    // The killed one may have left its file: the new one's names its own pid.
    const std::string expected = "\"pid\": " + std::to_string(pid_);
    const absl::Duration start = clock_.Monotonic();
    auto content = files_.ReadFile(dir_.File("d/umbrad.addresses"));
    while (!content.ok() || content->find(expected) == std::string::npos) {
      ASSERT_LT(clock_.Monotonic() - start, kPatience) << point << *files_.ReadFile(dir_.File("err"));
      clock_.Sleep(absl::Milliseconds(10));
      content = files_.ReadFile(dir_.File("d/umbrad.addresses"));
    }
    kill(pid_, SIGTERM);
    EXPECT_EQ(Wait(), 0) << point;
  }
}

}  // namespace
}  // namespace umbra::server
