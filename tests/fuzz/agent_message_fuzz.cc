// Target: what an agent that somebody else got hold of can say to the daemon over its link.
#include <set>

#include "server/dispatch/messages.h"
#include "tests/fuzz/fuzz.h"

namespace umbra::fuzz {
namespace {

using agent::v1::AgentMessage;

const catalog::HostId kHost("h1");

void CheckInventory(const agent::v1::Inventory& inventory) {
  const dispatch::InventoryRecords records = dispatch::FromInventory(kHost, inventory, absl::FromUnixSeconds(1));
  std::set<std::string> keys;
  for (const catalog::Vm& vm : records.vms) {
    Require(vm.key.host == kHost, "an agent speaks of its own host");
    Require(!vm.key.uuid.empty() && keys.insert(vm.key.uuid).second, "a machine has a key of its own");
    for (const auto& disk : vm.disks) Require(disk.capacity_bytes >= 0, "a size isn't negative");
  }
  for (const catalog::FileSet& set : records.file_sets) {
    Require(set.key.host == kHost, "an agent speaks of its own host");
    Require(keys.insert(set.key.uuid).second, "a file set has a key of its own");
  }
  if (!records.error.empty()) Require(keys.empty(), "an inventory that failed is empty");
}

void CheckResult(const agent::v1::AssignmentResult& result) {
  const dispatch::Outcome outcome = dispatch::FromResult(kHost, result);
  if (outcome.event == jobs::JobEvent::kAgentFailed) {
    Require(!outcome.facts.error.reason.empty(), "a failure has a reason");
  }
}

std::string Print(const AgentMessage& message) {
  return message.SerializeAsString();
}

}  // namespace

std::vector<std::string> Seeds() {
  std::vector<std::string> seeds;
  AgentMessage hello;
  hello.mutable_hello()->set_agent_version("1.2.3");
  hello.mutable_hello()->set_host_name("h1");
  hello.mutable_hello()->add_running()->set_job_id("j1");
  seeds.push_back(Print(hello));
  AgentMessage inventory;
  auto* vm = inventory.mutable_inventory()->add_virtual_machines();
  vm->set_name("00000000-0000-0000-0000-000000000001");
  vm->set_display_name("db");
  vm->add_disks()->set_capacity_bytes(1 << 20);
  inventory.mutable_inventory()->add_writers()->set_name("00000000-0000-0000-0000-000000000002");
  inventory.mutable_inventory()->add_file_sets()->set_name("shop");
  seeds.push_back(Print(inventory));
  AgentMessage progress;
  progress.mutable_progress()->mutable_id()->set_job_id("j1");
  progress.mutable_progress()->mutable_id()->set_attempt(1);
  seeds.push_back(Print(progress));
  AgentMessage warning;
  warning.mutable_warning()->mutable_id()->set_job_id("j1");
  warning.mutable_warning()->mutable_warning()->set_message("x");
  seeds.push_back(Print(warning));
  AgentMessage note;
  note.mutable_note()->mutable_id()->set_job_id("j1");
  note.mutable_note()->set_text("said the hook");
  seeds.push_back(Print(note));
  AgentMessage result;
  result.mutable_result()->mutable_id()->set_job_id("j1");
  result.mutable_result()->mutable_error()->set_reason("FREEZE_FAILED");
  seeds.push_back(Print(result));
  return seeds;
}

void TestOneInput(std::string_view input) {
  AgentMessage message;
  if (!message.ParseFromArray(input.data(), static_cast<int>(input.size()))) return;
  switch (message.message_case()) {
    case AgentMessage::kHello: {
      catalog::Host host;
      host.id = kHost;
      host.display_name = "as enrolled";
      dispatch::ApplyHello(message.hello(), host);
      Require(host.id == kHost && host.display_name == "as enrolled", "a host keeps the name it enrolled with");
      for (const auto& id : message.hello().running()) (void)dispatch::KeyOf(id);
      return;
    }
    case AgentMessage::kInventory:
      return CheckInventory(message.inventory());
    case AgentMessage::kProgress:
      (void)dispatch::KeyOf(message.progress().id());
      (void)dispatch::FromProgress(kHost, message.progress());
      return;
    case AgentMessage::kWarning:
      (void)dispatch::FromMessage(message.warning().warning());
      return;
    case AgentMessage::kNote:
      (void)dispatch::TextOf(message.note());
      return;
    case AgentMessage::kResult:
      return CheckResult(message.result());
    default:
      return;
  }
}

}  // namespace umbra::fuzz
