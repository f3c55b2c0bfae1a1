#include "server/config.h"

#include <sys/un.h>
#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <bit>
#include <filesystem>
#include <functional>
#include <set>
#include <sstream>

#include "storage/base/bytes.h"
#include "storage/base/status.h"
#include "storage/repo/chunk.h"

namespace umbra::server {
namespace {

constexpr uint64_t kConfigSizeMax = base::kMiB;

// What a call of the services takes is 4 MiB.
constexpr uint32_t kHttpBodyKibMax = 4096;
constexpr absl::Duration kHeartbeatMin = absl::Milliseconds(100);
constexpr absl::Duration kHeartbeatMax = absl::Minutes(5);
constexpr absl::Duration kPruneDurationMax = absl::Hours(24 * 366 * 10);
// Shorter ones are for trying renewal out.
constexpr absl::Duration kCertificateLifetimeMin = absl::Seconds(10);
constexpr absl::Duration kCertificateLifetimeMax = absl::Hours(24 * 365 * 10);
// A lease must outlast a few lost heartbeats.
constexpr int kHeartbeatsPerLease = 3;

template <typename... Args>
absl::Status Invalid(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kInvalidArgument, "CONFIG_INVALID", format, std::forward<Args>(args)...);
}

// ---- Reading the file ----

// A key of the file: how its value gets into `Target`. `set` returns false when the value is none of `expected`.
template <typename Target>
struct Key {
  const char* name;
  const char* expected;
  std::function<bool(const toml::node&, Target&)> set;
};

bool Take(const toml::node& node, std::string& out) {
  const auto value = node.value_exact<std::string>();
  if (value) out = *value;
  return value.has_value();
}

bool Take(const toml::node& node, bool& out) {
  const auto value = node.value_exact<bool>();
  if (value) out = *value;
  return value.has_value();
}

bool Take(const toml::node& node, absl::Duration& out) {
  const auto text = node.value_exact<std::string>();
  return text && absl::ParseDuration(*text, &out);
}

bool Take(const toml::node& node, std::vector<std::string>& out) {
  const toml::array* array = node.as_array();
  if (array == nullptr) return false;
  out.clear();
  return std::all_of(array->begin(), array->end(),
                     [&](const toml::node& item) { return Take(item, out.emplace_back()); });
}

bool Take(const toml::node& node, uint32_t& out) {
  const auto value = node.value_exact<int64_t>();
  if (!value || *value < 0 || *value > UINT32_MAX) return false;
  out = static_cast<uint32_t>(*value);
  return true;
}

template <typename Target, typename Field>
Key<Target> Plain(const char* name, const char* expected, Field Target::*field) {
  return {name, expected, [field](const toml::node& node, Target& target) { return Take(node, target.*field); }};
}

template <typename Field>
Key<Config> OfLog(const char* name, const char* expected, Field base::LogConfig::*field) {
  return {name, expected, [field](const toml::node& node, Config& config) { return Take(node, config.log.*field); }};
}

template <typename Field>
Key<Config> OfPrune(const char* name, const char* expected, Field PruneConfig::*field) {
  return {name, expected, [field](const toml::node& node, Config& config) { return Take(node, config.prune.*field); }};
}

template <typename Field>
Key<Config> OfNotifications(const char* name, const char* expected, Field NotificationsConfig::*field) {
  return {name, expected,
          [field](const toml::node& node, Config& config) { return Take(node, config.notifications.*field); }};
}

template <typename Field>
Key<Config> OfHttp(const char* name, const char* expected, Field HttpConfig::*field) {
  return {name, expected, [field](const toml::node& node, Config& config) { return Take(node, config.http.*field); }};
}

Key<Config> OfJobs(const char* name, uint32_t JobsConfig::*field) {
  return {name, "a number", [field](const toml::node& node, Config& config) { return Take(node, config.jobs.*field); }};
}

template <typename Field>
Key<Config> OfCatalog(const char* name, const char* expected, Field CatalogConfig::*field) {
  return {name, expected,
          [field](const toml::node& node, Config& config) { return Take(node, config.catalog.*field); }};
}

// A tebibyte: more is no limit.
constexpr uint32_t kUploadMibPerSecondMax = 1 << 20;
constexpr char kText[] = "a text";
constexpr char kAddress[] = "a text \"address:port\"";
constexpr char kNumber[] = "a number";
constexpr char kDuration[] = "a text such as \"5s\" or \"1m30s\"";

const std::vector<Key<Config>>& ConfigKeys() {
  static const auto* keys = new std::vector<Key<Config>>{
      Plain("data_dir", kText, &Config::data_dir),
      Plain("secrets_key_file", kText, &Config::secrets_key_file),
      Plain("api.socket", kText, &Config::api_socket),
      Plain("agents.listen", kAddress, &Config::agent_listen),
      Plain("agents.enrolment_listen", kAddress, &Config::enrolment_listen),
      Plain("agents.advertise", "a list of texts", &Config::advertise),
      Plain("agents.heartbeat", kDuration, &Config::heartbeat),
      Plain("agents.lease", kDuration, &Config::lease),
      Plain("agents.certificate_lifetime", kDuration, &Config::certificate_lifetime),
      OfPrune("prune.every", kDuration, &PruneConfig::every),
      OfPrune("prune.undelete_window", kDuration, &PruneConfig::undelete_window),
      OfPrune("prune.young_pack_grace", kDuration, &PruneConfig::young_pack_grace),
      OfPrune("prune.condemned_grace", kDuration, &PruneConfig::condemned_grace),
      OfPrune("prune.io_mib_per_second", kNumber, &PruneConfig::io_mib_per_second),
      OfPrune("prune.compact_below_percent", kNumber, &PruneConfig::compact_below_percent),
      OfPrune("prune.reserve_mib", kNumber, &PruneConfig::reserve_mib),
      OfJobs("jobs.max", &JobsConfig::max),
      OfJobs("jobs.per_host_max", &JobsConfig::per_host_max),
      OfJobs("jobs.per_repository_max", &JobsConfig::per_repository_max),
      OfJobs("jobs.keep_days", &JobsConfig::keep_days),
      OfJobs("jobs.keep_events_days", &JobsConfig::keep_events_days),
      OfJobs("jobs.keep_audit_days", &JobsConfig::keep_audit_days),
      OfNotifications("notifications.secrets_dir", kText, &NotificationsConfig::secrets_dir),
      OfNotifications("notifications.repository_free_percent", kNumber, &NotificationsConfig::repository_free_percent),
      Plain("metrics.listen", kAddress, &Config::metrics_listen),
      OfHttp("http.listen", kAddress, &HttpConfig::listen),
      OfHttp("http.certificate", kText, &HttpConfig::certificate),
      OfHttp("http.key", kText, &HttpConfig::key),
      OfHttp("http.cors_origins", "a list of texts", &HttpConfig::cors_origins),
      OfHttp("http.dashboard_dir", kText, &HttpConfig::dashboard_dir),
      OfHttp("http.requests_per_second", kNumber, &HttpConfig::requests_per_second),
      OfHttp("http.body_kib_max", kNumber, &HttpConfig::body_kib_max),
      OfLog("log.level", kText, &base::LogConfig::level),
      OfLog("log.file", kText, &base::LogConfig::file),
      OfLog("log.json", "true or false", &base::LogConfig::json),
      Plain("verify.interval", kDuration, &Config::verify_interval),
      Plain("verify.within_days", "a number of days", &Config::verify_within_days),
      Plain("verify.budget", kDuration, &Config::verify_budget),
      OfCatalog("catalog.backup_every", kDuration, &CatalogConfig::backup_every),
      OfCatalog("catalog.backup_after_change", kDuration, &CatalogConfig::backup_after_change),
      OfCatalog("catalog.backup_authority", "true or false", &CatalogConfig::backup_authority),
  };
  return *keys;
}

const std::vector<Key<RepositoryConfig>>& RepositoryKeys() {
  static const auto* keys = new std::vector<Key<RepositoryConfig>>{
      Plain("id", kText, &RepositoryConfig::id),
      Plain("path", kText, &RepositoryConfig::path),
      Plain("key_file", kText, &RepositoryConfig::key_file),
      Plain("chunk_size_bytes", "a number of bytes", &RepositoryConfig::chunk_size_bytes),
      Plain("upload_mib_per_second", kNumber, &RepositoryConfig::upload_mib_per_second),
  };
  return *keys;
}

class FileReader {
 public:
  explicit FileReader(const std::string& file_name) : file_name_(file_name) {}

  absl::StatusOr<Config> Read(const toml::table& root) {
    Config config;
    for (const auto& [key, node] : root) {
      const std::string name(key.str());
      if (name == "repository") {
        RETURN_IF_ERROR(ReadRepositories(node, config));
      } else if (node.is_table() && IsSection(name)) {
        RETURN_IF_ERROR(ReadTable(*node.as_table(), name + ".", ConfigKeys(), config));
      } else {
        RETURN_IF_ERROR(ReadKey(node, name, ConfigKeys(), config));
      }
    }
    return config;
  }

  absl::Status At(const toml::source_region& place, std::string_view what) const {
    return Invalid("{}:{}: {}", file_name_, place.begin.line, what);
  }

 private:
  static bool IsSection(const std::string& name) {
    return std::any_of(ConfigKeys().begin(), ConfigKeys().end(),
                       [&](const auto& key) { return std::string_view(key.name).starts_with(name + "."); });
  }

  absl::Status ReadRepositories(const toml::node& node, Config& config) {
    const toml::array* array = node.as_array();
    if (array == nullptr || !array->is_homogeneous(toml::node_type::table)) {
      return At(node.source(), "repository: expected sections [[repository]]");
    }
    for (const toml::node& entry : *array) {
      RepositoryConfig repository;
      RETURN_IF_ERROR(ReadTable(*entry.as_table(), "", RepositoryKeys(), repository));
      if (repository.id.empty() || repository.path.empty()) {
        return At(entry.source(), "repository: needs both 'id' and 'path'");
      }
      config.repositories.push_back(std::move(repository));
    }
    return absl::OkStatus();
  }

  template <typename Target>
  absl::Status ReadTable(const toml::table& table, const std::string& prefix, const std::vector<Key<Target>>& keys,
                         Target& target) {
    for (const auto& [key, node] : table) {
      RETURN_IF_ERROR(ReadKey(node, prefix + std::string(key.str()), keys, target));
    }
    return absl::OkStatus();
  }

  template <typename Target>
  absl::Status ReadKey(const toml::node& node, const std::string& name, const std::vector<Key<Target>>& keys,
                       Target& target) {
    const auto key = std::find_if(keys.begin(), keys.end(), [&](const auto& k) { return name == k.name; });
    if (key == keys.end()) return At(node.source(), fmt::format("unknown key '{}'; known: {}", name, Names(keys)));
    if (!key->set(node, target)) return At(node.source(), fmt::format("{}: expected {}", name, key->expected));
    return absl::OkStatus();
  }

  template <typename Target>
  static std::string Names(const std::vector<Key<Target>>& keys) {
    std::string names;
    for (const auto& key : keys) names += (names.empty() ? "" : ", ") + std::string(key.name);
    return names;
  }

  const std::string& file_name_;
};

// ---- Checking ----

absl::Status CheckListenAddress(const char* key, const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool digits = !port.empty() && port.size() <= 5 &&
                      std::all_of(port.begin(), port.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (colon == 0 || !digits || std::stoi(port) > 65535) {
    return Invalid("{}: '{}' is not \"address:port\" with a port from 0 to 65535", key, address);
  }
  return absl::OkStatus();
}

absl::Status CheckRepositories(const std::vector<RepositoryConfig>& repositories) {
  std::set<std::string> ids;
  std::set<std::string> paths;
  for (const RepositoryConfig& repository : repositories) {
    const bool fine = !repository.id.empty() && repository.id.size() <= 63 &&
                      std::all_of(repository.id.begin(), repository.id.end(),
                                  [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; });
    if (!fine) return Invalid("repository: id '{}' must be 1 to 63 of a-z, 0-9 and '-'", repository.id);
    if (!ids.insert(repository.id).second) return Invalid("repository: id '{}' is there twice", repository.id);
    if (!paths.insert(repository.path).second) return Invalid("repository: path '{}' is there twice", repository.path);
    const uint32_t size = repository.chunk_size_bytes;
    if (size != 0 &&
        (size < repo::kMinChunkSizeBytes || size > repo::kMaxChunkSizeBytes || !std::has_single_bit(size))) {
      return Invalid("repository {}: chunk_size_bytes must be a power of two from {} to {}", repository.id,
                     repo::kMinChunkSizeBytes, repo::kMaxChunkSizeBytes);
    }
    if (repository.upload_mib_per_second > kUploadMibPerSecondMax) {
      return Invalid("repository {}: upload_mib_per_second must be from 0 to {}", repository.id,
                     kUploadMibPerSecondMax);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckPrune(const PruneConfig& prune) {
  const std::pair<const char*, absl::Duration> durations[] = {{"every", prune.every},
                                                              {"undelete_window", prune.undelete_window},
                                                              {"young_pack_grace", prune.young_pack_grace},
                                                              {"condemned_grace", prune.condemned_grace}};
  for (const auto& [name, value] : durations) {
    if (value < absl::ZeroDuration() || value > kPruneDurationMax) {
      return Invalid("prune.{}: must be from 0 to {}", name, absl::FormatDuration(kPruneDurationMax));
    }
  }
  if (prune.compact_below_percent > 95) return Invalid("prune.compact_below_percent: must be from 0 to 95");
  return absl::OkStatus();
}

absl::Status CheckHttp(const HttpConfig& http) {
  if (!http.listen.empty()) RETURN_IF_ERROR(CheckListenAddress("http.listen", http.listen));
  if (http.certificate.empty() != http.key.empty()) {
    return Invalid("http.certificate, http.key: both are needed, or none");
  }
  for (const std::string& origin : http.cors_origins) {
    const size_t scheme = origin.starts_with("https://") ? 8 : origin.starts_with("http://") ? 7 : 0;
    if (scheme == 0 || origin.size() == scheme || origin.find_first_of("/*,; ", scheme) != std::string::npos) {
      return Invalid("http.cors_origins: '{}' is not \"https://HOST\", with a port when it isn't 443", origin);
    }
  }
  if (http.body_kib_max == 0 || http.body_kib_max > kHttpBodyKibMax) {
    return Invalid("http.body_kib_max: must be from 1 to {}", kHttpBodyKibMax);
  }
  return absl::OkStatus();
}

absl::Status Check(const Config& config) {
  // The kernel's limit for the path of a unix socket, with its final NUL.
  if (config.api_socket.size() >= sizeof(sockaddr_un::sun_path)) {
    return Invalid("api.socket: '{}' is longer than {} characters", config.api_socket,
                   sizeof(sockaddr_un::sun_path) - 1);
  }
  RETURN_IF_ERROR(CheckListenAddress("agents.listen", config.agent_listen));
  RETURN_IF_ERROR(CheckListenAddress("agents.enrolment_listen", config.enrolment_listen));
  if (!config.metrics_listen.empty()) RETURN_IF_ERROR(CheckListenAddress("metrics.listen", config.metrics_listen));
  RETURN_IF_ERROR(CheckHttp(config.http));
  if (config.heartbeat < kHeartbeatMin || config.heartbeat > kHeartbeatMax) {
    return Invalid("agents.heartbeat: must be from {} to {}", absl::FormatDuration(kHeartbeatMin),
                   absl::FormatDuration(kHeartbeatMax));
  }
  if (config.lease < kHeartbeatsPerLease * config.heartbeat) {
    return Invalid("agents.lease: must be at least {} heartbeats", kHeartbeatsPerLease);
  }
  if (config.certificate_lifetime < kCertificateLifetimeMin || config.certificate_lifetime > kCertificateLifetimeMax) {
    return Invalid("agents.certificate_lifetime: must be from {} to {}", absl::FormatDuration(kCertificateLifetimeMin),
                   absl::FormatDuration(kCertificateLifetimeMax));
  }
  if (config.verify_interval < absl::ZeroDuration() || config.verify_budget < absl::ZeroDuration()) {
    return Invalid("verify.interval, verify.budget: must not be negative");
  }
  if (config.jobs.keep_days == 0 || config.jobs.keep_events_days == 0 || config.jobs.keep_audit_days == 0) {
    return Invalid("jobs.keep_days, jobs.keep_events_days, jobs.keep_audit_days: must be at least 1");
  }
  if (config.verify_within_days == 0) return Invalid("verify.within_days: must be at least 1");
  if (config.catalog.backup_every < absl::ZeroDuration() || config.catalog.backup_after_change < absl::ZeroDuration()) {
    return Invalid("catalog.backup_every, catalog.backup_after_change: must not be negative");
  }
  RETURN_IF_ERROR(CheckPrune(config.prune));
  if (config.notifications.secrets_dir.empty()) return Invalid("notifications.secrets_dir: must not be empty");
  if (config.notifications.repository_free_percent > 90) {
    return Invalid("notifications.repository_free_percent: must be from 0 to 90");
  }
  static const std::set<std::string> kLevels = {"trace", "debug", "info", "warn", "error"};
  if (!kLevels.contains(config.log.level)) {
    return Invalid("log.level: '{}' is none of trace, debug, info, warn, error", config.log.level);
  }
  return CheckRepositories(config.repositories);
}

std::string Below(const std::string& folder, const std::string& path) {
  if (path.empty()) return path;
  return (std::filesystem::path(folder) / path).lexically_normal().string();
}

// ---- Command line ----

constexpr char kExamples[] = R"(Examples:
  umbrad --config /etc/umbra/umbrad.toml
  umbrad --data-dir /srv/umbra --log-level debug       everything below one folder, default ports
  umbrad --data-dir /tmp/u --agent-listen 127.0.0.1:0 --enrolment-listen 127.0.0.1:0
                                                       free ports; see /tmp/u/umbrad.addresses
  umbrad --config umbrad.toml --recover-key main       after a lost machine: type the recovery key, then start as usual
  umbrad --config umbrad.toml --print-config           check a file, show what would be used
  umbrad --config umbrad.toml check-catalog            read the whole catalog and check it; for a daemon that doesn't run
  umbrad --config umbrad.toml restore-catalog --repository /backup/main --key-file main.key
                                                       bring policies, hosts and history back from the copy in a repository

SIGTERM or SIGINT stops gracefully; a second one ends at once. SIGHUP reads the file again, takes on the level of the log
and says what else needs a restart.)";

// Flags that were given; each overrides the file.
struct Flags {
  std::string config_file;
  std::string data_dir, api_socket, agent_listen, enrolment_listen, metrics_listen, http_listen, log_level, log_file;
  std::vector<std::string> advertise, repositories;
  std::string check_folder;
  bool log_json = false;
  bool print_config = false;
  std::string recover_key;
  bool check_catalog = false;
  bool unseal_secrets = false;
  RestoreCatalogConfig restore_catalog;
};

void AddSubcommands(CLI::App& app, Flags& flags) {
  app.require_subcommand(0, 1);
  app.fallthrough();
  CLI::App* check = app.add_subcommand(
      "check-catalog", "Reads the whole catalog and checks it: 0 sound, 7 damaged. For a daemon that doesn't run;\n"
                       "one that runs is asked by: umbra catalog check");
  check->callback([&flags] { flags.check_catalog = true; });
  CLI::App* unseal = app.add_subcommand(
      "unseal-secrets", "Writes the secrets that were sealed with the secrets key in the clear again, for a daemon that will\n"
                        "have no key, or another one. For a daemon that doesn't run");
  unseal->callback([&flags] { flags.unseal_secrets = true; });

  RestoreCatalogConfig& restore = flags.restore_catalog;
  CLI::App* command = app.add_subcommand(
      "restore-catalog",
      "Makes the state of a daemon again from a repository and its key: the catalog with policies, hosts and history and\n"
      "the certificate authority from the newest sound copy in it, then the recovery points as the repository holds them");
  command->add_option("--repository", restore.repository, "Folder of the repository")->type_name("DIR")->required();
  command->add_option("--key-file", restore.key_file,
                      "Key file of the repository; without it, its recovery key or a passphrase is read from standard input")
      ->type_name("FILE");
  command->add_option("--copy", restore.copy, "Take this copy instead of the newest sound one")->type_name("ID");
  command->add_flag("--list", restore.list, "Only list the copies in the repository");
  command->add_flag("--replace", restore.replace, "Move a catalog that is there aside, and an authority that is another one");
  command->footer("Examples:\n"
                  "  umbrad --config umbrad.toml restore-catalog --repository /backup/main --key-file /media/stick/main.key\n"
                  "  umbrad --config umbrad.toml restore-catalog --repository /backup/main       type the recovery key\n"
                  "  umbrad --config umbrad.toml restore-catalog --repository /backup/main --list");
}

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("-c,--config", flags.config_file, "Configuration file (TOML)")->type_name("FILE");
  app.add_option("--data-dir", flags.data_dir, "Folder for everything that umbrad keeps (default /var/lib/umbra)")
      ->type_name("DIR");
  app.add_option("--api-socket", flags.api_socket, "Unix socket of the local API (default DATA_DIR/umbrad.sock)")
      ->type_name("PATH");
  app.add_option("--agent-listen", flags.agent_listen, "Where agents connect (default 0.0.0.0:7440)")
      ->type_name("ADDRESS:PORT");
  app.add_option("--enrolment-listen", flags.enrolment_listen, "Where agents enrol (default 0.0.0.0:7441)")
      ->type_name("ADDRESS:PORT");
  app.add_option("--metrics-listen", flags.metrics_listen, "Where figures are for Prometheus, at /metrics (default: nowhere)")
      ->type_name("ADDRESS:PORT");
  app.add_option("--http-listen", flags.http_listen, "Where the API is for programs and browsers, over HTTPS (default: nowhere)")
      ->type_name("IP:PORT");
  app.add_option("--advertise", flags.advertise, "Name or address by which agents reach this machine; may be repeated")
      ->type_name("NAME");
  app.add_option("--repository", flags.repositories, "A repository; may be repeated; replaces those of the file")
      ->type_name("ID=DIR");
  app.add_option("--log-level", flags.log_level, "trace, debug, info, warn or error (default info)")
      ->type_name("LEVEL");
  app.add_option("--log-file", flags.log_file, "Log to this file instead of standard error")->type_name("FILE");
  app.add_flag("--log-json", flags.log_json, "Log one JSON object a line");
  app.add_option("--check-folder", flags.check_folder,
                 "Check the stored bytes of the repository in this folder and exit: 0 sound, 7 damaged. Needs no keys, no\n"
                 "configuration and no catalog; for copies that no umbrad uses")
      ->type_name("DIR");
  app.add_option("--recover-key", flags.recover_key,
                 "Make the key file of this repository again: reads its recovery key or a passphrase from standard "
                 "input, and exits")
      ->type_name("ID");
  app.add_flag("--print-config", flags.print_config, "Print the configuration that would be used, and exit");
  AddSubcommands(app, flags);
}

absl::Status ApplyFlags(const Flags& flags, Config& config) {
  const auto set = [](const std::string& flag, std::string& field) {
    if (!flag.empty()) field = flag;
  };
  set(flags.data_dir, config.data_dir);
  set(flags.api_socket, config.api_socket);
  set(flags.agent_listen, config.agent_listen);
  set(flags.enrolment_listen, config.enrolment_listen);
  set(flags.metrics_listen, config.metrics_listen);
  set(flags.http_listen, config.http.listen);
  set(flags.log_level, config.log.level);
  set(flags.log_file, config.log.file);
  if (flags.log_json) config.log.json = true;
  if (!flags.advertise.empty()) config.advertise = flags.advertise;
  if (!flags.repositories.empty()) config.repositories.clear();
  for (const std::string& text : flags.repositories) {
    const size_t equals = text.find('=');
    if (equals == std::string::npos || equals + 1 == text.size())
      return Invalid("--repository: '{}' is not ID=DIR", text);
    config.repositories.push_back({text.substr(0, equals), text.substr(equals + 1), ""});
  }
  return absl::OkStatus();
}

// The text to print when CLI11 says that help or version was asked for.
absl::StatusOr<std::string> Parse(CLI::App& app, std::vector<std::string> arguments) {
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    const auto commands = app.get_subcommands();
    return commands.empty() ? app.help() : commands.front()->help();
  } catch (const CLI::CallForVersion&) {
    return app.version() + "\n";
  } catch (const CLI::Error& error) {
    return Invalid("{} (umbrad --help shows the options)", error.what());
  }
  return std::string();
}

}  // namespace

absl::StatusOr<Config> ParseConfig(std::string_view toml, const std::string& file_name) {
  FileReader reader(file_name);
  try {
    const toml::table root = toml::parse(toml, file_name);
    return reader.Read(root);
  } catch (const toml::parse_error& error) {
    return reader.At(error.source(), error.description());
  }
}

absl::StatusOr<Config> CompleteConfig(Config config) {
  if (config.data_dir.empty()) return Invalid("data_dir: must not be empty");
  std::error_code error;
  const auto absolute = std::filesystem::absolute(config.data_dir, error);
  if (error) return Invalid("data_dir: '{}': {}", config.data_dir, error.message());
  config.data_dir = absolute.lexically_normal().string();
  while (config.data_dir.size() > 1 && config.data_dir.ends_with('/')) config.data_dir.pop_back();
  config.api_socket = Below(config.data_dir, config.api_socket.empty() ? "umbrad.sock" : config.api_socket);
  config.log.file = Below(config.data_dir, config.log.file);
  if (!config.secrets_key_file.empty()) config.secrets_key_file = Below(config.data_dir, config.secrets_key_file);
  config.notifications.secrets_dir = Below(config.data_dir, config.notifications.secrets_dir);
  config.http.certificate = Below(config.data_dir, config.http.certificate);
  config.http.key = Below(config.data_dir, config.http.key);
  config.http.dashboard_dir = Below(config.data_dir, config.http.dashboard_dir);
  if (config.repositories.empty()) config.repositories.push_back({"main", "repositories/main", ""});
  for (RepositoryConfig& repository : config.repositories) {
    repository.path = Below(config.data_dir, repository.path);
    if (repository.key_file.empty()) repository.key_file = fmt::format("keys/{}.key", repository.id);
    repository.key_file = Below(config.data_dir, repository.key_file);
  }
  RETURN_IF_ERROR(Check(config));
  return config;
}

std::string PrintConfig(const Config& config) {
  toml::array advertise;
  for (const std::string& name : config.advertise) advertise.push_back(name);
  toml::array origins;
  for (const std::string& origin : config.http.cors_origins) origins.push_back(origin);
  toml::array repositories;
  for (const RepositoryConfig& repository : config.repositories) {
    toml::table entry{{"id", repository.id}, {"path", repository.path}, {"key_file", repository.key_file}};
    if (repository.chunk_size_bytes != 0) entry.insert("chunk_size_bytes", int64_t{repository.chunk_size_bytes});
    if (repository.upload_mib_per_second != 0) {
      entry.insert("upload_mib_per_second", int64_t{repository.upload_mib_per_second});
    }
    repositories.push_back(std::move(entry));
  }
  const toml::table root{
      {"data_dir", config.data_dir},
      {"secrets_key_file", config.secrets_key_file},
      {"api", toml::table{{"socket", config.api_socket}}},
      {"agents", toml::table{{"listen", config.agent_listen},
                             {"enrolment_listen", config.enrolment_listen},
                             {"advertise", std::move(advertise)},
                             {"heartbeat", absl::FormatDuration(config.heartbeat)},
                             {"lease", absl::FormatDuration(config.lease)},
                             {"certificate_lifetime", absl::FormatDuration(config.certificate_lifetime)}}},
      {"prune", toml::table{{"every", absl::FormatDuration(config.prune.every)},
                            {"undelete_window", absl::FormatDuration(config.prune.undelete_window)},
                            {"young_pack_grace", absl::FormatDuration(config.prune.young_pack_grace)},
                            {"condemned_grace", absl::FormatDuration(config.prune.condemned_grace)},
                            {"io_mib_per_second", int64_t{config.prune.io_mib_per_second}},
                            {"compact_below_percent", int64_t{config.prune.compact_below_percent}},
                            {"reserve_mib", int64_t{config.prune.reserve_mib}}}},
      {"notifications",
       toml::table{{"secrets_dir", config.notifications.secrets_dir},
                   {"repository_free_percent", int64_t{config.notifications.repository_free_percent}}}},
      {"metrics", toml::table{{"listen", config.metrics_listen}}},
      {"http", toml::table{{"listen", config.http.listen},
                           {"certificate", config.http.certificate},
                           {"key", config.http.key},
                           {"cors_origins", std::move(origins)},
                           {"dashboard_dir", config.http.dashboard_dir},
                           {"requests_per_second", int64_t{config.http.requests_per_second}},
                           {"body_kib_max", int64_t{config.http.body_kib_max}}}},
      {"log", toml::table{{"level", config.log.level}, {"file", config.log.file}, {"json", config.log.json}}},
      {"jobs", toml::table{{"max", int64_t{config.jobs.max}},
                           {"per_host_max", int64_t{config.jobs.per_host_max}},
                           {"per_repository_max", int64_t{config.jobs.per_repository_max}},
                           {"keep_days", int64_t{config.jobs.keep_days}},
                           {"keep_events_days", int64_t{config.jobs.keep_events_days}},
                           {"keep_audit_days", int64_t{config.jobs.keep_audit_days}}}},
      {"verify", toml::table{{"interval", absl::FormatDuration(config.verify_interval)},
                             {"within_days", int64_t{config.verify_within_days}},
                             {"budget", absl::FormatDuration(config.verify_budget)}}},
      {"catalog", toml::table{{"backup_every", absl::FormatDuration(config.catalog.backup_every)},
                              {"backup_after_change", absl::FormatDuration(config.catalog.backup_after_change)},
                              {"backup_authority", config.catalog.backup_authority}}},
      {"repository", std::move(repositories)},
  };
  std::ostringstream out;
  out << root << "\n";
  return out.str();
}

void TakeOnReloadable(const Config& now, Config& config) {
  config.log.level = now.log.level;
  for (RepositoryConfig& repository : config.repositories) {
    const auto same = [&](const RepositoryConfig& other) { return other.id == repository.id; };
    const auto found = std::ranges::find_if(now.repositories, same);
    if (found != now.repositories.end()) repository.upload_mib_per_second = found->upload_mib_per_second;
  }
}

std::vector<std::string> KeysThatNeedARestart(const Config& before, const Config& now) {
  Config taken = before;
  TakeOnReloadable(now, taken);
  const toml::table old_keys = toml::parse(PrintConfig(taken));
  const toml::table new_keys = toml::parse(PrintConfig(now));
  std::vector<std::string> keys;
  for (const auto& [section, value] : new_keys) {
    const toml::node* old_value = old_keys.get(section.str());
    const toml::table* table = value.as_table();
    if (table == nullptr || old_value == nullptr || old_value->as_table() == nullptr) {
      if (old_value == nullptr || toml::node_view(*old_value) != toml::node_view(value)) keys.emplace_back(section.str());
      continue;
    }
    for (const auto& [key, entry] : *table) {
      const toml::node* old_entry = old_value->as_table()->get(key.str());
      const bool same = old_entry != nullptr && toml::node_view(*old_entry) == toml::node_view(entry);
      std::string name = fmt::format("{}.{}", section.str(), key.str());
      if (!same) keys.push_back(std::move(name));
    }
  }
  return keys;
}

absl::StatusOr<CommandLine> ReadCommandLine(base::Filesystem& filesystem, std::vector<std::string> arguments) {
  CLI::App app("umbrad: backs up virtual machines through the agents on their hosts.", "umbrad");
  Flags flags;
  AddFlags(app, flags);
  app.set_version_flag("--version", std::string("umbrad ") + UMBRA_VERSION);
  app.footer(kExamples);
  CommandLine line;
  ASSIGN_OR_RETURN(line.text, Parse(app, std::move(arguments)));
  if (!line.text.empty()) return line;
  line.check_folder = flags.check_folder;
  if (!line.check_folder.empty()) return line;

  if (!flags.config_file.empty()) {
    ASSIGN_OR_RETURN(const std::string content, filesystem.ReadFile(flags.config_file, kConfigSizeMax));
    ASSIGN_OR_RETURN(line.config, ParseConfig(content, flags.config_file));
  }
  RETURN_IF_ERROR(ApplyFlags(flags, line.config));
  absl::StatusOr<Config> complete = CompleteConfig(std::move(line.config));
  if (!complete.ok() && !flags.config_file.empty()) return base::Annotate(complete.status(), "{}", flags.config_file);
  if (!complete.ok()) return complete.status();
  line.config = *std::move(complete);
  if (flags.print_config) line.text = PrintConfig(line.config);
  line.recover_key = flags.recover_key;
  line.check_catalog = flags.check_catalog;
  line.unseal_secrets = flags.unseal_secrets;
  line.restore_catalog = flags.restore_catalog;
  return line;
}

}  // namespace umbra::server
