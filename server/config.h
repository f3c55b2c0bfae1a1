// What umbrad is told: a TOML file, then flags over it, turned into one plain struct. Nothing below main reads either.
#ifndef UMBRA_SERVER_CONFIG_H_
#define UMBRA_SERVER_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "storage/base/filesystem.h"
#include "storage/base/log.h"
#include "storage/tls/certificate_authority.h"

namespace umbra::server {

struct RepositoryConfig {
  std::string id;    // the {repository} of "repositories/{repository}"
  std::string path;  // folder; made when it isn't there
  // Opens the repository; made with it. Empty: keys/ID.key in data_dir.
  std::string key_file = {};
  // Only when the repository is made; a power of two from 64 KiB to 1 MiB. 0: the repository's own default.
  uint32_t chunk_size_bytes = 0;
  // Most that all agents together upload to it; 0: no limit. Taken on while the daemon runs.
  uint32_t upload_mib_per_second = 0;

  bool operator==(const RepositoryConfig&) const = default;
};

struct PruneConfig {
  // How often each repository is pruned; zero: only when somebody asks.
  absl::Duration every = absl::Hours(24);
  // A removed recovery point can be undeleted this long.
  absl::Duration undelete_window = absl::Hours(24 * 7);
  // Packs younger than this stay, so that an upload that was cut need not send again what is there.
  absl::Duration young_pack_grace = absl::Hours(24);
  // From "nothing needs this pack" to its deletion.
  absl::Duration condemned_grace = absl::Hours(1);
  // Most that is read and written for copying out of packs with little in them; 0: no limit.
  uint32_t io_mib_per_second = 64;
  // A pack is copied when less than this part of it is needed.
  uint32_t compact_below_percent = 60;
  // Set aside in each repository, so that something can be removed when its disk is full. 0: nothing.
  uint32_t reserve_mib = 32;

  bool operator==(const PruneConfig&) const = default;
};

struct JobsConfig {
  // How many jobs of agents may work at once: in all, on one host, with one repository. 0: no limit. In all: when a
  // policy of a whole fleet is due, thousands would begin in one moment, and hold each other up (docs/scale.md).
  uint32_t max = 256;
  uint32_t per_host_max = 2;
  uint32_t per_repository_max = 0;
  // Ended jobs, and events, are remembered this long; jobs that a recovery point came from as long as it is there.
  uint32_t keep_days = 90;
  uint32_t keep_events_days = 90;
  // Entries of the audit log.
  uint32_t keep_audit_days = 400;

  bool operator==(const JobsConfig&) const = default;
};

struct CatalogConfig {
  // How often the catalog is copied into each repository; zero: only when somebody asks.
  absl::Duration backup_every = absl::Hours(6);
  // From a change of policies or hosts to its copy.
  absl::Duration backup_after_change = absl::Minutes(5);
  // The certificate authority, with its key, is in the copies.
  bool backup_authority = true;

  bool operator==(const CatalogConfig&) const = default;
};

struct NotificationsConfig {
  // Folder of passwords, keys and certificates of channels.
  std::string secrets_dir = "secrets";
  // A repository is told of as nearly full below this part of what is stored and free together; 0: never.
  uint32_t repository_free_percent = 10;

  bool operator==(const NotificationsConfig&) const = default;
};

// The API for programs and browsers: REST over HTTPS.
struct HttpConfig {
  // "IP:port" of this machine's loopback, port 0 takes a free one; empty: nowhere.
  std::string listen;
  // PEM files of the certificate, with those that vouch for it, and its key. Both or none: none is one of the daemon's own
  // authority, made anew at each start.
  std::string certificate;
  std::string key;
  // Origins ("https://dash.example") whose pages may use the API from a browser.
  std::vector<std::string> cors_origins;
  // Folder with the files of the dashboard; empty: none.
  std::string dashboard_dir;
  // Most requests a second of one caller, and four times as many of one address; 0: no limit.
  uint32_t requests_per_second = 1000;
  // Largest body of a request.
  uint32_t body_kib_max = 1024;

  bool operator==(const HttpConfig&) const = default;
};

struct Config {
  // Everything that umbrad keeps is here unless told otherwise: catalog, authority, socket, the repository "main".
  // Relative paths below are relative to it.
  std::string data_dir = "/var/lib/umbra";
  // Seals secrets on the disk (docs/adr/0051). Empty: see main.
  std::string secrets_key_file;
  std::string api_socket = "umbrad.sock";

  // "address:port"; port 0 takes a free one (see Server::Addresses).
  std::string agent_listen = "0.0.0.0:7440";
  std::string enrolment_listen = "0.0.0.0:7441";
  // DNS names and addresses by which agents reach this machine; the first one is handed out. None: the host name.
  std::vector<std::string> advertise;
  // An agent that is silent for `lease` is taken for lost; an agent without link for as long stops its work. Too short:
  // a hiccup of the network ends backups. Too long: a dead host holds its virtual machines' jobs up.
  absl::Duration heartbeat = absl::Seconds(5);
  absl::Duration lease = absl::Seconds(60);
  // Agents get a new certificate by themselves when two thirds are over. One that is off for longer than the last third
  // has to be enrolled again.
  absl::Duration certificate_lifetime = tls::kAgentLifetime;

  // Verification of the repositories by the daemon itself; the time from one run to the next, 0: none (see
  // maintenance::VerifyScheduleOptions).
  absl::Duration verify_interval = absl::Hours(24);
  uint32_t verify_within_days = 30;
  absl::Duration verify_budget = absl::Hours(1);

  // Where figures are for Prometheus; empty: nowhere.
  std::string metrics_listen;

  base::LogConfig log;
  PruneConfig prune;
  JobsConfig jobs;
  CatalogConfig catalog;
  NotificationsConfig notifications;
  HttpConfig http;

  // The first is the default one. None: "main" in "repositories/main".
  std::vector<RepositoryConfig> repositories;
};

// INVALID_ARGUMENT / CONFIG_INVALID, worded "FILE:LINE: key: what is wrong"; one fault, the first.
absl::StatusOr<Config> ParseConfig(std::string_view toml, const std::string& file_name);

// Fills in defaults that depend on others, makes paths absolute, checks what hangs together.
// INVALID_ARGUMENT / CONFIG_INVALID.
absl::StatusOr<Config> CompleteConfig(Config config);

// As a configuration file; ParseConfig reads it back.
std::string PrintConfig(const Config& config);

// What "umbrad restore-catalog" is told.
struct RestoreCatalogConfig {
  std::string repository;  // folder
  std::string key_file;    // empty: a recovery key or passphrase is read from standard input
  std::string copy;        // id of a copy; empty: the newest sound one
  bool replace = false;    // what is in the way is moved aside
  bool list = false;       // only say which copies there are
};

struct CommandLine {
  Config config;     // complete
  std::string text;  // not empty: print it to standard output and exit with 0 instead of running
  // Not empty: check the stored bytes of the repository in this folder, without keys or catalog, and exit.
  std::string check_folder;
  // Not empty: make the key file of this repository from the key on standard input, and exit.
  std::string recover_key;
  // "umbrad check-catalog": check the catalog's file, and exit.
  bool check_catalog = false;
  // "umbrad unseal-secrets": write them in the clear again, and exit.
  bool unseal_secrets = false;
  // "umbrad restore-catalog": bring the daemon's state back from a repository, and exit. Set when its path is.
  RestoreCatalogConfig restore_catalog;
};

// Takes over from `now` what a running daemon can take on: the log's level, the limits of repositories that it has
// open.
void TakeOnReloadable(const Config& now, Config& config);

// What of `now` a running daemon can't take on: keys of the file, for people. Empty: nothing else differs.
std::vector<std::string> KeysThatNeedARestart(const Config& before, const Config& now);

// `arguments` are those after the program's name. Reads the file that --config names.
// INVALID_ARGUMENT / CONFIG_INVALID, or why the file can't be read.
absl::StatusOr<CommandLine> ReadCommandLine(base::Filesystem& filesystem, std::vector<std::string> arguments);

}  // namespace umbra::server

#endif  // UMBRA_SERVER_CONFIG_H_
