// What umbra-agent is told: a TOML file, then flags over it, turned into one plain struct. Nothing below main reads either.
#ifndef UMBRA_AGENT_CONFIG_H_
#define UMBRA_AGENT_CONFIG_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/writers/file_set_writer.h"
#include "storage/base/filesystem.h"
#include "storage/base/log.h"

namespace umbra::agent {

struct Config {
  // Identity, intents and, unless told otherwise, the scratch folder.
  std::string data_dir = "/var/lib/umbra-agent";

  // Enrolment port of the daemon, "host:port"; only used with a token, while there is no identity.
  std::string daemon;
  std::string token;  // never from a file
  // Agent port of the daemon; empty: as the daemon said when it enrolled this agent.
  std::string agent_address;
  std::string host_name;  // empty: the machine's

  std::string hypervisor = "libvirt";  // or "simulated"
  std::string libvirt_uri = "qemu:///system";
  std::string default_folder;  // where new virtual machines' disks go; empty: the driver's own
  // Copy-before-write files of running backups and sockets: what guests overwrite meanwhile must fit. Empty: "scratch"
  // in data_dir. At most 52 characters; the hypervisor's processes must be able to write there.
  std::string scratch_folder;
  // How often the daemon is told what there is. A new machine can be backed up after that time at the latest; each guest's agent
  // is asked a few questions then.
  int64_t inventory_seconds = 30;
  // Of the simulated hypervisor: "NAME=MIB", a running machine with one disk, half of it filled.
  std::vector<std::string> simulated_vms;

  std::string cluster = "none";  // the failover cluster that this host is in: or "pacemaker"

  int64_t saves_at_once = 4;  // virtual machines of one backup whose memory is saved at the same time

  int64_t transfer_memory_mib = 32;  // for chunks between a disk and the link, for each running backup
  int64_t transfer_workers = 2;      // threads that hash and compress, for each running job
  int64_t upload_streams = 3;        // uploads in flight, for each running backup

  int64_t upload_mib_per_second = 0;  // of all backups of this host together; 0: no limit

  // Services of this host that can join a backup, and where their copies are made: on the file system of their folders,
  // where blocks can be shared. Empty: "copies" in data_dir.
  std::vector<writers::FileSet> file_sets;
  std::string file_set_copies;

  // Programs that jobs may name, to be run before and after a backup: nobody but root and this user may write there.
  std::string hooks_folder = "/etc/umbra/hooks";
  int64_t hook_seconds = 60;  // then a hook is ended

  base::LogConfig log;
};

// INVALID_ARGUMENT / CONFIG_INVALID, worded "FILE:LINE: what is wrong"; the first fault.
absl::StatusOr<Config> ParseConfig(std::string_view toml, const std::string& file_name);

// Fills in what depends on other values and checks ranges. INVALID_ARGUMENT / CONFIG_INVALID.
absl::StatusOr<Config> CompleteConfig(Config config);

struct CommandLine {
  Config config;            // complete
  bool enrol_only = false;  // `umbra-agent enrol`
  std::string text;         // not empty: print it to standard output and exit with 0 instead of running
};

// `arguments` are those after the program's name. Reads the file that --config names. INVALID_ARGUMENT / CONFIG_INVALID,
// or why the file can't be read.
absl::StatusOr<CommandLine> ReadCommandLine(base::Filesystem& files, std::vector<std::string> arguments);

}  // namespace umbra::agent

#endif  // UMBRA_AGENT_CONFIG_H_
