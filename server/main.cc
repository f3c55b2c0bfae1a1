// umbrad: reads flags and configuration, starts the daemon, waits for a signal, stops it.
#include <fmt/format.h>
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "server/config.h"
#include "server/repository_keys.h"
#include "server/restore_catalog.h"
#include "server/secrets/sealed_filesystem.h"
#include "server/server.h"
#include "server/service_manager.h"
#include "storage/base/bytes.h"
#include "storage/base/clock.h"
#include "storage/base/filesystem.h"
#include "storage/base/log.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/base/terminal.h"
#include "storage/base/tuning.h"
#include "storage/repo/verify_stored.h"
#include "storage/tls/certificate_authority.h"

namespace {

using umbra::server::CommandLine;
using umbra::server::Server;

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitDamaged = 7;  // as that of umbra repository verify

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

// Thousands of agents, streams and open files need more than the 1,024 that a shell gives.
void AllowManyFiles() {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  (void)setrlimit(RLIMIT_NOFILE, &files);
}

int WaitForSignal(const sigset_t& signals) {
  int signal = 0;
  sigwait(&signals, &signal);
  return signal;
}

// The machine's file system, on which our secrets are sealed when there is a key.
class Files {
 public:
  // Of a daemon without a key none may be sealed; with one all are from now on, unless they are to be `unsealed`.
  absl::Status Open(const umbra::server::Config& config, bool unsealed = false) {
    const auto environment = [](const char* name) {
      const char* value = std::getenv(name);
      return std::string(value == nullptr ? "" : value);
    };
    umbra::secrets::SecretPaths paths;
    paths.files.push_back(umbra::tls::CertificateAuthority::PathIn(config.data_dir));
    for (const auto& repository : config.repositories) paths.files.push_back(repository.key_file);
    paths.folders.push_back(config.notifications.secrets_dir);
    ASSIGN_OR_RETURN(const auto key, umbra::secrets::FindKey(
                                         posix_, {config.secrets_key_file, environment("CREDENTIALS_DIRECTORY"),
                                                  environment("UMBRA_SECRETS_KEY")}));
    if (!key.has_value()) return umbra::secrets::CheckNoneSealed(posix_, paths);
    sealed_ = std::make_unique<umbra::secrets::SealedFilesystem>(posix_, random_, *key, std::move(paths));
    return unsealed ? sealed_->UnsealAll() : sealed_->SealAll();
  }
  umbra::base::Filesystem& operator*() {
    return sealed_ == nullptr ? static_cast<umbra::base::Filesystem&>(posix_) : *sealed_;
  }

 private:
  umbra::base::PosixFilesystem posix_;
  umbra::base::SystemRandom random_;
  std::unique_ptr<umbra::secrets::SealedFilesystem> sealed_;
};

int UnsealSecrets(const CommandLine& line) {
  Files files;
  if (const absl::Status done = files.Open(line.config, true); !done.ok()) return Complain(done, kExitFailed);
  fmt::print(stderr, "umbrad: no secret is sealed any more\n");
  return 0;
}

// The repository's report on standard output, its progress on standard error.
int CheckFolder(const std::string& folder) {
  umbra::base::PosixFilesystem filesystem;
  uint64_t shown = 0;
  const auto progress = [&](const umbra::repo::VerifyProgress& p) {
    const uint64_t percent = p.total_bytes == 0 ? 100 : p.done_bytes * 100 / p.total_bytes;
    if (percent / 10 > shown / 10) fmt::print(stderr, "{}%\n", percent / 10 * 10);
    shown = percent;
  };
  const auto report = umbra::repo::VerifyStoredFolder(filesystem, folder, progress, {});
  if (!report.ok()) return Complain(report.status(), kExitFailed);
  fmt::print("repository {}: {} chunks in {} packs, {} of stored bytes; {} recovery points, {} index runs\n",
             report->repository_id, report->chunk_count, report->pack_count, umbra::base::FormatSize(report->stored_bytes),
             report->point_count, report->run_count);
  for (const std::string& problem : report->problems) fmt::print("damaged: {}\n", problem);
  fmt::print("{}\n", report->ok() ? "sound" : fmt::format("{} files are damaged", report->problems.size()));
  return report->ok() ? 0 : kExitDamaged;
}

int RecoverKey(const CommandLine& line) {
  const auto& repositories = line.config.repositories;
  const auto found = std::find_if(repositories.begin(), repositories.end(),
                                  [&](const auto& repository) { return repository.id == line.recover_key; });
  if (found == repositories.end()) {
    fmt::print(stderr, "umbrad: there is no repository '{}' in the configuration\n", line.recover_key);
    return kExitUsage;
  }
  Files files;
  if (const absl::Status opened = files.Open(line.config); !opened.ok()) return Complain(opened, kExitFailed);
  umbra::base::SystemClock clock;
  umbra::base::SystemRandom random;
  const std::string typed = umbra::base::ReadHiddenLine("Recovery key or passphrase: ");
  const absl::Status done = umbra::server::RecoverKeyFile(*found, typed, *files, clock, random);
  if (!done.ok()) return Complain(done, kExitFailed);
  fmt::print(stderr, "umbrad: {} is written; start umbrad as usual, then: umbra repository rebuild-catalog {}\n",
             found->key_file, found->id);
  return 0;
}

int CheckCatalogFile(const CommandLine& line) {
  umbra::base::PosixFilesystem filesystem;
  const auto version = umbra::server::CheckCatalog(line.config, filesystem);
  if (!version.ok()) return Complain(version.status(), absl::IsDataLoss(version.status()) ? kExitDamaged : kExitFailed);
  fmt::print("sound: {}/catalog.db, schema {}\n", line.config.data_dir, *version);
  return 0;
}

int PrintCopies(const std::vector<umbra::server::ListedCopy>& copies) {
  for (const auto& copy : copies) {
    const std::string time = absl::FormatTime("%Y-%m-%d %H:%M:%S", copy.info.create_time, absl::LocalTimeZone());
    fmt::print("{}  {}  {:>10}  {}\n", copy.info.id, copy.info.damaged ? "-" : time,
               umbra::base::FormatSize(copy.info.stored_bytes),
               copy.problem.empty() ? fmt::format("of {}, umbrad {}, schema {}", copy.machine, copy.daemon_version,
                                                  copy.schema_version)
                                    : copy.problem);
  }
  if (copies.empty()) fmt::print("there is no copy of a catalog in the repository\n");
  return 0;
}

int RestoreTheCatalog(const CommandLine& line) {
  Files files;
  if (const absl::Status opened = files.Open(line.config); !opened.ok()) return Complain(opened, kExitFailed);
  umbra::base::Filesystem& filesystem = *files;
  umbra::base::SystemClock clock;
  umbra::base::SystemRandom random;
  const auto& what = line.restore_catalog;
  const std::string typed = what.key_file.empty() ? umbra::base::ReadHiddenLine("Recovery key or passphrase: ") : "";
  if (what.list) {
    const auto copies = umbra::server::ListCatalogCopies(what, typed, filesystem, clock, random);
    return copies.ok() ? PrintCopies(*copies) : Complain(copies.status(), kExitFailed);
  }
  const auto report = umbra::server::RestoreCatalog(line.config, what, typed, filesystem, clock, random);
  if (!report.ok()) return Complain(report.status(), absl::IsDataLoss(report.status()) ? kExitDamaged : kExitFailed);
  for (const std::string& copy : report->passed_over) fmt::print("passed over: {}\n", copy);
  if (!report->copy.id.empty()) {
    fmt::print("restored from copy {} of {}\n", report->copy.id,
               absl::FormatTime("%Y-%m-%d %H:%M:%S", report->copy.create_time, absl::LocalTimeZone()));
  }
  fmt::print("{} policies, {} hosts{}; {} recovery points in repository {}: {} added, {} forgotten; {} jobs ended\n",
             report->policy_count, report->host_count, report->authority_restored ? ", certificate authority" : "",
             report->points.found_count, report->repository, report->points.added_count, report->points.removed_count,
             report->jobs_ended);
  for (const std::string& name : report->moved_aside) fmt::print("moved aside: {}\n", name);
  for (const std::string& what_is_missing : report->not_restored) fmt::print("not restored: {}\n", what_is_missing);
  for (const std::string& problem : report->points.problems) fmt::print("damaged: {}\n", problem);
  fmt::print("start umbrad as usual\n");
  return report->points.problems.empty() ? 0 : kExitDamaged;
}

// Reads the certificate of the HTTPS port again, where the configuration of the start says.
void ReloadCertificate(Server& server) {
  const auto log = umbra::base::Log("server");
  const absl::StatusOr<bool> read = server.ReloadCertificate();
  if (!read.ok()) {
    log->error("certificate not reloaded, the one before is shown error={}", umbra::base::Describe(read.status()));
  } else if (*read) {
    log->info("certificate reloaded");
  }
}

// Reads the configuration again. A file that can't be used changes nothing.
void Reload(const std::vector<std::string>& arguments, umbra::server::Config& config, Server& server) {
  const auto log = umbra::base::Log("server");
  umbra::base::PosixFilesystem filesystem;
  const auto line = umbra::server::ReadCommandLine(filesystem, arguments);
  if (!line.ok()) {
    log->error("configuration not reloaded error={}", umbra::base::Describe(line.status()));
    return;
  }
  umbra::server::TakeOnReloadable(line->config, config);
  server.TakeOn(config);
  umbra::base::SetLogLevel(config.log.level);
  log->info("configuration reloaded log_level={}", config.log.level);
  const auto keys = umbra::server::KeysThatNeedARestart(config, line->config);
  if (!keys.empty()) log->warn("configuration needs a restart keys={}", fmt::join(keys, ","));
}

int Run(const CommandLine& line, const std::vector<std::string>& arguments, const sigset_t& signals) {
  if (!umbra::base::SetUpLogging(line.config.log)) {
    fmt::print(stderr, "umbrad: can't log to '{}'\n", line.config.log.file);
    return kExitUsage;
  }
  Files files;
  umbra::base::SystemClock clock;
  umbra::base::SystemRandom random;
  const absl::Status opened = files.Open(line.config);
  auto server = opened.ok() ? Server::Start(line.config, *files, clock, random) : opened;
  if (!server.ok()) {
    if (!line.config.log.file.empty()) {
      umbra::base::Log("server")->error("start failed error={}", umbra::base::Describe(server.status()));
    }
    return Complain(server.status(), kExitFailed);
  }
  int signal = 0;
  {
    umbra::server::Config config = line.config;
    umbra::server::ServiceManager manager(clock, [&server] { return (*server)->Alive(); });
    manager.Ready();
    while ((signal = WaitForSignal(signals)) == SIGHUP) {
      manager.Reloading();
      Reload(arguments, config, **server);
      ReloadCertificate(**server);
      manager.Ready();
    }
  }
  umbra::base::Log("server")->info("stopping signal={}", signal);
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
  AllowManyFiles();
  umask(0077);  // what we make holds other people's disks
  static const sigset_t signals = BlockSignals();
  umbra::base::PosixFilesystem filesystem;
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  const auto line = umbra::server::ReadCommandLine(filesystem, arguments);
  if (!line.ok()) return Complain(line.status(), kExitUsage);
  if (!line->text.empty()) {
    fmt::print("{}", line->text);
    return 0;
  }
  if (!line->check_folder.empty()) return CheckFolder(line->check_folder);
  if (!line->recover_key.empty()) return RecoverKey(*line);
  if (line->unseal_secrets) return UnsealSecrets(*line);
  if (line->check_catalog) return CheckCatalogFile(*line);
  if (!line->restore_catalog.repository.empty()) return RestoreTheCatalog(*line);
  return Run(*line, arguments, signals);
}
