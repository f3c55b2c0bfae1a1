// umbra vm list | show | label
#include <fmt/format.h>

#include "server/cli/context.h"
#include "server/cli/labels.h"
#include "server/cli/resolve.h"
#include "storage/base/bytes.h"

namespace umbra::cli {
namespace {

std::string MechanismText(const v1::VirtualMachine& vm) {
  return EnumText(v1::BackupMechanism_Name(vm.mechanism()), "BACKUP_MECHANISM_");
}

std::string StateText(const v1::VirtualMachine& vm) {
  return EnumText(v1::VirtualMachineState_Name(vm.state()), "VIRTUAL_MACHINE_STATE_");
}

// Every reason against child snapshot, the first one first.
std::string Why(const v1::VirtualMachine& vm) {
  std::string text;
  for (const auto& obstacle : vm.mechanism_obstacles()) text += (text.empty() ? "" : ",") + obstacle.reason();
  if (text.empty()) text = vm.mechanism_reason();
  return text.empty() ? "-" : text;
}

void ListVms(Context& context, const std::string& host, const std::string& select) {
  v1::ListVirtualMachinesRequest request;
  request.set_parent(host.empty() ? "hosts/-" : ResolveHost(context.client(), host).name());
  request.set_filter(select);
  Table table({"VM", "NAME", "STATE", "DISKS", "SIZE", "MECHANISM", "WHY", "LAST POINT", "LABELS"});
  ForEach(*context.client().vms, &v1::VirtualMachineService::Stub::ListVirtualMachines, request,
          &v1::ListVirtualMachinesResponse::virtual_machines, 0, [&](const v1::VirtualMachine& vm) {
            if (context.json) return context.output().Json(vm);
            int64_t size = 0;
            for (const auto& disk : vm.disks()) size += disk.capacity_bytes();
            table.Add({ShortId(vm.name()), vm.display_name(), StateText(vm), std::to_string(vm.disks_size()),
                       base::FormatSize(static_cast<uint64_t>(size)), MechanismText(vm), Why(vm),
                       vm.last_recovery_point().empty() ? "-" : ShortId(vm.last_recovery_point()),
                       LabelsText(vm.labels())});
          });
  if (!context.json) table.Print();
}

// "external, 2026-02-01 10:00:00, after before-update, current"
std::string CheckpointText(const v1::Checkpoint& checkpoint) {
  std::string text = EnumText(v1::Checkpoint::Kind_Name(checkpoint.kind()), "KIND_");
  if (checkpoint.has_memory()) text += " with memory";
  text += ", " + TimeText(checkpoint.has_create_time(), checkpoint.create_time());
  if (!checkpoint.parent().empty()) text += ", after " + checkpoint.parent();
  return checkpoint.current() ? text + ", current" : text;
}

void PrintVm(Context& context, const v1::VirtualMachine& vm) {
  if (context.json) return context.output().Json(vm);
  std::vector<std::pair<std::string, std::string>> fields = {
      {"Name", vm.display_name()},
      {"Resource", vm.name()},
      {"State", StateText(vm)},
      {"Labels", LabelsText(vm.labels())},
      {"Memory", base::FormatSize(static_cast<uint64_t>(vm.memory_bytes()))},
      {"Guest agent", fmt::format("{} {}", EnumText(v1::GuestAgent::State_Name(vm.guest_agent().state()), "STATE_"),
                                  vm.guest_agent().version())},
      {"Mechanism", MechanismText(vm)},
      {"Why", vm.mechanism_message()}};
  for (const auto& obstacle : vm.mechanism_obstacles()) {
    fields.emplace_back("Obstacle", fmt::format("{} [{}]", obstacle.message(), obstacle.reason()));
  }
  if (vm.has_cluster_resource()) {
    const v1::ClusterResource& cluster = vm.cluster_resource();
    fields.emplace_back("Cluster", fmt::format("resource {}, {}{}", cluster.resource(), cluster.state(),
                                               cluster.node().empty() ? "" : " on " + cluster.node()));
  }
  for (const auto& disk : vm.disks()) {
    fields.emplace_back("Disk " + disk.name(),
                        fmt::format("{} {}, {} on the host, {}", disk.format(),
                                    base::FormatSize(static_cast<uint64_t>(disk.capacity_bytes())),
                                    base::FormatSize(static_cast<uint64_t>(disk.allocated_bytes())), disk.path()));
  }
  for (const auto& disk : vm.excluded_disks()) {
    fields.emplace_back("Excluded " + disk.name(), fmt::format("{} [{}]", disk.message(), disk.reason()));
  }
  for (const v1::Checkpoint& checkpoint : vm.checkpoints()) {
    fields.emplace_back("Checkpoint " + checkpoint.name(), CheckpointText(checkpoint));
  }
  const v1::BackupFigures& figures = vm.figures();
  fields.emplace_back("Recovery points",
                      fmt::format("{} with {} of data; {} new ({:.2f}x deduplicated), {} stored ({:.2f}x compressed)",
                                  figures.recovery_point_count(), base::FormatSize(static_cast<uint64_t>(figures.logical_bytes())),
                                  base::FormatSize(static_cast<uint64_t>(figures.unique_bytes())), figures.dedup_ratio(),
                                  base::FormatSize(static_cast<uint64_t>(figures.stored_bytes())), figures.compression_ratio()));
  fields.emplace_back("Last recovery point", LastSegment(vm.last_recovery_point()));
  fields.emplace_back("Reported", TimeText(vm.has_update_time(), vm.update_time()));
  context.output().Fields(fields);
}

void ShowVm(Context& context, const std::string& text) {
  v1::GetVirtualMachineRequest request;
  request.set_name(ResolveVm(context.client(), text).name());
  PrintVm(context, Call(*context.client().vms, &v1::VirtualMachineService::Stub::GetVirtualMachine, request));
}

void LabelVm(Context& context, const std::string& text, const std::vector<std::string>& changes) {
  const auto request =
      LabelRequest<v1::SetVirtualMachineLabelsRequest>(ResolveVm(context.client(), text).name(), changes);
  PrintVm(context, Call(*context.client().vms, &v1::VirtualMachineService::Stub::SetVirtualMachineLabels, request));
}

}  // namespace

void AddVmCommands(CLI::App& app, Context& context) {
  CLI::App* vm = app.add_subcommand("vm", "Virtual machines");
  vm->require_subcommand(1);
  static std::string host;
  CLI::App* list = vm->add_subcommand("list", "Lists virtual machines, with the mechanism that a backup would use and why");
  list->add_option("--host", host, "Only this host (name or id)");
  static std::string select;
  list->add_option("--select", select,
                   "Only those that this expression matches, such as \"label.env=prod and name=web*\"");
  list->callback([&] { ListVms(context, host, select); });

  static std::string name;
  CLI::App* show = vm->add_subcommand("show", "Shows a virtual machine");
  show->add_option("VM", name, "Name, uuid, beginning of the uuid, or resource name")->required();
  show->footer("Example:\n  umbra vm show mail01");
  show->callback([&] { ShowVm(context, name); });

  static std::vector<std::string> labels;
  CLI::App* label = vm->add_subcommand("label", "Sets and removes labels, for policies to select by");
  label->add_option("VM", name, "Name, uuid, beginning of the uuid, or resource name")->required();
  label->add_option("LABEL", labels, "env=prod sets a label, env- removes it")->required();
  label->footer("Example:\n  umbra vm label mail01 env=prod team-");
  label->callback([&] { LabelVm(context, name, labels); });
}

}  // namespace umbra::cli
