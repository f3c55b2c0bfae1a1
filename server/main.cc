// umbrad: reads flags and configuration, starts the daemon, waits for a signal, stops it.
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "server/config.h"
#include "server/server.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/log.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/base/tuning.h"

namespace {

using umbra::server::CommandLine;
using umbra::server::Server;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

int Complain(const absl::Status& status, int exit_code) {
  fmt::print(stderr, "umbrad: {} [{}]\n", umbra::base::MessageOf(status), umbra::base::ReasonOf(status));
  return exit_code;
}

// SIGTERM, SIGINT and SIGHUP are only ever taken by sigwait below. Call before the first thread starts.
sigset_t BlockSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGTERM, SIGINT, SIGHUP}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);  // a peer that went away is an error of the write, not the end of the daemon
  return signals;
}

int WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  return signal;
}

int Run(const CommandLine& line, const sigset_t& signals) {
  if (!umbra::base::SetUpLogging(line.config.log)) {
    fmt::print(stderr, "umbrad: can't log to '{}'\n", line.config.log.file);
    return kExitUsage;
  }
  umbra::base::PosixFilesystem filesystem;
  umbra::base::SystemClock clock;
  umbra::base::SystemRandom random;
  auto server = Server::Start(line.config, filesystem, clock, random);
  if (!server.ok()) {
    if (!line.config.log.file.empty()) {
      umbra::base::Log("server")->error("start failed error={}", umbra::base::Describe(server.status()));
    }
    return Complain(server.status(), kExitFailed);
  }
  umbra::base::Log("server")->info("stopping signal={}", WaitForSignal(signals));
  std::thread([&signals] {
    WaitForSignal(signals);
    _exit(kExitFailed);  // somebody doesn't want to wait
  }).detach();
  server->reset();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  umbra::base::TuneForBulkData();
  umask(0077);  // what we make holds other people's disks
  static const sigset_t signals = BlockSignals();
  umbra::base::PosixFilesystem filesystem;
  const auto line = umbra::server::ReadCommandLine(filesystem, std::vector<std::string>(argv + 1, argv + argc));
  if (!line.ok()) return Complain(line.status(), kExitUsage);
  if (!line->text.empty()) {
    fmt::print("{}", line->text);
    return 0;
  }
  return Run(*line, signals);
}
