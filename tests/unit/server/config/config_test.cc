// Proves that a configuration says what its author meant or names the fault with file and line: golden messages for
// every kind of fault, flags over the file, and a round trip through --print-config.
#include "server/config.h"

#include <gtest/gtest.h>

#include "storage/base/status.h"

namespace umbra::server {
namespace {

std::string ErrorOf(const absl::Status& status) {
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << base::Describe(status);
  EXPECT_EQ(base::ReasonOf(status), "CONFIG_INVALID");
  return base::MessageOf(status);
}

struct Fault {
  std::string toml;
  std::string message;
};

TEST(ParseConfig, NamesEveryFaultWithItsLine) {
  const std::string agents_known =
      "known: data_dir, secrets_key_file, api.socket, agents.listen, agents.enrolment_listen, agents.advertise, agents.heartbeat, "
      "agents.lease, agents.certificate_lifetime, prune.every, prune.undelete_window, prune.young_pack_grace, prune.condemned_grace, "
      "prune.io_mib_per_second, prune.compact_below_percent, prune.reserve_mib, jobs.max, "
      "jobs.per_host_max, jobs.per_repository_max, jobs.keep_days, jobs.keep_events_days, jobs.keep_audit_days, notifications.secrets_dir, notifications.repository_free_percent, metrics.listen, http.listen, http.certificate, http.key, http.cors_origins, "
      "http.dashboard_dir, http.requests_per_second, http.body_kib_max, log.level, log.file, "
      "log.json, "
      "verify.interval, verify.within_days, verify.budget, catalog.backup_every, catalog.backup_after_change, "
      "catalog.backup_authority";
  const Fault kFaults[] = {
      {"data_dir = 5", "u.toml:1: data_dir: expected a text"},
      {"\n[agents]\nlisen = \"x\"", "u.toml:3: unknown key 'agents.lisen'; " + agents_known},
      {"[agent]\nlisten = \"x\"", "u.toml:1: unknown key 'agent'; " + agents_known},
      {"[log]\njson = \"yes\"", "u.toml:2: log.json: expected true or false"},
      {"[agents]\nlease = 60", "u.toml:2: agents.lease: expected a text such as \"5s\" or \"1m30s\""},
      {"[agents]\nlease = \"60\"", "u.toml:2: agents.lease: expected a text such as \"5s\" or \"1m30s\""},
      {"[agents]\nadvertise = [\"a\", 1]", "u.toml:2: agents.advertise: expected a list of texts"},
      {"[repository]\nid = \"a\"", "u.toml:1: repository: expected sections [[repository]]"},
      {"[[repository]]\nid = \"a\"", "u.toml:1: repository: needs both 'id' and 'path'"},
      {"[[repository]]\nid = \"a\"\npath = \"p\"\nsize = 1",
       "u.toml:4: unknown key 'size'; known: id, path, key_file, chunk_size_bytes, upload_mib_per_second"},
      {"[[repository]]\nid = \"a\"\npath = \"p\"\nchunk_size_bytes = -1",
       "u.toml:4: chunk_size_bytes: expected a number of bytes"},
  };
  for (const Fault& fault : kFaults) {
    EXPECT_EQ(ErrorOf(ParseConfig(fault.toml, "u.toml").status()), fault.message) << fault.toml;
  }
}

TEST(ParseConfig, SyntaxFaultsHaveALineToo) {
  const std::string message = ErrorOf(ParseConfig("a = 1\nb = = 2\n", "u.toml").status());
  EXPECT_TRUE(message.starts_with("u.toml:2: ")) << message;
}

TEST(CompleteConfig, NamesWhatDoesNotHangTogether) {
  const Fault kFaults[] = {
      {"data_dir = \"\"", "data_dir: must not be empty"},
      {"data_dir = \"/d\"\n[api]\nsocket = \"" + std::string(120, 's') + "\"",
       "api.socket: '/d/" + std::string(120, 's') + "' is longer than 107 characters"},
      {"[agents]\nlisten = \"nowhere\"",
       "agents.listen: 'nowhere' is not \"address:port\" with a port from 0 to 65535"},
      {"[agents]\nenrolment_listen = \"h:70000\"",
       "agents.enrolment_listen: 'h:70000' is not \"address:port\" with a port from 0 to 65535"},
      {"[agents]\nheartbeat = \"0s\"", "agents.heartbeat: must be from 100ms to 5m"},
      {"[agents]\nheartbeat = \"30s\"", "agents.lease: must be at least 3 heartbeats"},
      {"[http]\nlisten = \"nowhere\"", "http.listen: 'nowhere' is not \"address:port\" with a port from 0 to 65535"},
      {"[http]\nkey = \"k.pem\"", "http.certificate, http.key: both are needed, or none"},
      {"[http]\ncors_origins = [\"dash.example\"]",
       "http.cors_origins: 'dash.example' is not \"https://HOST\", with a port when it isn't 443"},
      {"[http]\ncors_origins = [\"https://a/b\"]",
       "http.cors_origins: 'https://a/b' is not \"https://HOST\", with a port when it isn't 443"},
      {"[http]\ncors_origins = [\"*\"]",
       "http.cors_origins: '*' is not \"https://HOST\", with a port when it isn't 443"},
      {"[http]\nbody_kib_max = 0", "http.body_kib_max: must be from 1 to 4096"},
      {"[log]\nlevel = \"loud\"", "log.level: 'loud' is none of trace, debug, info, warn, error"},
      {"[[repository]]\nid = \"A b\"\npath = \"p\"", "repository: id 'A b' must be 1 to 63 of a-z, 0-9 and '-'"},
      {"[[repository]]\nid = \"a\"\npath = \"p\"\n[[repository]]\nid = \"a\"\npath = \"q\"",
       "repository: id 'a' is there twice"},
      {"data_dir = \"/d\"\n[[repository]]\nid = \"a\"\npath = \"p\"\n[[repository]]\nid = \"b\"\npath = \"./p\"",
       "repository: path '/d/p' is there twice"},
      {"[[repository]]\nid = \"a\"\npath = \"p\"\nchunk_size_bytes = 100000",
       "repository a: chunk_size_bytes must be a power of two from 65536 to 1048576"},
      {"[[repository]]\nid = \"a\"\npath = \"p\"\nupload_mib_per_second = 1048577",
       "repository a: upload_mib_per_second must be from 0 to 1048576"},
  };
  for (const Fault& fault : kFaults) {
    const auto parsed = ParseConfig(fault.toml, "u.toml");
    ASSERT_TRUE(parsed.ok()) << base::Describe(parsed.status());
    EXPECT_EQ(ErrorOf(CompleteConfig(*parsed).status()), fault.message) << fault.toml;
  }
}

TEST(CompleteConfig, EverythingDefaultsBelowTheDataFolder) {
  Config config;
  config.data_dir = "/d/";
  const auto complete = CompleteConfig(config);
  ASSERT_TRUE(complete.ok()) << base::Describe(complete.status());
  EXPECT_EQ(complete->data_dir, "/d");
  EXPECT_EQ(complete->api_socket, "/d/umbrad.sock");
  EXPECT_EQ(complete->repositories,
            (std::vector<RepositoryConfig>{{"main", "/d/repositories/main", "/d/keys/main.key"}}));
  EXPECT_EQ(complete->log.file, "");
  EXPECT_EQ(complete->http, HttpConfig());
}

TEST(CompleteConfig, HttpListensHereAndFindsItsFiles) {
  for (const char* listen : {"127.0.0.1:7443", "[::1]:0", "localhost:7443", "127.1.2.3:1"}) {
    Config config;
    config.http.listen = listen;
    config.http.certificate = "tls/web.pem";
    config.http.key = "/etc/umbra/web.key";
    const auto complete = CompleteConfig(config);
    ASSERT_TRUE(complete.ok()) << base::Describe(complete.status());
    EXPECT_EQ(complete->http.certificate, "/var/lib/umbra/tls/web.pem");
    EXPECT_EQ(complete->http.key, "/etc/umbra/web.key");
    EXPECT_EQ(complete->http.dashboard_dir, "");
  }
}

absl::StatusOr<CommandLine> CommandLineOf(std::vector<std::string> arguments) {
  base::PosixFilesystem filesystem;
  return ReadCommandLine(filesystem, std::move(arguments));
}

TEST(ReadCommandLine, ShippedFileIsSoundAndPrintsTheSameAgain) {
  const auto shipped = CommandLineOf({"--config", UMBRA_SHIPPED_CONFIG, "--print-config"});
  ASSERT_TRUE(shipped.ok()) << base::Describe(shipped.status());
  EXPECT_EQ(shipped->config.api_socket, "/run/umbra/umbrad.sock");
  const auto again = ParseConfig(shipped->text, "printed");
  ASSERT_TRUE(again.ok()) << base::Describe(again.status()) << shipped->text;
  EXPECT_EQ(PrintConfig(*CompleteConfig(*again)), shipped->text);
}

TEST(ReadCommandLine, FlagsOverrideTheFile) {
  const auto line = CommandLineOf({"--config", UMBRA_SHIPPED_CONFIG, "--data-dir", "/x", "--agent-listen",
                                   "127.0.0.1:0", "--repository", "fast=/y", "--repository", "slow=z", "--advertise",
                                   "n1", "--advertise", "n2", "--log-level", "debug", "--log-json"});
  ASSERT_TRUE(line.ok()) << base::Describe(line.status());
  EXPECT_EQ(line->text, "");
  EXPECT_EQ(line->config.data_dir, "/x");
  EXPECT_EQ(line->config.agent_listen, "127.0.0.1:0");
  EXPECT_EQ(line->config.enrolment_listen, "0.0.0.0:7441");
  EXPECT_EQ(line->config.advertise, (std::vector<std::string>{"n1", "n2"}));
  EXPECT_EQ(line->config.repositories,
            (std::vector<RepositoryConfig>{{"fast", "/y", "/x/keys/fast.key"}, {"slow", "/x/z", "/x/keys/slow.key"}}));
  EXPECT_EQ(line->config.log.level, "debug");
  EXPECT_TRUE(line->config.log.json);
}

TEST(ReadCommandLine, AFolderCanBeCheckedWithoutConfiguration) {
  const auto line = CommandLineOf({"--check-folder", "/mnt/copy"});
  ASSERT_TRUE(line.ok()) << base::Describe(line.status());
  EXPECT_EQ(line->check_folder, "/mnt/copy");
}

TEST(Verification, IsConfiguredByTheFile) {
  const auto config = ParseConfig("[verify]\ninterval = \"12h\"\nwithin_days = 7\nbudget = \"20m\"\n", "u.toml");
  ASSERT_TRUE(config.ok()) << base::Describe(config.status());
  EXPECT_EQ(config->verify_interval, absl::Hours(12));
  EXPECT_EQ(config->verify_within_days, 7u);
  EXPECT_EQ(config->verify_budget, absl::Minutes(20));
  EXPECT_FALSE(CompleteConfig(*ParseConfig("[verify]\nwithin_days = 0\n", "u.toml")).ok());
}

TEST(Jobs, AreLimitedAndKeptAsTheFileSays) {
  const auto config = ParseConfig(
      "[jobs]\nmax = 9\nper_host_max = 3\nper_repository_max = 4\nkeep_days = 5\nkeep_events_days = 6\nkeep_audit_days = 7\n", "u.toml");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->jobs, (JobsConfig{9, 3, 4, 5, 6, 7}));
  EXPECT_EQ(JobsConfig().per_host_max, 2u);
  EXPECT_FALSE(CompleteConfig(*ParseConfig("[jobs]\nkeep_days = 0\n", "u.toml")).ok());
  EXPECT_FALSE(CompleteConfig(*ParseConfig("[jobs]\nkeep_events_days = 0\n", "u.toml")).ok());
  EXPECT_FALSE(CompleteConfig(*ParseConfig("[jobs]\nkeep_audit_days = 0\n", "u.toml")).ok());
}

TEST(Catalog, IsCopiedAsTheFileSays) {
  const auto config = ParseConfig(
      "[catalog]\nbackup_every = \"1h\"\nbackup_after_change = \"30s\"\nbackup_authority = false\n", "u.toml");
  ASSERT_TRUE(config.ok());
  EXPECT_EQ(config->catalog, (CatalogConfig{absl::Hours(1), absl::Seconds(30), false}));
  EXPECT_EQ(CatalogConfig(), (CatalogConfig{absl::Hours(6), absl::Minutes(5), true}));
  EXPECT_FALSE(CompleteConfig(*ParseConfig("[catalog]\nbackup_every = \"-1h\"\n", "u.toml")).ok());
}

TEST(ReadCommandLine, RestoreCatalogTakesTheFlagsOfTheDaemonOnEitherSide) {
  const auto line = CommandLineOf({"--data-dir", "/x", "restore-catalog", "--repository", "/b", "--key-file", "k",
                                   "--copy", "c", "--replace", "--agent-listen", "127.0.0.1:0"});
  ASSERT_TRUE(line.ok()) << base::Describe(line.status());
  EXPECT_EQ(line->restore_catalog.repository, "/b");
  EXPECT_EQ(line->restore_catalog.key_file, "k");
  EXPECT_EQ(line->restore_catalog.copy, "c");
  EXPECT_TRUE(line->restore_catalog.replace);
  EXPECT_FALSE(line->restore_catalog.list);
  EXPECT_EQ(line->config.data_dir, "/x");
  EXPECT_EQ(line->config.agent_listen, "127.0.0.1:0");
  EXPECT_EQ(line->config.repositories.size(), 1u) << "its --repository is another one";
  EXPECT_FALSE(CommandLineOf({"restore-catalog"}).ok()) << "needs a repository";
  EXPECT_NE(CommandLineOf({"restore-catalog", "--help"})->text.find("--key-file"), std::string::npos);
  EXPECT_TRUE(CommandLineOf({"check-catalog"})->check_catalog);
  EXPECT_TRUE(CommandLineOf({})->restore_catalog.repository.empty());
}

TEST(Reload, NamesTheKeysThatNeedARestart) {
  const Config before = *CompleteConfig({});
  Config now = before;
  EXPECT_TRUE(KeysThatNeedARestart(before, now).empty());
  now.log.level = "debug";
  EXPECT_TRUE(KeysThatNeedARestart(before, now).empty()) << "taken on while it runs";
  now.repositories[0].upload_mib_per_second = 20;
  EXPECT_TRUE(KeysThatNeedARestart(before, now).empty());
  now.metrics_listen = "127.0.0.1:7442";
  now.prune.reserve_mib = 1;
  now.repositories.push_back({"second", "/r2"});
  EXPECT_EQ(KeysThatNeedARestart(before, now), (std::vector<std::string>{"metrics.listen", "prune.reserve_mib", "repository"}));
}

TEST(Reload, TakesOnLimitsOfRepositoriesThatAreOpen) {
  Config running = *CompleteConfig(*ParseConfig(
      "[[repository]]\nid = \"a\"\npath = \"a\"\n[[repository]]\nid = \"b\"\npath = \"b\"\nupload_mib_per_second = 5\n",
      "u"));
  const Config now = *CompleteConfig(*ParseConfig(
      "[[repository]]\nid = \"c\"\npath = \"c\"\n[[repository]]\nid = \"a\"\npath = \"a\"\nupload_mib_per_second = 7\n",
      "u"));
  TakeOnReloadable(now, running);
  ASSERT_EQ(running.repositories.size(), 2u);
  EXPECT_EQ(running.repositories[0].upload_mib_per_second, 7u);
  EXPECT_EQ(running.repositories[1].upload_mib_per_second, 5u)
      << "the file doesn't have it any more: a restart is needed";
  EXPECT_EQ(ParseConfig(PrintConfig(running), "u")->repositories, running.repositories);
}

TEST(Metrics, AreNowhereUnlessTold) {
  EXPECT_EQ(CompleteConfig({})->metrics_listen, "");
  EXPECT_EQ(ParseConfig("[metrics]\nlisten = \"127.0.0.1:7442\"\n", "u.toml")->metrics_listen, "127.0.0.1:7442");
  EXPECT_EQ(CommandLineOf({"--metrics-listen", "127.0.0.1:0"})->config.metrics_listen, "127.0.0.1:0");
  EXPECT_FALSE(CompleteConfig(*ParseConfig("[metrics]\nlisten = \"here\"\n", "u.toml")).ok());
}

TEST(ReadCommandLine, HelpHasExamplesAndVersionIsPrinted) {
  const auto help = CommandLineOf({"--help"});
  ASSERT_TRUE(help.ok());
  EXPECT_NE(help->text.find("Examples:"), std::string::npos);
  EXPECT_NE(help->text.find("--data-dir"), std::string::npos);
  const auto version = CommandLineOf({"--version"});
  ASSERT_TRUE(version.ok());
  EXPECT_EQ(version->text, std::string("umbrad ") + UMBRA_VERSION + "\n");
}

TEST(ReadCommandLine, WrongFlagsAreNamed) {
  EXPECT_NE(ErrorOf(CommandLineOf({"--dta-dir", "/x"}).status()).find("--dta-dir"), std::string::npos);
  EXPECT_EQ(ErrorOf(CommandLineOf({"--repository", "main"}).status()), "--repository: 'main' is not ID=DIR");
  EXPECT_EQ(CommandLineOf({"--config", "/nowhere/u.toml"}).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace umbra::server
