// Proves that commands run without a shell, with their own environment, and end in time whatever they do, with real
// processes.
#include "storage/base/command.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "storage/base/filesystem.h"
#include "storage/base/status.h"
#include "tests/support/fake_command_runner.h"
#include "tests/support/temp_dir.h"

namespace umbra::base {
namespace {

class CommandTest : public ::testing::Test {
 protected:
  // A shell as the program under test: only what a test writes here is read by it.
  absl::StatusOr<CommandResult> Shell(const std::string& script, Command command = {}) {
    command.arguments = {"sh", "-c", script};
    return runner_.Run(command);
  }

  SystemClock clock_;
  SystemCommandRunner runner_{clock_};
  testing::TempDir dir_;
  PosixFilesystem files_;
};

TEST_F(CommandTest, GivesOutputErrorsAndStatus) {
  const auto result = Shell("echo out; echo err >&2; exit 3");
  ASSERT_TRUE(result.ok()) << Describe(result.status());
  EXPECT_EQ(result->output, "out\n");
  EXPECT_EQ(result->errors, "err\n");
  EXPECT_EQ(result->exit_status, 3);
  EXPECT_FALSE(result->ok());
  EXPECT_FALSE(result->truncated);
}

TEST_F(CommandTest, ArgumentsAreNotReadByAShell) {
  const std::string hostile = "$(touch " + dir_.File("made") + "); `id` > x | * \n ';";
  const auto result = runner_.Run({.arguments = {"printf", "%s", hostile}});
  ASSERT_TRUE(result.ok()) << Describe(result.status());
  EXPECT_EQ(result->output, hostile);
  EXPECT_FALSE(*files_.Exists(dir_.File("made")));
}

TEST_F(CommandTest, AChildGetsNothingOfOurs) {
  setenv("UMBRA_SECRET_OF_A_TEST", "1", 1);
  // A file that nobody marked close-on-exec, and signals blocked and ignored, as in the agent.
  const int leaked = dup(STDIN_FILENO);
  signal(SIGPIPE, SIG_IGN);
  sigset_t term;
  sigemptyset(&term);
  sigaddset(&term, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &term, nullptr);
  const auto signals = runner_.Run({.arguments = {"grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"}});
  pthread_sigmask(SIG_UNBLOCK, &term, nullptr);
  const auto rest = Shell("env; ls /proc/$$/fd; pwd; cat", {.environment = {{"GIVEN", "a b"}}});
  signal(SIGPIPE, SIG_DFL);
  close(leaked);
  unsetenv("UMBRA_SECRET_OF_A_TEST");

  ASSERT_TRUE(signals.ok() && rest.ok());
  unsigned long long blocked = 1, ignored = 1;
  ASSERT_EQ(std::sscanf(signals->output.c_str(), "SigBlk: %llx SigIgn: %llx", &blocked, &ignored), 2)
      << signals->output;
  EXPECT_EQ(blocked, 0u);
  EXPECT_EQ(ignored & 0x7fffffff, 0u);  // the C library keeps signals 32 and 33 for itself
  EXPECT_EQ(rest->output.find("UMBRA_SECRET_OF_A_TEST"), std::string::npos);
  EXPECT_NE(rest->output.find("GIVEN=a b\n"), std::string::npos);
  EXPECT_NE(rest->output.find("LC_ALL=C\n"), std::string::npos);
  EXPECT_NE(rest->output.find("\n0\n1\n2\n/\n"), std::string::npos) << rest->output;
}

TEST_F(CommandTest, SaysThatThereIsNoSuchProgram) {
  const absl::Status missing = runner_.Run({.arguments = {"umbra-no-such-program"}}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(ReasonOf(missing), "COMMAND_NOT_FOUND");
  EXPECT_EQ(ReasonOf(runner_.Run({.arguments = {dir_.File("none")}}).status()), "COMMAND_NOT_FOUND");
  ASSERT_TRUE(files_.WriteFileAtomic(dir_.File("text"), "no program").ok());
  const absl::Status text = runner_.Run({.arguments = {dir_.File("text")}}).status();
  EXPECT_EQ(ReasonOf(text), "COMMAND_NOT_RUNNABLE") << Describe(text);
}

TEST_F(CommandTest, ALateCommandAndItsChildrenAreEnded) {
  const absl::Duration start = clock_.Monotonic();
  const auto result =
      Shell("sleep 100 & echo $! >" + dir_.File("pid") + "; echo waiting; wait", {.timeout = absl::Milliseconds(300)});
  EXPECT_LT(clock_.Monotonic() - start, absl::Seconds(20));
  EXPECT_EQ(result.status().code(), absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(ReasonOf(result.status()), "COMMAND_TIMEOUT");
  EXPECT_NE(MessageOf(result.status()).find("waiting"), std::string::npos);
  const pid_t grandchild = std::atoi(files_.ReadFile(dir_.File("pid"))->c_str());
  ASSERT_GT(grandchild, 1);
  // Dead, or a zombie that its new parent has not looked at yet.
  const auto status = files_.ReadFile("/proc/" + std::to_string(grandchild) + "/stat");
  EXPECT_TRUE(!status.ok() || status->empty() || status->find(") Z") != std::string::npos) << *status;
}

TEST_F(CommandTest, OneThatIgnoresSigtermIsKilled) {
  const auto result = Shell("trap '' TERM; while :; do sleep 0.05; done",
                            {.timeout = absl::Milliseconds(200), .kill_grace = absl::Milliseconds(200)});
  EXPECT_EQ(ReasonOf(result.status()), "COMMAND_TIMEOUT");
}

TEST_F(CommandTest, OneThatSomebodyWantsToStopIsEndedAtOnceAndKilledAfterItsGrace) {
  const std::string begun = dir_.File("begun");
  const auto check = [&]() -> absl::Status {
    return files_.ReadFile(begun).ok() ? absl::CancelledError("stop") : absl::OkStatus();
  };
  const absl::Duration start = clock_.Monotonic();
  for (const std::string& trap : {std::string("exit 0"), "echo on >>" + dir_.File("ignored")}) {
    const auto result = Shell("trap '" + trap + "' TERM; touch " + begun + "; while :; do sleep 0.02; done",
                              {.timeout = absl::Seconds(1000), .kill_grace = absl::Milliseconds(200), .check = check});
    EXPECT_TRUE(absl::IsCancelled(result.status())) << Describe(result.status());
    ASSERT_TRUE(files_.Remove(begun).ok());
  }
  EXPECT_EQ(*files_.ReadFile(dir_.File("ignored")), "on\n") << "it was asked once, before it was killed";
  EXPECT_LT(clock_.Monotonic() - start, absl::Seconds(20));
}

TEST_F(CommandTest, TooMuchOutputIsDroppedAndBlocksNobody) {
  const auto result =
      Shell("head -c 3000000 /dev/zero; head -c 3000000 /dev/zero >&2; exit 1", {.output_bytes_max = 1000});
  ASSERT_TRUE(result.ok()) << Describe(result.status());
  EXPECT_EQ(result->output.size(), 1000u);
  EXPECT_EQ(result->errors.size(), 1000u);
  EXPECT_TRUE(result->truncated);
  EXPECT_EQ(result->exit_status, 1);
  EXPECT_EQ(ReasonOf(Shell("yes", {.timeout = absl::Milliseconds(200)}).status()), "COMMAND_TIMEOUT");
}

TEST_F(CommandTest, WhatStaysInTheBackgroundIsNotWaitedFor) {
  const auto result = Shell("sleep 2 & echo started", {.timeout = absl::Seconds(60)});
  ASSERT_TRUE(result.ok()) << Describe(result.status());
  EXPECT_EQ(result->output, "started\n");
  EXPECT_LT(result->duration, absl::Seconds(2));
}

TEST_F(CommandTest, ASignalIsAnError) {
  const auto result = Shell("echo dying >&2; kill -9 $$");
  EXPECT_EQ(result.status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(ReasonOf(result.status()), "COMMAND_KILLED");
}

TEST_F(CommandTest, RunToSuccessTellsTheLastLineOfTheErrors) {
  const auto result =
      runner_.RunToSuccess({.arguments = {"sh", "-c", "echo a >&2; echo 'why\tit failed' >&2; echo >&2; exit 7"}});
  EXPECT_EQ(ReasonOf(result.status()), "COMMAND_FAILED");
  EXPECT_EQ(MessageOf(result.status()), "sh failed with status 7: why it failed");
}

TEST_F(CommandTest, TheFakeRemembersAndAnswers) {
  testing::FakeCommandRunner fake([](const Command& command) -> absl::StatusOr<CommandResult> {
    return CommandResult{.exit_status = command.arguments.front() == "bad" ? 1 : 0};
  });
  EXPECT_TRUE(fake.RunToSuccess({.arguments = {"good", "x"}}).ok());
  EXPECT_EQ(ReasonOf(fake.RunToSuccess({.arguments = {"bad"}}).status()), "COMMAND_FAILED");
  EXPECT_EQ(fake.lines(), (std::vector<std::string>{"good x", "bad"}));
}

}  // namespace
}  // namespace umbra::base
