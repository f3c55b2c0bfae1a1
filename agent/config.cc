#include "agent/config.h"

#include <toml++/toml.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <map>
#include <utility>
#include <variant>

#include "agent/hypervisor/hypervisor.h"
#include "storage/base/bytes.h"
#include "storage/base/folder_tree.h"
#include "storage/base/status.h"

namespace umbra::agent {
namespace {

constexpr uint64_t kConfigSizeMax = base::kMiB;

template <typename... Args>
absl::Status Invalid(fmt::format_string<Args...> format, Args&&... args) {
  return base::Error(absl::StatusCode::kInvalidArgument, "CONFIG_INVALID", format, std::forward<Args>(args)...);
}

using Field = std::variant<std::string*, int64_t*, bool*, std::vector<std::string>*>;

// Every key of the file, by its full name.
std::map<std::string, Field> FieldsOf(Config& c) {
  return {{"data_dir", &c.data_dir},
          {"host_name", &c.host_name},
          {"daemon.enrolment_address", &c.daemon},
          {"daemon.agent_address", &c.agent_address},
          {"hypervisor.driver", &c.hypervisor},
          {"hypervisor.libvirt_uri", &c.libvirt_uri},
          {"hypervisor.default_folder", &c.default_folder},
          {"hypervisor.scratch_folder", &c.scratch_folder},
          {"hypervisor.inventory_seconds", &c.inventory_seconds},
          {"hypervisor.simulated_vms", &c.simulated_vms},
          {"hypervisor.saves_at_once", &c.saves_at_once},
          {"cluster.kind", &c.cluster},
          {"file_set_copies", &c.file_set_copies},
          {"hooks.folder", &c.hooks_folder},
          {"hooks.seconds_max", &c.hook_seconds},
          {"transfer.memory_mib", &c.transfer_memory_mib},
          {"transfer.workers", &c.transfer_workers},
          {"transfer.upload_streams", &c.upload_streams},
          {"transfer.upload_mib_per_second", &c.upload_mib_per_second},
          {"log.level", &c.log.level},
          {"log.file", &c.log.file},
          {"log.json", &c.log.json}};
}

// False when the value is of another type.
bool Take(const toml::node& node, const Field& field) {
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&field)) {
    const toml::array* array = node.as_array();
    if (array == nullptr) return false;
    (*list)->clear();
    return std::all_of(array->begin(), array->end(), [&](const toml::node& item) {
      return Take(item, Field(&(*list)->emplace_back()));
    });
  }
  return std::visit(
      [&](auto* target) {
        using T = std::remove_pointer_t<decltype(target)>;
        if constexpr (std::is_same_v<T, std::vector<std::string>>) {
          return false;
        } else {
          const auto value = node.value_exact<T>();
          if (value) *target = *value;
          return value.has_value();
        }
      },
      field);
}

// The keys of one [[file_set]].
struct FileSetKeys {
  std::string name, caption, filespec = "*";
  std::vector<std::string> paths, excludes, prepare, freeze, thaw, complete, pre_restore, post_restore;
  bool recursive = true;
  int64_t prepare_seconds = 20, freeze_seconds = 20, thaw_seconds = 20, complete_seconds = 20;
  int64_t pre_restore_seconds = 20, post_restore_seconds = 20;
  int64_t copy_mib_max = 4096, copy_seconds_max = 8;

  std::map<std::string, Field> Fields() {
    return {{"name", &name},
            {"caption", &caption},
            {"paths", &paths},
            {"filespec", &filespec},
            {"excludes", &excludes},
            {"recursive", &recursive},
            {"prepare", &prepare},
            {"freeze", &freeze},
            {"thaw", &thaw},
            {"complete", &complete},
            {"pre_restore", &pre_restore},
            {"post_restore", &post_restore},
            {"prepare_seconds", &prepare_seconds},
            {"freeze_seconds", &freeze_seconds},
            {"thaw_seconds", &thaw_seconds},
            {"complete_seconds", &complete_seconds},
            {"pre_restore_seconds", &pre_restore_seconds},
            {"post_restore_seconds", &post_restore_seconds},
            {"copy_mib_max", &copy_mib_max},
            {"copy_seconds_max", &copy_seconds_max}};
  }

  writers::FileSet Made() const {
    writers::FileSet set;
    set.name = name;
    set.caption = caption;
    for (const std::string& path : paths) set.folders.push_back({path, filespec, recursive, excludes});
    set.prepare = {prepare, absl::Seconds(prepare_seconds)};
    set.freeze = {freeze, absl::Seconds(freeze_seconds)};
    set.thaw = {thaw, absl::Seconds(thaw_seconds)};
    set.complete = {complete, absl::Seconds(complete_seconds)};
    set.pre_restore = {pre_restore, absl::Seconds(pre_restore_seconds)};
    set.post_restore = {post_restore, absl::Seconds(post_restore_seconds)};
    set.copy_bytes_max = static_cast<uint64_t>(copy_mib_max) * base::kMiB;
    set.copy_time_max = absl::Seconds(copy_seconds_max);
    return set;
  }
};

absl::Status ReadTable(const toml::table& table, const std::string& prefix, const std::string& file_name,
                       const std::map<std::string, Field>& fields) {
  for (const auto& [key, node] : table) {
    const std::string name = prefix + std::string(key.str());
    if (prefix.empty() && node.is_table()) {
      RETURN_IF_ERROR(ReadTable(*node.as_table(), name + ".", file_name, fields));
      continue;
    }
    const auto field = fields.find(name);
    const auto line = node.source().begin.line;
    if (field == fields.end()) return Invalid("{}:{}: unknown key '{}'", file_name, line, name);
    if (!Take(node, field->second)) return Invalid("{}:{}: {} has a value of the wrong type", file_name, line, name);
  }
  return absl::OkStatus();
}

// Takes [[file_set]] out of `table`.
absl::Status TakeFileSets(toml::table& table, const std::string& file_name, std::vector<writers::FileSet>* sets) {
  const toml::node* node = table.get("file_set");
  if (node == nullptr) return absl::OkStatus();
  const auto line = node->source().begin.line;
  if (!node->is_array_of_tables()) return Invalid("{}:{}: file_set must be written as [[file_set]]", file_name, line);
  for (const toml::node& entry : *node->as_array()) {
    FileSetKeys keys;
    RETURN_IF_ERROR(ReadTable(*entry.as_table(), "", file_name, keys.Fields()));
    if (keys.copy_mib_max < 0) return Invalid("{}:{}: copy_mib_max is negative", file_name, line);
    sets->push_back(keys.Made());
  }
  table.erase("file_set");
  return absl::OkStatus();
}

absl::Status CheckAddress(const char* what, const std::string& address) {
  const size_t colon = address.rfind(':');
  const std::string port = colon == std::string::npos ? "" : address.substr(colon + 1);
  const bool digits = !port.empty() && port.size() <= 5 && port.find_first_not_of("0123456789") == std::string::npos;
  if (address.empty() || (colon != 0 && digits)) return absl::OkStatus();
  return Invalid("{}: '{}' is not \"host:port\"", what, address);
}

absl::Status CheckRange(const char* what, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return Invalid("{}: {} is not from {} to {}", what, value, min, max);
}

// Whoever may write a hook runs programs as this user.
absl::Status CheckHooksTrusted(const Config& config, const std::string& file) {
  const bool hooks = std::any_of(config.file_sets.begin(), config.file_sets.end(), [](const writers::FileSet& set) {
    for (const writers::Hook* hook : {&set.prepare, &set.freeze, &set.thaw, &set.complete, &set.pre_restore, &set.post_restore}) {
      if (!hook->arguments.empty()) return true;
    }
    return false;
  });
  if (!hooks) return absl::OkStatus();
  ASSIGN_OR_RETURN(const bool others, base::OthersMayWrite(file));
  if (!others) return absl::OkStatus();
  return Invalid("{}: it has hooks, which run as this user, and others may write it: chown it to root and chmod go-w", file);
}

// A copy would hold itself.
absl::Status CheckCopiesApart(const Config& config) {
  for (const writers::FileSet& set : config.file_sets) {
    for (const base::FolderSelection& folder : set.folders) {
      if (!folder.recursive || !(config.file_set_copies + "/").starts_with(folder.folder + "/")) continue;
      return Invalid("file_set {}: its copies are made in {}, which lies in its own '{}'; set file_set_copies to a folder outside",
                     set.name, config.file_set_copies, folder.folder);
    }
  }
  return absl::OkStatus();
}

absl::Status CheckSimulatedVm(const std::string& text) {
  const size_t equals = text.find('=');
  const std::string size = equals == std::string::npos ? "" : text.substr(equals + 1);
  if (equals != 0 && !size.empty() && size.size() <= 6 && size.find_first_not_of("0123456789") == std::string::npos) {
    return absl::OkStatus();
  }
  return Invalid("simulated_vms: '{}' is not NAME=MIB", text);
}

constexpr char kExamples[] = R"(Examples:
  umbra-agent enrol --token TOKEN --daemon backup.example.net:7441
                                       trade a token (umbra host token) for an identity, then exit
  umbra-agent                          run, with the identity in /var/lib/umbra-agent
  umbra-agent --config /etc/umbra/umbra-agent.toml
  umbra-agent --token TOKEN --daemon 127.0.0.1:7441 --data-dir /tmp/agent
                                       enrol if that has not happened yet, then run
  umbra-agent --hypervisor simulated --simulated-vm db01=256 --data-dir /tmp/agent
                                       no hypervisor needed: a simulated machine with a 256 MiB disk

SIGTERM or SIGINT stops gracefully: running jobs are cancelled, guests thawed, everything put back. A second one ends at once.)";

struct Flags {
  Config values;  // only what was given counts
  std::string config_file;
};

void AddFlags(CLI::App& app, Flags& flags) {
  Config& c = flags.values;
  app.add_option("-c,--config", flags.config_file, "Configuration file (TOML)")->type_name("FILE");
  app.add_option("--data-dir", c.data_dir, "Folder for what the agent keeps (default /var/lib/umbra-agent)")->type_name("DIR");
  app.add_option("--daemon", c.daemon, "Enrolment port of the daemon; with --token")->type_name("HOST:PORT");
  app.add_option("--token", c.token, "One-time token from: umbra host token")->type_name("TOKEN");
  app.add_option("--agent-address", c.agent_address, "Agent port of the daemon (default: as it said at enrolment)")
      ->type_name("HOST:PORT");
  app.add_option("--host-name", c.host_name, "Name of this host (default: the machine's)")->type_name("NAME");
  app.add_option("--hypervisor", c.hypervisor, "libvirt or simulated (default libvirt)")->type_name("DRIVER");
  app.add_option("--libvirt-uri", c.libvirt_uri, "Where libvirt listens (default qemu:///system)")->type_name("URI");
  app.add_option("--default-folder", c.default_folder, "Where restored machines' disks go (default: the driver's own)")
      ->type_name("DIR");
  app.add_option("--scratch-folder", c.scratch_folder, "For what guests overwrite during a backup (default DATA_DIR/scratch)")
      ->type_name("DIR");
  app.add_option("--inventory-seconds", c.inventory_seconds, "How often the daemon is told what there is (default 30)");
  app.add_option("--simulated-vm", c.simulated_vms, "A machine of the simulated hypervisor; may be repeated")->type_name("NAME=MIB");
  app.add_option("--cluster", c.cluster, "Failover cluster of this host: none or pacemaker (default none)")->type_name("KIND");
  app.add_option("--log-level", c.log.level, "trace, debug, info, warn or error (default info)")->type_name("LEVEL");
  app.add_option("--log-file", c.log.file, "Log to this file instead of standard error")->type_name("FILE");
  app.add_flag("--log-json", c.log.json, "Log one JSON object a line");
}

// What was given on the command line, over `config`.
void ApplyFlags(const CLI::App& app, const Config& given, Config& config) {
  const auto set = [&app](const char* flag, const auto& from, auto& to) {
    if (app.count(flag) > 0) to = from;
  };
  set("--data-dir", given.data_dir, config.data_dir);
  set("--daemon", given.daemon, config.daemon);
  set("--token", given.token, config.token);
  set("--agent-address", given.agent_address, config.agent_address);
  set("--host-name", given.host_name, config.host_name);
  set("--hypervisor", given.hypervisor, config.hypervisor);
  set("--libvirt-uri", given.libvirt_uri, config.libvirt_uri);
  set("--default-folder", given.default_folder, config.default_folder);
  set("--scratch-folder", given.scratch_folder, config.scratch_folder);
  set("--inventory-seconds", given.inventory_seconds, config.inventory_seconds);
  set("--simulated-vm", given.simulated_vms, config.simulated_vms);
  set("--cluster", given.cluster, config.cluster);
  set("--log-level", given.log.level, config.log.level);
  set("--log-file", given.log.file, config.log.file);
  set("--log-json", given.log.json, config.log.json);
}

}  // namespace

absl::StatusOr<Config> ParseConfig(std::string_view toml, const std::string& file_name) {
  Config config;
  try {
    toml::table table = toml::parse(toml, file_name);
    RETURN_IF_ERROR(TakeFileSets(table, file_name, &config.file_sets));
    RETURN_IF_ERROR(ReadTable(table, "", file_name, FieldsOf(config)));
  } catch (const toml::parse_error& error) {
    return Invalid("{}:{}: {}", file_name, error.source().begin.line, error.description());
  }
  return config;
}

absl::StatusOr<Config> CompleteConfig(Config config) {
  std::error_code error;
  config.data_dir = std::filesystem::absolute(config.data_dir, error).lexically_normal();
  if (error || config.data_dir.empty()) return Invalid("data_dir: no such path");
  if (config.data_dir.size() > 1 && config.data_dir.back() == '/') config.data_dir.pop_back();
  if (config.scratch_folder.empty()) config.scratch_folder = config.data_dir + "/scratch";
  if (config.scratch_folder.front() != '/') config.scratch_folder = config.data_dir + "/" + config.scratch_folder;
  if (config.scratch_folder.size() > hypervisor::kScratchFolderLengthMax) {
    return Invalid("scratch_folder: '{}' is longer than {} characters (the sockets in it need the rest); choose a shorter one",
                   config.scratch_folder, hypervisor::kScratchFolderLengthMax);
  }
  if (config.hypervisor != "libvirt" && config.hypervisor != "simulated") {
    return Invalid("hypervisor: '{}' is neither libvirt nor simulated", config.hypervisor);
  }
  if (config.cluster != "none" && config.cluster != "pacemaker") {
    return Invalid("cluster.kind: '{}' is neither none nor pacemaker", config.cluster);
  }
  if (!config.default_folder.empty() && config.default_folder.front() != '/') return Invalid("default_folder: must be absolute");
  if (config.file_set_copies.empty()) config.file_set_copies = config.data_dir + "/copies";
  if (config.file_set_copies.front() != '/') return Invalid("file_set_copies: must be absolute");
  RETURN_IF_ERROR(writers::CheckFileSets(config.file_sets));
  RETURN_IF_ERROR(CheckCopiesApart(config));
  RETURN_IF_ERROR(CheckAddress("daemon", config.daemon));
  RETURN_IF_ERROR(CheckAddress("agent_address", config.agent_address));
  RETURN_IF_ERROR(CheckRange("hypervisor.inventory_seconds", config.inventory_seconds, 1, 3600));
  if (config.hooks_folder.empty() || config.hooks_folder.front() != '/') return Invalid("hooks.folder: must be absolute");
  RETURN_IF_ERROR(CheckRange("hooks.seconds_max", config.hook_seconds, 1, 3600));
  RETURN_IF_ERROR(CheckRange("hypervisor.saves_at_once", config.saves_at_once, 1, 64));
  RETURN_IF_ERROR(CheckRange("transfer.memory_mib", config.transfer_memory_mib, 8, 4096));
  RETURN_IF_ERROR(CheckRange("transfer.workers", config.transfer_workers, 1, 64));
  RETURN_IF_ERROR(CheckRange("transfer.upload_streams", config.upload_streams, 1, 8));
  RETURN_IF_ERROR(CheckRange("transfer.upload_mib_per_second", config.upload_mib_per_second, 0, 1 << 20));
  for (const std::string& vm : config.simulated_vms) RETURN_IF_ERROR(CheckSimulatedVm(vm));
  return config;
}

absl::StatusOr<CommandLine> ReadCommandLine(base::Filesystem& files, std::vector<std::string> arguments) {
  CommandLine command;
  Flags flags;
  CLI::App app("umbra-agent backs up and restores the virtual machines of this host for umbrad.", "umbra-agent");
  app.set_version_flag("--version", std::string("umbra-agent ") + UMBRA_VERSION);
  app.footer(kExamples);
  AddFlags(app, flags);
  CLI::App* enrol = app.add_subcommand("enrol", "Trade a one-time token for this agent's identity, and exit");
  enrol->fallthrough();
  std::reverse(arguments.begin(), arguments.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::CallForHelp&) {
    command.text = app.help();
    return command;
  } catch (const CLI::CallForVersion&) {
    command.text = app.version() + "\n";
    return command;
  } catch (const CLI::Error& error) {
    return Invalid("{} (umbra-agent --help shows the options)", error.what());
  }
  Config config;
  if (!flags.config_file.empty()) {
    ASSIGN_OR_RETURN(const std::string text, files.ReadFile(flags.config_file, kConfigSizeMax));
    ASSIGN_OR_RETURN(config, ParseConfig(text, flags.config_file));
    RETURN_IF_ERROR(CheckHooksTrusted(config, flags.config_file));
  }
  ApplyFlags(app, flags.values, config);
  ASSIGN_OR_RETURN(command.config, CompleteConfig(std::move(config)));
  command.enrol_only = enrol->parsed();
  if (command.enrol_only && (command.config.token.empty() || command.config.daemon.empty())) {
    return Invalid("enrol needs --token and --daemon (umbra-agent --help has an example)");
  }
  return command;
}

}  // namespace umbra::agent
