#include "agent/hypervisor/libvirt/checkpoint_xml.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <pugixml.hpp>
#include <set>
#include <sstream>

#include "storage/base/invalid.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using base::Invalid;

constexpr char kNamespace[] = "urn:umbra:checkpoints:1";
constexpr char kElement[] = "umbra:checkpoints";
constexpr char kSnapshot[] = "domainsnapshot";

std::string_view Attr(pugi::xml_node node, const char* name) {
  return node.attribute(name).value();
}

absl::Status Load(std::string_view xml, const char* root, pugi::xml_document& doc) {
  const pugi::xml_parse_result result =
      doc.load_buffer(xml.data(), xml.size(), pugi::parse_default | pugi::parse_comments);
  if (!result) return Invalid("XML of libvirt: {} at byte {}", result.description(), result.offset);
  if (!doc.child(root)) return Invalid("XML of libvirt: there is no <{}>", root);
  return absl::OkStatus();
}

std::string Print(pugi::xml_node node) {
  std::ostringstream out;
  node.print(out, "  ", pugi::format_default | pugi::format_no_declaration);
  return out.str();
}

// Whether one of its disks, or its memory, is kept in this way.
bool Keeps(pugi::xml_node snapshot, std::string_view way) {
  if (Attr(snapshot.child("memory"), "snapshot") == way) return true;
  const auto disks = snapshot.child("disks").children("disk");
  return std::any_of(disks.begin(), disks.end(), [&](pugi::xml_node disk) { return Attr(disk, "snapshot") == way; });
}

bool HasMemory(pugi::xml_node snapshot) {
  const pugi::xml_attribute memory = snapshot.child("memory").attribute("snapshot");
  if (memory) return std::string_view(memory.value()) != "no";
  const std::string_view state = snapshot.child_value("state");
  return state == "running" || state == "paused";
}

// The file that held the disk before the checkpoint, and holds its content since.
std::string FileBefore(pugi::xml_node snapshot, std::string_view disk) {
  for (const pugi::xml_node node : snapshot.child("domain").child("devices").children("disk")) {
    if (Attr(node.child("target"), "dev") != disk) continue;
    const pugi::xml_node source = node.child("source");
    return source.attribute("file") ? source.attribute("file").value() : source.attribute("dev").value();
  }
  return "";
}

// Every file that its content lies in; nothing when it can't be told, or lies in the disks' own images.
std::optional<std::vector<std::string>> FilesOf(pugi::xml_node snapshot) {
  if (!Keeps(snapshot, "external") || Keeps(snapshot, "internal")) return std::nullopt;
  std::vector<std::string> files;
  for (const pugi::xml_node disk : snapshot.child("disks").children("disk")) {
    if (Attr(disk, "snapshot") == "external") files.push_back(FileBefore(snapshot, Attr(disk, "name")));
  }
  const pugi::xml_node memory = snapshot.child("memory");
  if (Attr(memory, "snapshot") == "external") files.emplace_back(memory.attribute("file").value());
  if (std::find(files.begin(), files.end(), "") != files.end()) return std::nullopt;
  return files;
}

void SetParent(pugi::xml_node snapshot, const std::string& name) {
  snapshot.remove_child("parent");
  if (name.empty()) return;
  snapshot.append_child("parent").append_child("name").text() = name.c_str();
}

}  // namespace

absl::StatusOr<OwnCheckpoint> ParseCheckpoint(const CheckpointXml& checkpoint) {
  pugi::xml_document doc;
  RETURN_IF_ERROR(Load(checkpoint.xml, kSnapshot, doc));
  const pugi::xml_node snapshot = doc.child(kSnapshot);
  OwnCheckpoint own;
  own.name = snapshot.child_value("name");
  if (own.name.empty()) return Invalid("a <domainsnapshot> without a name");
  own.parent = snapshot.child("parent").child_value("name");
  // One that is partly inside the images is lost with them.
  const bool external = Keeps(snapshot, "external") && !Keeps(snapshot, "internal");
  own.kind = external ? CheckpointKind::kExternal : CheckpointKind::kInternal;
  own.has_memory = HasMemory(snapshot);
  own.create_time = absl::FromUnixSeconds(snapshot.child("creationTime").text().as_llong());
  own.current = checkpoint.current;
  return own;
}

bool IsDiskOnly(std::string_view checkpoint_xml) {
  pugi::xml_document doc;
  if (!Load(checkpoint_xml, kSnapshot, doc).ok()) return false;
  return std::string_view(doc.child(kSnapshot).child_value("state")) == "disk-snapshot";
}

absl::StatusOr<std::string> EmbedCheckpoints(std::string_view domain_xml,
                                             const std::vector<CheckpointXml>& checkpoints) {
  if (checkpoints.empty()) return std::string(domain_xml);
  pugi::xml_document doc;
  RETURN_IF_ERROR(Load(domain_xml, "domain", doc));
  pugi::xml_node domain = doc.child("domain");
  pugi::xml_node metadata = domain.child("metadata");
  if (!metadata) metadata = domain.append_child("metadata");
  pugi::xml_node list = metadata.append_child(kElement);
  list.append_attribute("xmlns:umbra") = kNamespace;
  size_t size = 0;
  for (const CheckpointXml& checkpoint : checkpoints) {
    size += checkpoint.xml.size();
    if (size > kCheckpointsBytesMax) break;
    pugi::xml_document snapshot;
    RETURN_IF_ERROR(Load(checkpoint.xml, kSnapshot, snapshot));
    pugi::xml_node entry = list.append_child("umbra:checkpoint");
    if (checkpoint.current) entry.append_attribute("current") = "yes";
    entry.append_copy(snapshot.child(kSnapshot));
  }
  return Print(doc);
}

absl::StatusOr<ConfigurationParts> TakeCheckpoints(std::string_view configuration) {
  pugi::xml_document doc;
  RETURN_IF_ERROR(Load(configuration, "domain", doc));
  pugi::xml_node metadata = doc.child("domain").child("metadata");
  const pugi::xml_node list = metadata.child(kElement);
  ConfigurationParts parts;
  if (!list) {
    parts.domain_xml = std::string(configuration);
    return parts;
  }
  for (const pugi::xml_node entry : list.children("umbra:checkpoint")) {
    parts.checkpoints.push_back({Print(entry.child(kSnapshot)), Attr(entry, "current") == "yes"});
  }
  metadata.remove_child(list);
  if (!metadata.first_child()) doc.child("domain").remove_child(metadata);
  parts.domain_xml = Print(doc);
  return parts;
}

std::vector<CheckpointXml> KeptCheckpoints(const std::vector<CheckpointXml>& checkpoints,
                                           const std::vector<std::string>& replaced_files,
                                           const std::function<bool(const std::string& path)>& exists) {
  const std::set<std::string> replaced(replaced_files.begin(), replaced_files.end());
  std::map<std::string, std::string> stands_for;  // name -> itself, or its nearest kept ancestor
  std::vector<CheckpointXml> kept;
  for (const CheckpointXml& checkpoint : checkpoints) {
    pugi::xml_document doc;
    if (!Load(checkpoint.xml, kSnapshot, doc).ok()) continue;
    pugi::xml_node snapshot = doc.child(kSnapshot);
    const std::string name = snapshot.child_value("name");
    const std::string parent = stands_for[snapshot.child("parent").child_value("name")];
    const auto files = FilesOf(snapshot);
    const bool there = files.has_value() && std::all_of(files->begin(), files->end(), [&](const std::string& path) {
                         return !replaced.contains(path) && exists(path);
                       });
    stands_for[name] = there ? name : parent;
    if (there) SetParent(snapshot, parent);
    if (there) kept.push_back({Print(snapshot), checkpoint.current});
    if (there || !checkpoint.current) continue;
    // The disks went on from one that is gone: they go on from its nearest ancestor.
    for (CheckpointXml& candidate : kept) candidate.current = ParseCheckpoint(candidate)->name == parent;
  }
  return kept;
}

}  // namespace umbra::hypervisor
