#include "agent/hypervisor/libvirt/guest_disks.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <string>

namespace umbra::hypervisor {
namespace {

using Json = nlohmann::json;

Json ListOf(std::string_view reply) {
  const Json json = Json::parse(reply, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object() || !json.contains("return") || !json["return"].is_array()) return Json::array();
  return json["return"];
}

std::string Text(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_string() ? object[key].get<std::string>() : "";
}

bool IsTrue(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) && object[key].is_boolean() && object[key].get<bool>();
}

Json Member(const Json& object, const char* key) {
  return object.is_object() && object.contains(key) ? object[key] : Json();
}

// The agent writes -1 for a PCI address that it doesn't know.
bool OnPci(const Json& address) {
  const Json controller = Member(address, "pci-controller");
  const Json domain = Member(controller, "domain");
  return domain.is_number_integer() && domain.get<int64_t>() >= 0;
}

// "/dev/sdb" -> "sdb"
std::string_view DeviceOf(std::string_view name) {
  return name.substr(name.rfind('/') + 1);
}

// The bus of a disk that the guest attached itself; empty for any other. `pci_known`: the agent tells PCI addresses, so
// that none means something.
std::string OwnBus(std::string_view name, const Json& address, bool pci_known) {
  const std::string bus = Text(address, "bus-type");
  if (bus == "iscsi") return bus;
  const std::string_view device = DeviceOf(name);
  for (const std::string_view network : {"nbd", "rbd", "drbd"}) {
    if (device.starts_with(network)) return std::string(network);
  }
  const bool scsi = device.starts_with("sd") && (bus.empty() || bus == "unknown" || bus == "scsi");
  return scsi && pci_known && !OnPci(address) ? "iscsi" : "";
}

struct Seen {
  std::string name;
  Json address;
};

// Whole disks of one reply or the other.
std::vector<Seen> DisksIn(std::string_view disks_reply, std::string_view filesystems_reply) {
  std::vector<Seen> seen;
  for (const Json& disk : ListOf(disks_reply)) {
    if (!IsTrue(disk, "partition")) seen.push_back({Text(disk, "name"), Member(disk, "address")});
  }
  for (const Json& filesystem : ListOf(filesystems_reply)) {
    const Json disks = Member(filesystem, "disk");
    for (const Json& disk : disks.is_array() ? disks : Json::array()) seen.push_back({Text(disk, "dev"), disk});
  }
  std::erase_if(seen, [](const Seen& disk) { return disk.name.empty(); });
  return seen;
}

// A file system's device may be a partition of the disk.
bool LiesOn(std::string_view device, const std::string& disk) {
  if (!device.starts_with(disk)) return false;
  device.remove_prefix(disk.size());
  return device.find_first_not_of("0123456789p") == std::string_view::npos;
}

}  // namespace

std::vector<GuestDisk> OwnDisks(std::string_view disks_reply, std::string_view filesystems_reply) {
  const std::vector<Seen> seen = DisksIn(disks_reply, filesystems_reply);
  const bool pci_known = std::any_of(seen.begin(), seen.end(), [](const Seen& disk) { return OnPci(disk.address); });
  std::vector<GuestDisk> own;
  for (const Seen& disk : seen) {
    std::string bus = OwnBus(disk.name, disk.address, pci_known);
    const bool listed =
        std::any_of(own.begin(), own.end(), [&](const GuestDisk& d) { return LiesOn(disk.name, d.name); });
    if (!bus.empty() && !listed) own.push_back({disk.name, std::move(bus)});
  }
  return own;
}

void AddOwnDisks(std::string_view filesystems_reply, const std::vector<GuestDisk>& own_disks,
                 std::vector<GuestFilesystem>& filesystems) {
  for (const Json& told : ListOf(filesystems_reply)) {
    const auto filesystem = std::find_if(filesystems.begin(), filesystems.end(), [&](const GuestFilesystem& f) {
      return f.mount_point == Text(told, "mountpoint");
    });
    const Json disks = Member(told, "disk");
    if (filesystem == filesystems.end() || !disks.is_array()) continue;
    for (const Json& disk : disks) {
      for (const GuestDisk& own : own_disks) {
        std::vector<std::string>& names = filesystem->disk_names;
        if (!LiesOn(Text(disk, "dev"), own.name)) continue;
        if (std::find(names.begin(), names.end(), own.name) == names.end()) names.push_back(own.name);
      }
    }
  }
}

}  // namespace umbra::hypervisor
