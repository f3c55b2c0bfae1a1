#include "agent/hypervisor/libvirt/domain_xml.h"

#include <algorithm>
#include <pugixml.hpp>
#include <set>
#include <sstream>

#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using base::Invalid;

constexpr char kAgentChannel[] = "org.qemu.guest_agent.0";

std::string_view Attr(pugi::xml_node node, const char* name) { return node.attribute(name).value(); }

absl::Status Load(std::string_view xml, pugi::xml_document& doc) {
  const pugi::xml_parse_result result = doc.load_buffer(xml.data(), xml.size(), pugi::parse_default | pugi::parse_comments);
  if (!result) return Invalid("domain XML: {} at byte {}", result.description(), result.offset);
  if (!doc.child("domain")) return Invalid("domain XML: there is no <domain>");
  return absl::OkStatus();
}

std::string Print(const pugi::xml_document& doc) {
  std::ostringstream out;
  doc.save(out, "  ", pugi::format_default | pugi::format_no_declaration);
  return out.str();
}

uint64_t MemoryBytes(pugi::xml_node memory) {
  const std::string_view unit = Attr(memory, "unit");
  const uint64_t value = memory.text().as_ullong();
  if (unit == "b" || unit == "bytes") return value;
  if (unit == "MiB" || unit == "M") return value * base::kMiB;
  if (unit == "GiB" || unit == "G") return value * base::kGiB;
  if (unit == "TiB" || unit == "T") return value * base::kGiB * 1024;
  return value * base::kKiB;  // what libvirt prints
}

// The image file or device; empty for other kinds.
std::string SourcePath(pugi::xml_node disk) {
  const pugi::xml_node source = disk.child("source");
  const std::string_view type = Attr(disk, "type");
  if (type == "file") return source.attribute("file").value();
  if (type == "block") return source.attribute("dev").value();
  return "";
}

std::string NetworkSourceText(pugi::xml_node source) {
  return fmt::format("{}:{}", Attr(source, "protocol"), Attr(source, "name"));
}

// Sets why a disk can't be backed up; the first reason that fits.
void SetExclusion(pugi::xml_node node, Disk& disk) {
  const std::string_view device = Attr(node, "device");
  const std::string_view type = Attr(node, "type");
  auto exclude = [&](DiskExclusion why, std::string detail) {
    disk.exclusion = why;
    disk.exclusion_detail = std::move(detail);
  };
  if (device == "cdrom" || device == "floppy") return exclude(DiskExclusion::kRemovable, fmt::format("{} drive", device));
  if (device == "lun") {
    const std::string where = type == "network" ? NetworkSourceText(node.child("source")) : disk.path;
    return exclude(DiskExclusion::kPassThrough, fmt::format("{} passed through as LUN", where));
  }
  if (type == "network") {
    return exclude(DiskExclusion::kNetwork, fmt::format("network disk {}", NetworkSourceText(node.child("source"))));
  }
  if (node.child("shareable")) return exclude(DiskExclusion::kShared, "shared with other machines");
  if (node.child("transient")) return exclude(DiskExclusion::kShared, "transient: changes are thrown away");
  if (node.child("readonly")) return exclude(DiskExclusion::kShared, "read-only");
  if (type != "file" && type != "block" && type != "volume") {
    return exclude(DiskExclusion::kFormatUnsupported, fmt::format("source of type '{}'", type));
  }
  if (disk.format != "qcow2" && disk.format != "raw") {
    return exclude(DiskExclusion::kFormatUnsupported, fmt::format("image format '{}'", disk.format));
  }
}

Disk ParseDisk(pugi::xml_node node) {
  Disk disk;
  disk.name = node.child("target").attribute("dev").value();
  disk.path = SourcePath(node);
  disk.format = node.child("driver").attribute("type").as_string("raw");
  SetExclusion(node, disk);
  return disk;
}

std::string HostDeviceText(pugi::xml_node hostdev) {
  const pugi::xml_node source = hostdev.child("source");
  const pugi::xml_node address = source.child("address");
  if (Attr(hostdev, "type") == "pci") {
    return fmt::format("PCI device {}:{}:{}.{}", Attr(address, "domain"), Attr(address, "bus"), Attr(address, "slot"),
                       Attr(address, "function"));
  }
  if (Attr(source, "protocol") == "iscsi") return fmt::format("iSCSI {}", Attr(source, "name"));
  return fmt::format("SCSI device {} {}:{}:{}", Attr(source.child("adapter"), "name"), Attr(address, "bus"),
                     Attr(address, "target"), Attr(address, "unit"));
}

// Devices that bring their own disks, which no list of disks shows.
bool MayHoldDisks(pugi::xml_node hostdev) {
  const std::string_view type = Attr(hostdev, "type");
  return Attr(hostdev, "mode") == "subsystem" && (type == "scsi" || type == "scsi_host" || type == "pci");
}

std::string SwitchName(pugi::xml_node interface) {
  const pugi::xml_node source = interface.child("source");
  const std::string_view type = Attr(interface, "type");
  if (type == "network") return source.attribute("network").value();
  if (type == "bridge") return source.attribute("bridge").value();
  if (type == "direct") return source.attribute("dev").value();
  return "";
}

// --- rewriting ---

template <typename Keep>
void RemoveChildrenUnless(pugi::xml_node parent, Keep keep) {
  for (pugi::xml_node child = parent.first_child(); child;) {
    const pugi::xml_node next = child.next_sibling();
    if (!keep(child)) parent.remove_child(child);
    child = next;
  }
}

void SetAttr(pugi::xml_node node, const char* name, const std::string& value) {
  pugi::xml_attribute attribute = node.attribute(name);
  if (!attribute) attribute = node.append_attribute(name);
  attribute.set_value(value.c_str());
}

// The source becomes the file `path`, and what described the old image goes.
void PointDiskAt(pugi::xml_node disk, const std::string& path, std::vector<Warning>& warnings) {
  if (disk.child("encryption") || disk.child("source").child("encryption")) {
    warnings.push_back({"ENCRYPTION_NOT_RESTORED", fmt::format("disk '{}' was encrypted; its restored image is not",
                                                               Attr(disk.child("target"), "dev"))});
  }
  for (const char* stale : {"backingStore", "mirror", "encryption", "auth"}) {
    while (disk.remove_child(stale)) {
    }
  }
  SetAttr(disk, "type", "file");
  if (!disk.child("source")) disk.insert_child_after("source", disk.child("driver"));
  const pugi::xml_node source = disk.child("source");
  const pugi::xml_node fresh = disk.insert_child_before("source", source);
  SetAttr(fresh, "file", path);
  disk.remove_child(source);
}

void EmptyDrive(pugi::xml_node disk) {
  SetAttr(disk, "type", "file");
  disk.remove_child("source");
  disk.remove_child("backingStore");
}

absl::Status RewriteDisks(pugi::xml_node devices, const RewriteOptions& options, std::vector<Warning>& warnings) {
  std::set<std::string> left;
  for (const auto& [name, path] : options.disk_paths) left.insert(name);
  for (pugi::xml_node disk = devices.child("disk"); disk;) {
    const pugi::xml_node next = disk.next_sibling("disk");
    const std::string name = disk.child("target").attribute("dev").value();
    const std::string_view device = Attr(disk, "device");
    auto path = std::find_if(options.disk_paths.begin(), options.disk_paths.end(), [&](auto& p) { return p.first == name; });
    if (path != options.disk_paths.end()) {
      PointDiskAt(disk, path->second, warnings);
      left.erase(name);
    } else if (device == "cdrom" || device == "floppy") {
      EmptyDrive(disk);
    } else {
      warnings.push_back({"DISK_LEFT_OUT", fmt::format("disk '{}' was not restored and is left out", name)});
      devices.remove_child(disk);
    }
    disk = next;
  }
  if (!left.empty()) return Invalid("the configuration has no disk '{}'", *left.begin());
  return absl::OkStatus();
}

// SCSI devices are disks that were not restored; other host devices stay with a VM that stays the same.
void RewriteHostDevices(pugi::xml_node devices, bool is_new, std::vector<Warning>& warnings) {
  for (pugi::xml_node device = devices.child("hostdev"); device;) {
    const pugi::xml_node next = device.next_sibling("hostdev");
    const std::string_view type = Attr(device, "type");
    if (is_new || type == "scsi" || type == "scsi_host") {
      const std::string text = MayHoldDisks(device) ? HostDeviceText(device) : fmt::format("{} device", type);
      warnings.push_back({"DEVICE_LEFT_OUT", fmt::format("{} was passed through and is left out", text)});
      devices.remove_child(device);
    }
    device = next;
  }
}

// What of an adapter is the guest's side of it.
bool IsGuestSide(pugi::xml_node child) {
  static const std::set<std::string_view> kept = {"mac", "model", "boot", "address", "alias", "rom", "acpi", "mtu"};
  return kept.contains(child.name());
}

// A tap device that belongs to no bridge, with the cable out.
void Unplug(pugi::xml_node interface) {
  while (interface.remove_attribute("trustGuestRxFilters")) {
  }
  RemoveChildrenUnless(interface, IsGuestSide);
  SetAttr(interface, "type", "ethernet");
  interface.append_child("link").append_attribute("state") = "down";
}

// Says why the adapter can't be plugged in where it was; empty when it can.
std::string WhyUnpluggable(pugi::xml_node interface, const RewriteOptions& options) {
  const std::string_view type = Attr(interface, "type");
  const std::string name = SwitchName(interface);
  if (type == "network" && !options.switch_exists("network", name)) return fmt::format("there is no active network '{}'", name);
  if (type == "bridge" && !options.switch_exists("bridge", name)) return fmt::format("there is no bridge '{}'", name);
  if (type == "direct" && !options.switch_exists("bridge", name)) return fmt::format("there is no network device '{}'", name);
  if (type == "null") return "it was plugged in nowhere";
  if (type == "hostdev" && !options.new_uuid.empty()) return "its host device belongs to the original";
  return "";
}

void RewriteAdapters(pugi::xml_node devices, const RewriteOptions& options, std::vector<Warning>& warnings) {
  int number = 0;
  for (pugi::xml_node interface : devices.children("interface")) {
    ++number;
    const std::string why = WhyUnpluggable(interface, options);
    if (!why.empty()) {
      warnings.push_back({"ADAPTER_DISCONNECTED", fmt::format("network adapter {} ({}) is left disconnected: {}", number,
                                                              Attr(interface.child("mac"), "address"), why)});
      Unplug(interface);
    }
    if (!options.new_uuid.empty()) {
      interface.remove_child("mac");  // libvirt makes one
      interface.remove_child("target");
    }
  }
}

// Files and sockets of consoles and channels that two VMs can't share; libvirt makes its own for the agent's channel.
void RewriteCharacterDevices(pugi::xml_node devices) {
  for (const char* kind : {"serial", "parallel", "console", "channel"}) {
    for (pugi::xml_node device : devices.children(kind)) {
      device.remove_child("log");
      const std::string_view type = Attr(device, "type");
      if (type == "unix" && std::string_view(kind) == "channel") {
        device.remove_child("source");
      } else if (type == "file" || type == "pipe" || type == "dev" || type == "unix" || type == "tcp" || type == "udp") {
        SetAttr(device, "type", "pty");
        while (device.remove_child("source")) {
        }
        device.remove_child("protocol");
      }
    }
  }
}

void RewriteDisplays(pugi::xml_node devices) {
  for (pugi::xml_node graphics : devices.children("graphics")) {
    if (!graphics.attribute("port")) continue;
    SetAttr(graphics, "port", "-1");
    graphics.remove_attribute("tlsPort");
    graphics.remove_attribute("websocket");
    SetAttr(graphics, "autoport", "yes");
  }
}

void SetIdentity(pugi::xml_node domain, const RewriteOptions& options) {
  domain.child("name").text() = options.new_name.c_str();
  domain.child("uuid").text() = options.new_uuid.c_str();
  if (pugi::xml_node genid = domain.child("genid")) genid.remove_children();  // empty: libvirt makes one
  for (pugi::xml_node entry = domain.child("sysinfo").child("system").child("entry"); entry;) {
    const pugi::xml_node next = entry.next_sibling("entry");
    if (Attr(entry, "name") == "uuid") entry.parent().remove_child(entry);  // has to be that of the domain
    entry = next;
  }
  if (pugi::xml_node nvram = domain.child("os").child("nvram")) {  // made from the template at the first start
    nvram.remove_children();
    nvram.remove_attribute("type");
  }
}

}  // namespace

absl::StatusOr<DomainDescription> ParseDomain(std::string_view xml) {
  pugi::xml_document doc;
  RETURN_IF_ERROR(Load(xml, doc));
  const pugi::xml_node domain = doc.child("domain");
  const pugi::xml_node devices = domain.child("devices");
  DomainDescription description;
  description.vm.uuid = domain.child_value("uuid");
  description.vm.name = domain.child_value("name");
  description.vm.memory_bytes = MemoryBytes(domain.child("memory"));
  for (const pugi::xml_node node : devices.children("disk")) {
    Disk disk = ParseDisk(node);
    if (Attr(node, "type") == "volume") {
      const pugi::xml_node source = node.child("source");
      description.pool_volumes.push_back({disk.name, source.attribute("pool").value(), source.attribute("volume").value()});
    }
    description.vm.disks.push_back(std::move(disk));
  }
  int number = 0;
  for (const pugi::xml_node hostdev : devices.children("hostdev")) {
    if (!MayHoldDisks(hostdev)) continue;
    Disk disk;
    disk.name = fmt::format("hostdev{}", number++);
    disk.exclusion = DiskExclusion::kPassThrough;
    disk.exclusion_detail = HostDeviceText(hostdev) + " passed through";
    description.vm.disks.push_back(std::move(disk));
  }
  for (const pugi::xml_node interface : devices.children("interface")) {
    description.vm.adapters.push_back({interface.child("mac").attribute("address").value(), SwitchName(interface)});
  }
  for (const pugi::xml_node channel : devices.children("channel")) {
    if (Attr(channel.child("target"), "name") == kAgentChannel) description.guest_agent_configured = true;
  }
  return description;
}

absl::StatusOr<RewrittenDomain> RewriteDomain(std::string_view xml, const RewriteOptions& options) {
  pugi::xml_document doc;
  RETURN_IF_ERROR(Load(xml, doc));
  const pugi::xml_node domain = doc.child("domain");
  const pugi::xml_node devices = domain.child("devices");
  const bool is_new = !options.new_uuid.empty();
  RewrittenDomain result;
  if (is_new) {
    SetIdentity(domain, options);
    RewriteCharacterDevices(devices);
    RewriteDisplays(devices);
  }
  RETURN_IF_ERROR(RewriteDisks(devices, options, result.warnings));
  RewriteHostDevices(devices, is_new, result.warnings);
  RewriteAdapters(devices, options, result.warnings);
  result.uuid = domain.child_value("uuid");
  result.name = domain.child_value("name");
  result.xml = Print(doc);
  return result;
}

absl::StatusOr<std::string> BackupXml(std::string_view live_xml, const std::vector<BackupDisk>& included,
                                      const std::string& socket) {
  ASSIGN_OR_RETURN(const DomainDescription domain, ParseDomain(live_xml));
  pugi::xml_document doc;
  pugi::xml_node root = doc.append_child("domainbackup");
  root.append_attribute("mode") = "pull";
  pugi::xml_node server = root.append_child("server");
  server.append_attribute("transport") = "unix";
  server.append_attribute("socket") = socket.c_str();
  pugi::xml_node disks = root.append_child("disks");
  size_t found = 0;
  for (const Disk& disk : domain.vm.disks) {
    if (disk.name.starts_with("hostdev")) continue;
    auto wanted = std::find_if(included.begin(), included.end(), [&](const BackupDisk& b) { return b.name == disk.name; });
    pugi::xml_node node = disks.append_child("disk");
    node.append_attribute("name") = disk.name.c_str();
    node.append_attribute("backup") = wanted == included.end() ? "no" : "yes";
    if (wanted == included.end()) continue;
    if (disk.exclusion != DiskExclusion::kNone) {
      return Invalid("disk '{}' can't be read: {}", disk.name, disk.exclusion_detail);
    }
    ++found;
    node.append_attribute("type") = "file";
    node.append_attribute("exportname") = disk.name.c_str();
    if (!wanted->incremental.empty()) {
      node.append_attribute("exportbitmap") = kChangesBitmap;
      node.append_attribute("backupmode") = "incremental";
      node.append_attribute("incremental") = wanted->incremental.c_str();
    }
    node.append_child("scratch").append_attribute("file") = wanted->scratch_file.c_str();
  }
  if (found == 0 || found != included.size()) {
    return Invalid("{} disks are asked for, and '{}' has {} of them", included.size(), domain.vm.name, found);
  }
  return Print(doc);
}

namespace {

absl::Status FillCheckpoint(std::string_view live_xml, const std::string& name,
                            const std::vector<std::string>& included, pugi::xml_node root) {
  ASSIGN_OR_RETURN(const DomainDescription domain, ParseDomain(live_xml));
  root.append_child("name").text().set(name.c_str());
  pugi::xml_node disks = root.append_child("disks");
  size_t found = 0;
  for (const Disk& disk : domain.vm.disks) {
    if (disk.name.starts_with("hostdev")) continue;
    const bool wanted = std::find(included.begin(), included.end(), disk.name) != included.end();
    found += wanted ? 1 : 0;
    pugi::xml_node node = disks.append_child("disk");
    node.append_attribute("name") = disk.name.c_str();
    node.append_attribute("checkpoint") = wanted ? "bitmap" : "no";
  }
  if (found == included.size()) return absl::OkStatus();
  return Invalid("a checkpoint of {} disks is asked for, and '{}' has {} of them", included.size(), domain.vm.name,
                 found);
}

}  // namespace

absl::StatusOr<std::string> NewCheckpointXml(std::string_view live_xml, const std::string& name,
                                          const std::vector<std::string>& included) {
  pugi::xml_document doc;
  RETURN_IF_ERROR(FillCheckpoint(live_xml, name, included, doc.append_child("domaincheckpoint")));
  return Print(doc);
}

absl::StatusOr<std::string> RedefinedCheckpointXml(std::string_view live_xml, const std::string& name,
                                                   const std::vector<std::string>& included) {
  pugi::xml_document doc, live;
  RETURN_IF_ERROR(Load(live_xml, live));
  pugi::xml_node root = doc.append_child("domaincheckpoint");
  RETURN_IF_ERROR(FillCheckpoint(live_xml, name, included, root));
  root.append_child("creationTime").text().set(0);  // libvirt only wants one
  root.append_copy(live.child("domain"));
  return Print(doc);
}

std::vector<std::string> CheckpointDisks(std::string_view checkpoint_xml) {
  std::vector<std::string> disks;
  pugi::xml_document doc;
  if (!doc.load_buffer(checkpoint_xml.data(), checkpoint_xml.size())) return disks;
  for (const pugi::xml_node disk : doc.child("domaincheckpoint").child("disks").children("disk")) {
    if (Attr(disk, "checkpoint") == "bitmap") disks.emplace_back(Attr(disk, "name"));
  }
  return disks;
}

absl::StatusOr<std::string> MemorySnapshotXml(std::string_view live_xml, const std::string& file) {
  ASSIGN_OR_RETURN(const DomainDescription domain, ParseDomain(live_xml));
  pugi::xml_document doc;
  pugi::xml_node root = doc.append_child("domainsnapshot");
  pugi::xml_node memory = root.append_child("memory");
  memory.append_attribute("snapshot") = "external";
  memory.append_attribute("file") = file.c_str();
  pugi::xml_node disks = root.append_child("disks");
  // libvirt would decide by itself about a disk that is not named.
  for (const Disk& disk : domain.vm.disks) {
    if (disk.name.starts_with("hostdev")) continue;
    pugi::xml_node node = disks.append_child("disk");
    node.append_attribute("name") = disk.name.c_str();
    node.append_attribute("snapshot") = "no";
  }
  return Print(doc);
}

absl::StatusOr<RewrittenDomain> RewriteSavedDomain(std::string_view xml, const RewriteOptions& options) {
  pugi::xml_document doc;
  RETURN_IF_ERROR(Load(xml, doc));
  const pugi::xml_node domain = doc.child("domain");
  RewrittenDomain result;
  for (pugi::xml_node disk : domain.child("devices").children("disk")) {
    const std::string_view name = Attr(disk.child("target"), "dev");
    const auto path = std::find_if(options.disk_paths.begin(), options.disk_paths.end(),
                                   [&](const auto& entry) { return entry.first == name; });
    if (path != options.disk_paths.end()) PointDiskAt(disk, path->second, result.warnings);
  }
  RewriteAdapters(domain.child("devices"), options, result.warnings);
  result.uuid = domain.child_value("uuid");
  result.name = domain.child_value("name");
  result.xml = Print(doc);
  return result;
}

std::string BackupSocket(std::string_view backup_xml) {
  pugi::xml_document doc;
  if (!doc.load_buffer(backup_xml.data(), backup_xml.size())) return "";
  return doc.child("domainbackup").child("server").attribute("socket").value();
}

}  // namespace umbra::hypervisor
