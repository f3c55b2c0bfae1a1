// Proves that the configuration file and flags say what they mean: the shipped file holds the defaults, flags win, and
// every fault is named with its place.
#include "agent/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <tuple>

#include "storage/base/status.h"
#include "tests/support/temp_dir.h"

namespace umbra::agent {
namespace {

absl::StatusOr<CommandLine> Read(std::vector<std::string> arguments) {
  base::PosixFilesystem files;
  return ReadCommandLine(files, std::move(arguments));
}

std::string FaultOf(const absl::Status& status) {
  EXPECT_EQ(base::ReasonOf(status), "CONFIG_INVALID");
  return base::MessageOf(status);
}

TEST(AgentConfig, ShippedFileHoldsTheDefaults) {
  base::PosixFilesystem files;
  const auto text = files.ReadFile(UMBRA_SOURCE_DIR "/deploy/config/umbra-agent.toml");
  ASSERT_TRUE(text.ok());
  const auto config = ParseConfig(*text, "umbra-agent.toml");
  ASSERT_TRUE(config.ok()) << base::Describe(config.status());
  const auto values = [](const Config& c) {
    return std::tuple(c.data_dir, c.daemon, c.agent_address, c.host_name, c.hypervisor, c.libvirt_uri, c.default_folder,
                      c.scratch_folder, c.inventory_seconds, c.simulated_vms, c.saves_at_once, c.cluster, c.transfer_memory_mib, c.transfer_workers, c.upload_streams,
                      c.hooks_folder, c.hook_seconds, c.upload_mib_per_second, c.log.level, c.log.file, c.log.json);
  };
  EXPECT_EQ(values(*config), values(Config()));
}

TEST(AgentConfig, FlagsWinOverTheFile) {
  testing::TempDir folder;
  base::PosixFilesystem files;
  ASSERT_TRUE(files.WriteFileAtomic(folder.File("a.toml"), "data_dir = \"/one\"\n[hypervisor]\ndriver = \"simulated\"\n").ok());
  const auto command = Read({"--config", folder.File("a.toml"), "--data-dir", "/two/", "--log-json"});
  ASSERT_TRUE(command.ok()) << base::Describe(command.status());
  EXPECT_EQ(command->config.data_dir, "/two");
  EXPECT_EQ(command->config.scratch_folder, "/two/scratch");
  EXPECT_EQ(command->config.hypervisor, "simulated");
  EXPECT_TRUE(command->config.log.json);
  EXPECT_FALSE(command->enrol_only);
}

TEST(AgentConfig, FaultsAreNamedWithTheirPlace) {
  EXPECT_EQ(FaultOf(ParseConfig("data_dir = 1\n", "f").status()), "f:1: data_dir has a value of the wrong type");
  EXPECT_EQ(FaultOf(ParseConfig("\n[transfer]\nspeed = 1\n", "f").status()), "f:3: unknown key 'transfer.speed'");
  EXPECT_EQ(FaultOf(ParseConfig("a = \n", "f").status()).substr(0, 4), "f:1:");
}

TEST(AgentConfig, RangesAndNames) {
  EXPECT_FALSE(Read({"--hypervisor", "vmware"}).ok());
  EXPECT_FALSE(Read({"--daemon", "nowhere"}).ok());
  EXPECT_NE(FaultOf(Read({"--cluster", "windows"}).status()).find("cluster.kind"), std::string::npos);
  EXPECT_EQ(Read({"--cluster", "pacemaker"})->config.cluster, "pacemaker");
  EXPECT_FALSE(Read({"--simulated-vm", "db01"}).ok());
  EXPECT_FALSE(Read({"--no-such-flag"}).ok());
  EXPECT_NE(FaultOf(Read({"--data-dir", "/" + std::string(60, 'x')}).status()).find("scratch_folder"), std::string::npos);
}

TEST(AgentConfig, FileSets) {
  const auto config = ParseConfig(R"(
file_set_copies = "/srv/copies"
[[file_set]]
name = "shop"
caption = "The shop"
paths = ["/srv/shop", "/etc/shop"]
excludes = ["tmp"]
freeze = ["/usr/local/bin/shop", "freeze"]
thaw = ["/usr/local/bin/shop", "thaw"]
post_restore = ["/usr/local/bin/shop", "check"]
post_restore_seconds = 60
freeze_seconds = 5
copy_mib_max = 10
[[file_set]]
name = "files"
paths = ["/srv/files"]
)",
                                  "f");
  ASSERT_TRUE(config.ok()) << base::Describe(config.status());
  EXPECT_EQ(config->file_set_copies, "/srv/copies");
  ASSERT_EQ(config->file_sets.size(), 2u);
  const writers::FileSet& shop = config->file_sets[0];
  EXPECT_EQ(shop.name, "shop");
  EXPECT_EQ(shop.caption, "The shop");
  ASSERT_EQ(shop.folders.size(), 2u);
  EXPECT_EQ(shop.folders[1], (base::FolderSelection{"/etc/shop", "*", true, {"tmp"}}));
  EXPECT_EQ(shop.freeze.arguments, (std::vector<std::string>{"/usr/local/bin/shop", "freeze"}));
  EXPECT_EQ(shop.freeze.timeout, absl::Seconds(5));
  EXPECT_EQ(shop.thaw.timeout, absl::Seconds(20));
  EXPECT_EQ(shop.post_restore.arguments, (std::vector<std::string>{"/usr/local/bin/shop", "check"}));
  EXPECT_EQ(shop.post_restore.timeout, absl::Minutes(1));
  EXPECT_TRUE(shop.pre_restore.arguments.empty());
  EXPECT_EQ(shop.copy_bytes_max, 10 * base::kMiB);
  EXPECT_TRUE(CompleteConfig(*config).ok());
  EXPECT_EQ(CompleteConfig(Config())->file_set_copies, "/var/lib/umbra-agent/copies");
  EXPECT_EQ(FaultOf(ParseConfig("[[file_set]]\nname = \"a\"\nfolder = 1\n", "f").status()), "f:3: unknown key 'folder'");
  EXPECT_EQ(FaultOf(ParseConfig("file_set = 1\n", "f").status()), "f:1: file_set must be written as [[file_set]]");
  EXPECT_NE(FaultOf(CompleteConfig(*ParseConfig("[[file_set]]\nname = \"a\"\n", "f")).status()).find("no paths"), std::string::npos);
}

// What goes wrong is said when the agent starts, not in the night of the first backup.
TEST(AgentConfig, FileSetsThatCanNotWorkAreRefused) {
  const auto fault = [](const std::string& keys) {
    auto config = ParseConfig("[[file_set]]\nname = \"a\"\n" + keys, "f");
    if (!config.ok()) return FaultOf(config.status());
    const auto complete = CompleteConfig(*config);
    return complete.ok() ? std::string() : FaultOf(complete.status());
  };
  const auto has = [](const std::string& text) { return ::testing::HasSubstr(text); };
  EXPECT_THAT(fault("paths = [\"/srv/a\", \"/srv/a/b\"]\n"), has("'/srv/a/b' lies in '/srv/a'"));
  EXPECT_THAT(fault("paths = [\"/srv/a\", \"/srv/a\"]\n"), has("lies in"));
  EXPECT_EQ(fault("paths = [\"/srv/a\", \"/srv/a/b\"]\nrecursive = false\n"), "");
  EXPECT_THAT(fault("paths = [\"/srv/../etc\"]\n"), has("not an absolute path"));
  EXPECT_THAT(fault("paths = [\"/var\"]\n"), has("which lies in its own '/var'"));
  EXPECT_THAT(fault("paths = [\"/srv\"]\npost_restore = [\"\"]\n"), has("post_restore has no program"));
  EXPECT_THAT(fault("paths = [\"/srv\"]\nfreeze = [\"x\"]\n"), has("a freeze, and no thaw"));
}

TEST(AgentConfig, HooksComeOnlyFromAFileThatOthersCanNotWrite) {
  testing::TempDir dir;
  const std::string file = dir.File("agent.toml");
  std::ofstream(file) << "[[file_set]]\nname = \"a\"\npaths = [\"/srv\"]\nfreeze = [\"x\"]\nthaw = [\"x\"]\n";
  std::filesystem::permissions(file, std::filesystem::perms(0644));
  EXPECT_TRUE(Read({"--config", file}).ok());
  std::filesystem::permissions(file, std::filesystem::perms(0646));
  EXPECT_THAT(FaultOf(Read({"--config", file}).status()), ::testing::HasSubstr("others may write it"));
  std::ofstream(file) << "[[file_set]]\nname = \"a\"\npaths = [\"/srv\"]\n";
  EXPECT_TRUE(Read({"--config", file}).ok()) << "without hooks there is nothing to guard";
}

TEST(AgentConfig, EnrolNeedsTokenAndDaemon) {
  EXPECT_FALSE(Read({"enrol"}).ok());
  const auto command = Read({"enrol", "--token", "t", "--daemon", "d:7441"});
  ASSERT_TRUE(command.ok()) << base::Describe(command.status());
  EXPECT_TRUE(command->enrol_only);
  EXPECT_EQ(command->config.daemon, "d:7441");
}

TEST(AgentConfig, HelpAndVersionAreTexts) {
  EXPECT_NE(Read({"--help"})->text.find("Examples:"), std::string::npos);
  EXPECT_EQ(Read({"--version"})->text.substr(0, 12), "umbra-agent ");
}

}  // namespace
}  // namespace umbra::agent
