#include "agent/vss/writer_metadata.h"

#include <algorithm>

#include "agent/vss/errors.h"
#include "agent/vss/xml.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

constexpr char kNamespace[] = "x-schema:#VssWriterMetadataInfo";
constexpr char kRoot[] = "WRITER_METADATA";

constexpr xml::EnumName<UsageType> kUsages[] = {
    {UsageType::kBootableSystemState, "BOOTABLE_SYSTEM_STATE"},
    {UsageType::kSystemService, "SYSTEM_SERVICE"},
    {UsageType::kUserData, "USER_DATA"},
    {UsageType::kOther, "OTHER"},
};
// TRANSACTION_DB and OTHER were seen in real documents; the second name is by analogy.
constexpr xml::EnumName<SourceType> kSources[] = {
    {SourceType::kTransactedDb, "TRANSACTION_DB"},
    {SourceType::kNonTransactedDb, "NONTRANSACTIONAL_DB"},
    {SourceType::kOther, "OTHER"},
};
// RESTORE_IF_CAN_BE_REPLACED and the two REPLACE_AT_REBOOT were seen; the others are by analogy.
constexpr xml::EnumName<RestoreMethod> kMethods[] = {
    {RestoreMethod::kRestoreIfNotThere, "RESTORE_IF_NONE_THERE"},
    {RestoreMethod::kRestoreIfCanReplace, "RESTORE_IF_CAN_BE_REPLACED"},
    {RestoreMethod::kStopRestoreStart, "STOP_RESTART_SERVICE"},
    {RestoreMethod::kRestoreToAlternateLocation, "RESTORE_TO_ALTERNATE_LOCATION"},
    {RestoreMethod::kRestoreAtReboot, "REPLACE_AT_REBOOT"},
    {RestoreMethod::kRestoreAtRebootIfCannotReplace, "REPLACE_AT_REBOOT_IF_CANNOT_REPLACE"},
    {RestoreMethod::kCustom, "CUSTOM"},
    {RestoreMethod::kRestoreStopStart, "RESTORE_STOP_START"},
};
constexpr xml::EnumName<WriterRestore> kWriterRestores[] = {
    {WriterRestore::kNever, "never"},
    {WriterRestore::kIfReplaceFails, "ifReplaceFails"},
    {WriterRestore::kAlways, "always"},
};

absl::Status ReadMapping(pugi::xml_node node, std::vector<FileMapping>* mappings) {
  xml::Reader reader(node);
  FileMapping mapping;
  mapping.path = reader.Required("path");
  mapping.filespec = reader.Required("filespec");
  mapping.recursive = reader.YesNo("recursive", false);
  mapping.alternate_path = reader.Required("alternatePath");
  mappings->push_back(std::move(mapping));
  UnknownXml dropped;  // our own namespace: version 1 has nothing else there
  return reader.Finish(&dropped);
}

absl::Status ReadDependency(pugi::xml_node node, std::vector<Dependency>* dependencies) {
  xml::Reader reader(node);
  Dependency dependency;
  dependency.writer_id = reader.Id("writerId", true);
  dependency.logical_path = reader.Text("logicalPath");
  dependency.name = reader.Required("componentName");
  dependencies->push_back(std::move(dependency));
  UnknownXml dropped;
  return reader.Finish(&dropped);
}

absl::Status ReadFileSet(pugi::xml_node node, std::vector<FileSet>* sets) {
  xml::Reader reader(node);
  FileSet set;
  set.path = reader.Required("path");
  set.filespec = reader.Required("filespec");
  set.recursive = reader.YesNo("recursive", false);
  set.backup_type_mask = reader.Number("filespecBackupType", kFileSpecDefault);
  set.alternate_path = reader.Text("umbra:alternatePath");
  RETURN_IF_ERROR(reader.Finish(&set.unknown));
  sets->push_back(std::move(set));
  return absl::OkStatus();
}

void PrintFileSet(pugi::xml_node parent, const char* name, const FileSet& set, bool with_mask) {
  pugi::xml_node node = parent.append_child(name);
  xml::Set(node, "path", set.path);
  xml::Set(node, "filespec", set.filespec);
  if (set.recursive || !with_mask) xml::SetYesNo(node, "recursive", set.recursive);
  if (with_mask) xml::SetNumber(node, "filespecBackupType", set.backup_type_mask);
  if (!set.alternate_path.empty()) {
    xml::DeclareOurs(node);
    xml::Set(node, "umbra:alternatePath", set.alternate_path);
  }
  xml::AppendUnknown(node, set.unknown);
}

absl::Status ReadComponent(pugi::xml_node node, ComponentType type, std::vector<Component>* components) {
  xml::Reader reader(node);
  Component c;
  c.type = type;
  c.logical_path = reader.Text("logicalPath");
  c.name = reader.Required("componentName");
  c.caption = reader.Text("caption");
  c.restore_metadata = reader.YesNo("restoreMetadata", false);
  c.notify_on_backup_complete = reader.YesNo("notifyOnBackupComplete", false);
  c.selectable = reader.YesNo("selectable", false);
  c.selectable_for_restore = reader.YesNo("selectableForRestore", false);
  c.flags = reader.Number("componentFlags", 0);
  const auto files = [&](const char* name, std::vector<FileSet>* sets) {
    reader.Children(name, [&](pugi::xml_node child) { reader.Merge(ReadFileSet(child, sets)); });
  };
  if (type == ComponentType::kDatabase) {
    files("DATABASE_FILES", &c.files);
    files("DATABASE_LOGFILES", &c.log_files);
  } else {
    files("FILE_LIST", &c.files);
  }
  reader.Children("umbra:DEPENDENCY",
                  [&](pugi::xml_node child) { reader.Merge(ReadDependency(child, &c.dependencies)); });
  RETURN_IF_ERROR(reader.Finish(&c.unknown));
  components->push_back(std::move(c));
  return absl::OkStatus();
}

void PrintComponent(pugi::xml_node parent, const Component& c) {
  const bool database = c.type == ComponentType::kDatabase;
  pugi::xml_node node = parent.append_child(database ? "DATABASE" : "FILE_GROUP");
  xml::SetUnlessEmpty(node, "logicalPath", c.logical_path);
  xml::Set(node, "componentName", c.name);
  xml::SetUnlessEmpty(node, "caption", c.caption);
  xml::SetYesNo(node, "restoreMetadata", c.restore_metadata);
  xml::SetYesNo(node, "notifyOnBackupComplete", c.notify_on_backup_complete);
  xml::SetYesNo(node, "selectable", c.selectable);
  xml::SetYesNo(node, "selectableForRestore", c.selectable_for_restore);
  xml::SetNumber(node, "componentFlags", c.flags);
  for (const FileSet& set : c.files) PrintFileSet(node, database ? "DATABASE_FILES" : "FILE_LIST", set, true);
  for (const FileSet& set : c.log_files) PrintFileSet(node, "DATABASE_LOGFILES", set, true);
  for (const Dependency& dependency : c.dependencies) {
    pugi::xml_node child = node.append_child("umbra:DEPENDENCY");
    xml::DeclareOurs(child);
    xml::Set(child, "writerId", dependency.writer_id.ToString());
    xml::SetUnlessEmpty(child, "logicalPath", dependency.logical_path);
    xml::Set(child, "componentName", dependency.name);
  }
  xml::AppendUnknown(node, c.unknown);
}

absl::Status ReadIdentification(pugi::xml_node node, WriterMetadata* m) {
  xml::Reader reader(node);
  m->writer_id = reader.Id("writerId", true);
  m->instance_id = reader.Id("instanceId", true);
  m->writer_name = reader.Text("friendlyName");
  m->instance_name = reader.Text("instanceName");
  m->usage = reader.Choice("usage", kUsages, UsageType::kUndefined);
  m->source = reader.Choice("dataSource", kSources, SourceType::kUndefined);
  m->major_version = reader.Number("majorVersion", 0);
  m->minor_version = reader.Number("minorVersion", 0);
  return reader.Finish(&m->unknown_identification);
}

void PrintIdentification(pugi::xml_node root, const WriterMetadata& m) {
  pugi::xml_node node = root.append_child("IDENTIFICATION");
  xml::Set(node, "writerId", m.writer_id.ToString());
  xml::Set(node, "instanceId", m.instance_id.ToString());
  xml::Set(node, "friendlyName", m.writer_name);
  xml::SetUnlessEmpty(node, "instanceName", m.instance_name);
  xml::SetUnlessEmpty(node, "usage", xml::EnumText(kUsages, m.usage));
  xml::SetUnlessEmpty(node, "dataSource", xml::EnumText(kSources, m.source));
  xml::SetNumber(node, "majorVersion", m.major_version);
  xml::SetNumber(node, "minorVersion", m.minor_version);
  xml::AppendUnknown(node, m.unknown_identification);
}

absl::Status ReadRestoreMethod(pugi::xml_node node, RestoreMethodInfo* info) {
  xml::Reader reader(node);
  reader.Required("method");
  info->method = reader.Choice("method", kMethods, RestoreMethod::kUndefined);
  info->writer_restore = reader.Choice("writerRestore", kWriterRestores, WriterRestore::kNever);
  info->reboot_required = reader.YesNo("rebootRequired", false);
  info->service = reader.Text("service");
  reader.Children("umbra:ALTERNATE_LOCATION",
                  [&](pugi::xml_node child) { reader.Merge(ReadMapping(child, &info->alternate_mappings)); });
  return reader.Finish(&info->unknown);
}

void PrintRestoreMethod(pugi::xml_node root, const RestoreMethodInfo& info) {
  if (info.method == RestoreMethod::kUndefined) return;
  pugi::xml_node node = root.append_child("RESTORE_METHOD");
  xml::Set(node, "method", xml::EnumText(kMethods, info.method));
  xml::Set(node, "writerRestore", xml::EnumText(kWriterRestores, info.writer_restore));
  xml::SetYesNo(node, "rebootRequired", info.reboot_required);
  xml::SetUnlessEmpty(node, "service", info.service);
  for (const FileMapping& mapping : info.alternate_mappings) {
    pugi::xml_node child = node.append_child("umbra:ALTERNATE_LOCATION");
    xml::DeclareOurs(child);
    xml::Set(child, "path", mapping.path);
    xml::Set(child, "filespec", mapping.filespec);
    xml::SetYesNo(child, "recursive", mapping.recursive);
    xml::Set(child, "alternatePath", mapping.alternate_path);
  }
  xml::AppendUnknown(node, info.unknown);
}

absl::Status ReadLocations(pugi::xml_node node, WriterMetadata* m) {
  xml::Reader reader(node);
  const auto component = [&](const char* name, ComponentType type) {
    reader.Children(name, [&](pugi::xml_node child) { reader.Merge(ReadComponent(child, type, &m->components)); });
  };
  component("DATABASE", ComponentType::kDatabase);
  component("FILE_GROUP", ComponentType::kFileGroup);
  reader.Children("EXCLUDE_FILES", [&](pugi::xml_node child) { reader.Merge(ReadFileSet(child, &m->exclude_files)); });
  reader.Children("EXCLUDE_FILES_FROM_SNAPSHOT",
                  [&](pugi::xml_node child) { reader.Merge(ReadFileSet(child, &m->exclude_files_from_snapshot)); });
  return reader.Finish(&m->unknown_locations);
}

}  // namespace

const Component* WriterMetadata::Find(std::string_view logical_path, std::string_view name) const {
  const auto found = std::find_if(components.begin(), components.end(),
                                  [&](const Component& c) { return c.logical_path == logical_path && c.name == name; });
  return found == components.end() ? nullptr : &*found;
}

absl::StatusOr<WriterMetadata> ParseWriterMetadata(std::string_view text) {
  pugi::xml_document document;
  RETURN_IF_ERROR(xml::Parse(text, kRoot, kNamespace, &document));
  xml::Reader reader(document.document_element());
  WriterMetadata m;
  m.version = reader.Text("version");
  m.backup_schema = reader.Number("backupSchema", 0);
  const pugi::xml_node identification = reader.Child("IDENTIFICATION");
  if (!identification) return Error(Code::kInvalidXmlDocument, "the document has no IDENTIFICATION");
  reader.Merge(ReadIdentification(identification, &m));
  if (const auto method = reader.Child("RESTORE_METHOD")) reader.Merge(ReadRestoreMethod(method, &m.restore_method));
  if (const auto locations = reader.Child("BACKUP_LOCATIONS")) reader.Merge(ReadLocations(locations, &m));
  RETURN_IF_ERROR(reader.Finish(&m.unknown));
  return m;
}

std::string PrintWriterMetadata(const WriterMetadata& m) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child(kRoot);
  xml::Set(root, "xmlns", kNamespace);
  xml::Set(root, "version", m.version);
  if (m.backup_schema != 0) xml::SetNumber(root, "backupSchema", m.backup_schema);
  PrintIdentification(root, m);
  PrintRestoreMethod(root, m.restore_method);
  pugi::xml_node locations = root.append_child("BACKUP_LOCATIONS");
  for (const Component& c : m.components) PrintComponent(locations, c);
  for (const FileSet& set : m.exclude_files) PrintFileSet(locations, "EXCLUDE_FILES", set, false);
  for (const FileSet& set : m.exclude_files_from_snapshot) {
    PrintFileSet(locations, "EXCLUDE_FILES_FROM_SNAPSHOT", set, false);
  }
  xml::AppendUnknown(locations, m.unknown_locations);
  xml::AppendUnknown(root, m.unknown);
  return xml::Print(document);
}

}  // namespace umbra::vss
