// umbra-agent: reads what it is told, puts the rooms together, runs until it is told to stop.
//
// Start: log, lock of the data folder, identity (enrols when there is none), hypervisor, VSS host, healing, runner,
// link. Stop, the other way round: the runner cancels its work and puts everything back, results are given a moment to
// reach the daemon, then the link ends.
#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cluster/pacemaker/pacemaker_cluster.h"
#include "agent/config.h"
#include "agent/hypervisor/simulated/simulated_hypervisor.h"
#include "agent/link/control_link.h"
#include "agent/link/enrolment.h"
#include "agent/link/grpc_store.h"
#include "agent/link/identity_keeper.h"
#include "agent/link/outbox.h"
#include "agent/runner/backup_hooks.h"
#include "agent/runner/healer.h"
#include "agent/runner/inventory.h"
#include "agent/runner/job_runner.h"
#include "agent/writers/vss_host.h"
#include "storage/base/clock.h"
#include "storage/base/command.h"
#include "storage/base/filesystem.h"
#include "storage/base/log.h"
#include "storage/base/random.h"
#include "storage/base/status.h"
#include "storage/base/tuning.h"
#ifdef UMBRA_HYPERVISOR_LIBVIRT
#include "agent/hypervisor/libvirt/libvirt_hypervisor.h"
#endif

namespace umbra::agent {
namespace {

constexpr int kExitFailure = 1;
constexpr int kExitUsage = 2;
// At a stop: how long results wait for the daemon's acknowledgement. They are lost then, and the daemon learns from the
// next Hello that the work has ended.
constexpr absl::Duration kResultPatience = absl::Seconds(3);

// The seams to the operating system.
struct System {
  base::PosixFilesystem files;
  base::SystemClock clock;
  base::SystemRandom random;
  base::SystemCommandRunner commands{clock};
  base::SystemFolderCopier copier{clock};
};

std::string HostName(const Config& config) {
  if (!config.host_name.empty()) return config.host_name;
  char name[256] = {};
  return gethostname(name, sizeof name - 1) == 0 && name[0] != '\0' ? name : "unnamed-host";
}

absl::StatusOr<link::Identity> Enrol(System& system, const Config& config) {
  return link::Enrol(
      system.files, system.clock,
      {.token = config.token, .address = config.daemon, .host_name = HostName(config), .data_dir = config.data_dir});
}

absl::StatusOr<link::Identities> IdentitiesOf(System& system, const Config& config) {
  ASSIGN_OR_RETURN(std::optional<link::Identities> identities, link::LoadIdentities(system.files, config.data_dir));
  if (identities) return *std::move(identities);
  if (config.token.empty() || config.daemon.empty()) {
    return base::Error(
        absl::StatusCode::kFailedPrecondition, "NOT_ENROLLED",
        "{} holds no identity. Make a token on the daemon's machine (umbra host token), then: umbra-agent enrol "
        "--data-dir {} --token TOKEN --daemon HOST:7441",
        config.data_dir, config.data_dir);
  }
  ASSIGN_OR_RETURN(link::Identity identity, Enrol(system, config));
  return link::Identities{std::move(identity), std::nullopt};
}

// Machines for trying things out: half of each disk is noise, the rest a hole.
absl::Status AddSimulatedVms(hypervisor::SimulatedHypervisor& hypervisor, base::Random& random, const Config& config) {
  for (const std::string& text : config.simulated_vms) {
    const size_t equals = text.find('=');
    const uint64_t capacity = std::stoull(text.substr(equals + 1)) * base::kMiB;
    ASSIGN_OR_RETURN(
        const std::string uuid,
        hypervisor.CreateVm({.name = text.substr(0, equals), .disks = {{.name = "vda", .capacity_bytes = capacity}}}));
    std::vector<std::byte> noise(base::kMiB);
    for (uint64_t at = 0; at < capacity / 2; at += noise.size()) {
      random.Fill(noise);
      RETURN_IF_ERROR(hypervisor.GuestWrite(uuid, "vda", at, noise));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::unique_ptr<hypervisor::Hypervisor>> MakeHypervisor(System& system, const Config& config) {
  if (config.hypervisor == "simulated") {
    auto simulated = std::make_unique<hypervisor::SimulatedHypervisor>(config.data_dir + "/simulated", system.files,
                                                                       system.clock, system.random);
    RETURN_IF_ERROR(AddSimulatedVms(*simulated, system.random, config));
    return simulated;
  }
#ifdef UMBRA_HYPERVISOR_LIBVIRT
  hypervisor::LibvirtConfig driver{.uri = config.libvirt_uri};
  if (!config.default_folder.empty()) driver.default_folder = config.default_folder;
  return std::make_unique<hypervisor::LibvirtHypervisor>(driver, system.files, system.clock, system.random);
#else
  return base::MakeError(absl::StatusCode::kUnimplemented, "CONFIG_INVALID", "this build has no libvirt driver");
#endif
}

// Null on a host that is in no cluster.
std::unique_ptr<cluster::ClusterService> MakeCluster(System& system, const Config& config) {
  if (config.cluster == "none") return nullptr;
  return std::make_unique<cluster::PacemakerCluster>(system.commands, system.files, system.clock);
}

runner::RunnerSettings SettingsOf(const Config& config) {
  runner::RunnerSettings settings;
  settings.backup.memory_bytes = static_cast<uint64_t>(config.transfer_memory_mib) * base::kMiB;
  settings.backup.workers = static_cast<int>(config.transfer_workers);
  settings.restore.workers = 2 * static_cast<int>(config.transfer_workers);  // half of them wait for the disk
  settings.backup.uploaders = static_cast<int>(config.upload_streams);
  return settings;
}

// What the kernel or the system calls itself; empty when it doesn't.
std::string IdIn(base::Filesystem& files, const std::string& path, size_t size) {
  std::string id(size, '\0');
  const auto file = files.Open(path, base::OpenMode::kRead);
  const bool read = file.ok() && (*file)->ReadAt(0, std::as_writable_bytes(std::span(id.data(), id.size()))).ok();
  return read ? id : "";
}

link::ControlLinkOptions LinkOptions(System& system, const Config& config, hypervisor::Hypervisor& hypervisor) {
  link::ControlLinkOptions options{.address = config.agent_address};
  options.hello.set_agent_version(UMBRA_VERSION);
  options.hello.set_host_name(HostName(config));
  const absl::StatusOr<std::string> version = hypervisor.Version();
  options.hello.set_hypervisor(version.ok() ? *version : config.hypervisor + " (not reachable)");
  options.hello.set_process_id(system.random.Uuid());
  options.hello.set_machine_id(IdIn(system.files, "/etc/machine-id", 32));
  options.hello.set_boot_id(IdIn(system.files, "/proc/sys/kernel/random/boot_id", 36));
  return options;
}

// SIGTERM and SIGINT. Set up before any thread starts, so that only Wait gets them.
class StopSignal {
 public:
  StopSignal() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGTERM);
    sigaddset(&signals_, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals_, nullptr);
  }
  // From its return on, another signal ends the process at once.
  void Wait() {
    int number = 0;
    sigwait(&signals_, &number);
    pthread_sigmask(SIG_UNBLOCK, &signals_, nullptr);
  }

 private:
  sigset_t signals_;
};

absl::Status Run(System& system, const Config& config) {
  StopSignal stop;
  RETURN_IF_ERROR(system.files.MakeDirectories(config.data_dir));
  // Two agents on one folder would heal each other's running work.
  ASSIGN_OR_RETURN(const std::unique_ptr<base::File> lock, system.files.Lock(config.data_dir + "/agent.lock"));
  ASSIGN_OR_RETURN(link::Identities loaded, IdentitiesOf(system, config));
  link::IdentityKeeper identities(system.files, config.data_dir, system.clock, system.random, std::move(loaded));
  RETURN_IF_ERROR(system.files.MakeDirectories(config.scratch_folder));
  ASSIGN_OR_RETURN(const std::unique_ptr<hypervisor::Hypervisor> hypervisor, MakeHypervisor(system, config));
  const std::unique_ptr<cluster::ClusterService> cluster = MakeCluster(system, config);
  ASSIGN_OR_RETURN(const std::unique_ptr<writers::VssHost> host,
                   writers::VssHost::Create(*hypervisor, system.files, system.clock, system.random,
                                            {.scratch_folder = config.scratch_folder,
                                             .journal_folder = config.data_dir + "/intents",
                                             .cluster = cluster.get(),
                                             .cluster_journal_folder = config.data_dir + "/cluster-deeds",
                                             .file_sets = {.sets = config.file_sets,
                                                           .commands = &system.commands,
                                                           .copier = &system.copier,
                                                           .copies_folder = config.file_set_copies,
                                                           .intents_folder = config.data_dir + "/file-set-intents"},
                                             .saves_at_once = static_cast<size_t>(config.saves_at_once)}));
  runner::RestoreLedgers ledgers(system.files, config.data_dir);
  RETURN_IF_ERROR(ledgers.Open());
  runner::BackupHooks hooks({config.hooks_folder, absl::Seconds(config.hook_seconds)}, system.commands, system.files,
                            config.data_dir + "/hook-intents");
  RETURN_IF_ERROR(hooks.Open());
  runner::Healer healer(*host, *hypervisor, ledgers, system.clock, runner::kHealPeriod, base::SystemThreads(), &hooks);
  healer.Start();

  transfer::RateLimit host_upload(system.clock, config.upload_mib_per_second * static_cast<int64_t>(base::kMiB));
  link::StoreConnections store_connections(identities, config.agent_address);
  link::Outbox outbox(system.clock);
  runner::InventoryReporter inventory(*host, outbox, system.clock, {.period = absl::Seconds(config.inventory_seconds)});
  runner::JobRunner runner({.hypervisor = *hypervisor,
                            .host = *host,
                            .files = system.files,
                            .clock = system.clock,
                            .random = system.random,
                            .outbox = outbox,
                            .ledgers = ledgers,
                            .make_store =
                                [&](transfer::Cancellation& cancellation) {
                                  return link::MakeGrpcStore(store_connections, system.clock, cancellation);
                                },
                            .settings = SettingsOf(config),
                            .hooks = &hooks,
                            .host_upload = &host_upload},
                           inventory);
  link::ControlLink link(identities, LinkOptions(system, config, *hypervisor), outbox, runner, system.clock,
                         system.random);
  link.Start();
  base::Log("agent")->info("started version={} host={} data_dir={}", UMBRA_VERSION,
                           identities.Current().identity.host_id, config.data_dir);
  stop.Wait();
  base::Log("agent")->info("stopping");
  runner.Shutdown(
      base::MakeError(absl::StatusCode::kAborted, "AGENT_RESTARTED", "the agent was stopped; everything was put back"));
  if (!outbox.AwaitAcknowledged(kResultPatience))
    base::Log("agent")->warn("stopped with results that the daemon doesn't know");
  link.Stop();
  return absl::OkStatus();
}

int Main(std::vector<std::string> arguments) {
  signal(SIGPIPE, SIG_IGN);  // OpenSSL writes to sockets that the other end has closed
  System system;
  const absl::StatusOr<CommandLine> command = ReadCommandLine(system.files, std::move(arguments));
  if (!command.ok()) {
    std::fprintf(stderr, "umbra-agent: %s\n", base::MessageOf(command.status()).c_str());
    return kExitUsage;
  }
  if (!command->text.empty()) {
    std::fputs(command->text.c_str(), stdout);
    return 0;
  }
  if (!base::SetUpLogging(command->config.log)) {
    std::fprintf(stderr, "umbra-agent: the log level or the log file can't be used\n");
    return kExitUsage;
  }
  const absl::Status status =
      command->enrol_only ? Enrol(system, command->config).status() : Run(system, command->config);
  if (status.ok()) return 0;
  base::Log("agent")->error("ended error=\"{}\"", base::Describe(status));
  std::fprintf(stderr, "umbra-agent: %s\n", base::MessageOf(status).c_str());
  return kExitFailure;
}

}  // namespace
}  // namespace umbra::agent

int main(int argc, char** argv) {
  umbra::base::TuneForBulkData();
  return umbra::agent::Main(std::vector<std::string>(argv + 1, argv + argc));
}
