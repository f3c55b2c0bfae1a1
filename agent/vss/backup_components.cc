#include "agent/vss/backup_components.h"

#include <algorithm>
#include <limits>

#include "agent/vss/xml.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

constexpr char kNamespace[] = "x-schema:#VssComponentMetadata";
constexpr char kRoot[] = "BACKUP_COMPONENTS";

// "full" was seen; the others are by analogy.
constexpr xml::EnumName<BackupType> kBackupTypes[] = {
    {BackupType::kFull, "full"},
    {BackupType::kIncremental, "incremental"},
    {BackupType::kDifferential, "differential"},
    {BackupType::kLog, "log"},
    {BackupType::kCopy, "copy"},
    {BackupType::kOther, "other"},
};
constexpr xml::EnumName<ComponentType> kComponentTypes[] = {
    {ComponentType::kDatabase, "database"},
    {ComponentType::kFileGroup, "filegroup"},
};
constexpr xml::EnumName<RestoreTarget> kTargets[] = {
    {RestoreTarget::kOriginal, "original"},
    {RestoreTarget::kAlternate, "alternate"},
    {RestoreTarget::kDirected, "directed"},
    {RestoreTarget::kOriginalLocation, "originalLocation"},
};
constexpr xml::EnumName<FileRestoreStatus> kStatuses[] = {
    {FileRestoreStatus::kNone, "none"},
    {FileRestoreStatus::kAll, "all"},
    {FileRestoreStatus::kFailed, "failed"},
};

constexpr xml::EnumName<RollForwardType> kRollForwards[] = {
    {RollForwardType::kNone, "none"},
    {RollForwardType::kAll, "all"},
    {RollForwardType::kPartial, "partial"},
};
constexpr xml::EnumName<RestoreType> kRestoreTypes[] = {
    {RestoreType::kByCopy, "byCopy"},
    {RestoreType::kImport, "import"},
    {RestoreType::kOther, "other"},
};

// FILETIME: 100 ns since 1601.
constexpr int64_t kTicksPerSecond = 10'000'000;
const absl::Time kFileTimeEpoch = absl::FromUnixSeconds(-11'644'473'600);

absl::Time FromFileTime(uint64_t ticks) {
  const auto seconds = static_cast<int64_t>(ticks / kTicksPerSecond);
  const auto rest = static_cast<int64_t>(ticks % kTicksPerSecond);
  return kFileTimeEpoch + absl::Seconds(seconds) + absl::Nanoseconds(100 * rest);
}

uint64_t ToFileTime(absl::Time time) {
  absl::Duration rest;
  return static_cast<uint64_t>(
      std::max<int64_t>(1, absl::IDivDuration(time - kFileTimeEpoch, absl::Nanoseconds(100), &rest)));
}

// --- backup half of a component ---

absl::Status ReadPartialFile(pugi::xml_node node, std::vector<PartialFile>* files) {
  xml::Reader reader(node);
  PartialFile file;
  file.path = reader.Required("path");
  file.filename = reader.Required("filename");
  file.ranges = reader.Text("ranges");
  file.metadata = reader.Base64("metadata");
  files->push_back(std::move(file));
  UnknownXml dropped;  // our own namespace: version 1 has nothing else there
  return reader.Finish(&dropped);
}

absl::Status ReadDifferencedFile(pugi::xml_node node, std::vector<DifferencedFile>* files) {
  xml::Reader reader(node);
  DifferencedFile file;
  file.path = reader.Required("path");
  file.filespec = reader.Required("filespec");
  file.recursive = reader.YesNo("recursive", false);
  const uint64_t since = reader.Number64("lastModifyTime", 0);
  if (since > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    reader.Fail("lastModifyTime", std::to_string(since));
  } else if (since != 0) {
    file.since = FromFileTime(since);
  }
  file.lsn = reader.Text("lsn");
  files->push_back(std::move(file));
  UnknownXml dropped;
  return reader.Finish(&dropped);
}

void PrintChangedFiles(pugi::xml_node node, const BackupComponent& c) {
  for (const PartialFile& file : c.partial_files) {
    pugi::xml_node child = node.append_child("umbra:PARTIAL_FILE");
    xml::Set(child, "path", file.path);
    xml::Set(child, "filename", file.filename);
    xml::Set(child, "ranges", file.ranges);
    xml::SetBase64UnlessEmpty(child, "metadata", file.metadata);
  }
  for (const DifferencedFile& file : c.differenced_files) {
    pugi::xml_node child = node.append_child("umbra:DIFFERENCED_FILE");
    xml::Set(child, "path", file.path);
    xml::Set(child, "filespec", file.filespec);
    xml::SetYesNo(child, "recursive", file.recursive);
    if (file.since.has_value()) xml::SetNumber(child, "lastModifyTime", ToFileTime(*file.since));
    xml::SetUnlessEmpty(child, "lsn", file.lsn);
  }
}

absl::Status ReadBackup(pugi::xml_node node, BackupComponent* c) {
  if (!node) return absl::OkStatus();
  xml::Reader reader(node);
  c->backup_options = reader.Text("options");
  c->previous_backup_stamp = reader.Text("previousStamp");
  if (node.attribute("succeeded")) c->succeeded = reader.YesNo("succeeded", false);
  c->prepare_for_backup_failure = reader.Text("prepareForBackupFailure");
  c->post_snapshot_failure = reader.Text("postSnapshotFailure");
  c->failure.code = static_cast<Code>(reader.Number("failureCode", 0));
  c->failure.application_code = reader.Number("failureApplicationCode", 0);
  c->failure.message = reader.Text("failureMessage");
  reader.Children("umbra:PARTIAL_FILE",
                  [&](pugi::xml_node child) { reader.Merge(ReadPartialFile(child, &c->partial_files)); });
  reader.Children("umbra:DIFFERENCED_FILE",
                  [&](pugi::xml_node child) { reader.Merge(ReadDifferencedFile(child, &c->differenced_files)); });
  return reader.Finish(&c->unknown_backup);
}

pugi::xml_node OwnChild(pugi::xml_node parent, const char* name) {
  pugi::xml_node node = parent.append_child(name);
  xml::DeclareOurs(node);
  return node;
}

bool HasBackupPart(const BackupComponent& c) {
  return !c.backup_options.empty() || !c.previous_backup_stamp.empty() || c.succeeded.has_value() ||
         !c.prepare_for_backup_failure.empty() || !c.post_snapshot_failure.empty() || c.failure != ComponentFailure() ||
         !c.partial_files.empty() || !c.differenced_files.empty() || c.unknown_backup != UnknownXml();
}

void PrintBackup(pugi::xml_node parent, const BackupComponent& c) {
  if (!HasBackupPart(c)) return;
  pugi::xml_node node = OwnChild(parent, "umbra:BACKUP");
  xml::SetUnlessEmpty(node, "options", c.backup_options);
  xml::SetUnlessEmpty(node, "previousStamp", c.previous_backup_stamp);
  if (c.succeeded.has_value()) xml::SetYesNo(node, "succeeded", *c.succeeded);
  xml::SetUnlessEmpty(node, "prepareForBackupFailure", c.prepare_for_backup_failure);
  xml::SetUnlessEmpty(node, "postSnapshotFailure", c.post_snapshot_failure);
  if (c.failure != ComponentFailure()) {
    xml::SetNumber(node, "failureCode", static_cast<uint32_t>(c.failure.code));
    xml::SetNumber(node, "failureApplicationCode", c.failure.application_code);
    xml::SetUnlessEmpty(node, "failureMessage", c.failure.message);
  }
  PrintChangedFiles(node, c);
  xml::AppendUnknown(node, c.unknown_backup);
}

// --- restore half ---

absl::Status ReadNewTarget(pugi::xml_node node, std::vector<NewTarget>* targets) {
  xml::Reader reader(node);
  NewTarget target;
  target.path = reader.Required("path");
  target.filespec = reader.Required("filespec");
  target.recursive = reader.YesNo("recursive", false);
  target.alternate_path = reader.Required("alternatePath");
  targets->push_back(std::move(target));
  UnknownXml dropped;
  return reader.Finish(&dropped);
}

absl::Status ReadDirectedTarget(pugi::xml_node node, std::vector<DirectedTarget>* targets) {
  xml::Reader reader(node);
  DirectedTarget target;
  target.source_path = reader.Required("sourcePath");
  target.source_filename = reader.Required("sourceFilename");
  target.source_ranges = reader.Text("sourceRanges");
  target.destination_path = reader.Required("destinationPath");
  target.destination_filename = reader.Required("destinationFilename");
  target.destination_ranges = reader.Text("destinationRanges");
  targets->push_back(std::move(target));
  UnknownXml dropped;
  return reader.Finish(&dropped);
}

void PrintMapping(pugi::xml_node parent, const char* name, const FileMapping& mapping) {
  pugi::xml_node child = parent.append_child(name);
  xml::Set(child, "path", mapping.path);
  xml::Set(child, "filespec", mapping.filespec);
  xml::SetYesNo(child, "recursive", mapping.recursive);
  xml::Set(child, "alternatePath", mapping.alternate_path);
}

void PrintDirectedTarget(pugi::xml_node parent, const DirectedTarget& target) {
  pugi::xml_node child = parent.append_child("umbra:DIRECTED_TARGET");
  xml::Set(child, "sourcePath", target.source_path);
  xml::Set(child, "sourceFilename", target.source_filename);
  xml::Set(child, "sourceRanges", target.source_ranges);
  xml::Set(child, "destinationPath", target.destination_path);
  xml::Set(child, "destinationFilename", target.destination_filename);
  xml::Set(child, "destinationRanges", target.destination_ranges);
}

absl::Status ReadRestore(pugi::xml_node node, BackupComponent* c) {
  if (!node) return absl::OkStatus();
  xml::Reader reader(node);
  c->selected_for_restore = reader.YesNo("selected", false);
  c->restore_options = reader.Text("options");
  c->additional_restores = reader.YesNo("additionalRestores", false);
  c->restore_name = reader.Text("name");
  c->authoritative = reader.YesNo("authoritative", false);
  c->roll_forward.type = reader.Choice("rollForward", kRollForwards, RollForwardType::kUndefined);
  c->roll_forward.point = reader.Text("rollForwardPoint");
  c->target_instance = reader.Id("targetInstanceId", false);
  c->target_instance_name = reader.Text("targetInstanceName");
  c->restore_metadata = reader.Base64("metadata");
  c->restore_target = reader.Choice("target", kTargets, RestoreTarget::kUndefined);
  c->file_restore_status = reader.Choice("fileStatus", kStatuses, FileRestoreStatus::kUndefined);
  c->pre_restore_failure = reader.Text("preRestoreFailure");
  c->post_restore_failure = reader.Text("postRestoreFailure");
  reader.Children("umbra:NEW_TARGET",
                  [&](pugi::xml_node child) { reader.Merge(ReadNewTarget(child, &c->new_targets)); });
  reader.Children("umbra:USED_MAPPING",
                  [&](pugi::xml_node child) { reader.Merge(ReadNewTarget(child, &c->used_mappings)); });
  reader.Children("umbra:DIRECTED_TARGET",
                  [&](pugi::xml_node child) { reader.Merge(ReadDirectedTarget(child, &c->directed_targets)); });
  reader.Children("umbra:SUBCOMPONENT", [&](pugi::xml_node child) {
    c->restore_subcomponents.emplace_back(child.attribute("name").value());
  });
  return reader.Finish(&c->unknown_restore);
}

void PrintRestore(pugi::xml_node parent, const BackupComponent& c) {
  if (!c.selected_for_restore && c.unknown_restore == UnknownXml()) return;
  pugi::xml_node node = OwnChild(parent, "umbra:RESTORE");
  xml::SetYesNo(node, "selected", c.selected_for_restore);
  xml::SetUnlessEmpty(node, "options", c.restore_options);
  if (c.additional_restores) xml::SetYesNo(node, "additionalRestores", true);
  xml::SetUnlessEmpty(node, "name", c.restore_name);
  if (c.authoritative) xml::SetYesNo(node, "authoritative", true);
  xml::SetUnlessEmpty(node, "rollForward", xml::EnumText(kRollForwards, c.roll_forward.type));
  xml::SetUnlessEmpty(node, "rollForwardPoint", c.roll_forward.point);
  if (!c.target_instance.is_null()) xml::Set(node, "targetInstanceId", c.target_instance.ToString());
  xml::SetUnlessEmpty(node, "targetInstanceName", c.target_instance_name);
  xml::SetBase64UnlessEmpty(node, "metadata", c.restore_metadata);
  xml::SetUnlessEmpty(node, "target", xml::EnumText(kTargets, c.restore_target));
  xml::SetUnlessEmpty(node, "fileStatus", xml::EnumText(kStatuses, c.file_restore_status));
  xml::SetUnlessEmpty(node, "preRestoreFailure", c.pre_restore_failure);
  xml::SetUnlessEmpty(node, "postRestoreFailure", c.post_restore_failure);
  for (const NewTarget& target : c.new_targets) PrintMapping(node, "umbra:NEW_TARGET", target);
  for (const FileMapping& mapping : c.used_mappings) PrintMapping(node, "umbra:USED_MAPPING", mapping);
  for (const DirectedTarget& target : c.directed_targets) PrintDirectedTarget(node, target);
  for (const std::string& name : c.restore_subcomponents) {
    xml::Set(node.append_child("umbra:SUBCOMPONENT"), "name", name);
  }
  xml::AppendUnknown(node, c.unknown_restore);
}

// --- components, writers, the set ---

absl::Status ReadMetadata(pugi::xml_node node, std::string* metadata) {
  if (!node) return absl::OkStatus();
  xml::Reader reader(node);
  *metadata = reader.Base64("metadata");
  UnknownXml dropped;
  return reader.Finish(&dropped);
}

absl::Status ReadComponent(pugi::xml_node node, std::vector<BackupComponent>* components) {
  xml::Reader reader(node);
  BackupComponent c;
  c.logical_path = reader.Text("logicalPath");
  c.name = reader.Required("componentName");
  c.type = reader.Choice("componentType", kComponentTypes, ComponentType::kUndefined);
  c.backup_stamp = reader.Text("backupStamp");
  reader.Merge(ReadMetadata(reader.Child("BACKUP_METADATA"), &c.backup_metadata));
  reader.Merge(ReadBackup(reader.Child("umbra:BACKUP"), &c));
  reader.Merge(ReadRestore(reader.Child("umbra:RESTORE"), &c));
  RETURN_IF_ERROR(reader.Finish(&c.unknown));
  components->push_back(std::move(c));
  return absl::OkStatus();
}

void PrintComponent(pugi::xml_node parent, const BackupComponent& c) {
  pugi::xml_node node = parent.append_child("COMPONENT");
  xml::SetUnlessEmpty(node, "logicalPath", c.logical_path);
  xml::Set(node, "componentName", c.name);
  xml::SetUnlessEmpty(node, "componentType", xml::EnumText(kComponentTypes, c.type));
  xml::SetUnlessEmpty(node, "backupStamp", c.backup_stamp);
  if (!c.backup_metadata.empty()) {
    pugi::xml_node metadata = node.append_child("BACKUP_METADATA");
    xml::Set(metadata, "xmlns", "");
    xml::SetBase64UnlessEmpty(metadata, "metadata", c.backup_metadata);
  }
  PrintBackup(node, c);
  PrintRestore(node, c);
  xml::AppendUnknown(node, c.unknown);
}

absl::Status ReadWriter(pugi::xml_node node, std::vector<WriterComponents>* writers) {
  xml::Reader reader(node);
  WriterComponents w;
  w.instance_id = reader.Id("instanceId", true);
  w.writer_id = reader.Id("writerId", true);
  w.instance_name = reader.Text("instanceName");
  w.backup_schema = reader.Number("backupSchema", 0);
  reader.Children("COMPONENT", [&](pugi::xml_node child) { reader.Merge(ReadComponent(child, &w.components)); });
  RETURN_IF_ERROR(reader.Finish(&w.unknown));
  writers->push_back(std::move(w));
  return absl::OkStatus();
}

void PrintWriter(pugi::xml_node root, const WriterComponents& w) {
  pugi::xml_node node = root.append_child("WRITER_COMPONENTS");
  xml::Set(node, "instanceId", w.instance_id.ToString());
  xml::Set(node, "writerId", w.writer_id.ToString());
  xml::SetUnlessEmpty(node, "instanceName", w.instance_name);
  xml::SetNumber(node, "backupSchema", w.backup_schema);
  for (const BackupComponent& c : w.components) PrintComponent(node, c);
  xml::AppendUnknown(node, w.unknown);
}

absl::Status ReadSnapshots(pugi::xml_node node, BackupComponents* b) {
  if (!node) return absl::OkStatus();
  xml::Reader reader(node);
  b->context = reader.Number("context", kContextBackup);
  b->restore_type = reader.Choice("restoreType", kRestoreTypes, RestoreType::kUndefined);
  reader.Children("umbra:SNAPSHOT", [&](pugi::xml_node child) {
    xml::Reader snapshot(child);
    SnapshotDescription description;
    description.snapshot_id = snapshot.Id("snapshotId", true);
    description.provider_id = snapshot.Id("providerId", true);
    description.volume = snapshot.Required("volume");
    UnknownXml dropped;
    reader.Merge(snapshot.Finish(&dropped));
    b->snapshots.push_back(std::move(description));
  });
  UnknownXml dropped;
  return reader.Finish(&dropped);
}

void PrintSnapshots(pugi::xml_node root, const BackupComponents& b) {
  if (b.snapshots.empty() && b.context == kContextBackup && b.restore_type == RestoreType::kUndefined) return;
  pugi::xml_node node = OwnChild(root, "umbra:SNAPSHOT_SET");
  xml::SetNumber(node, "context", b.context);
  xml::SetUnlessEmpty(node, "restoreType", xml::EnumText(kRestoreTypes, b.restore_type));
  for (const SnapshotDescription& description : b.snapshots) {
    pugi::xml_node child = node.append_child("umbra:SNAPSHOT");
    xml::Set(child, "snapshotId", description.snapshot_id.ToString());
    xml::Set(child, "providerId", description.provider_id.ToString());
    xml::Set(child, "volume", description.volume);
  }
}

}  // namespace

WriterComponents* BackupComponents::FindWriter(const Guid& writer_id) {
  const auto found =
      std::find_if(writers.begin(), writers.end(), [&](const auto& w) { return w.writer_id == writer_id; });
  return found == writers.end() ? nullptr : &*found;
}

BackupComponent* BackupComponents::Find(const ComponentId& id) {
  // Several instances of one class may have entries.
  for (WriterComponents& w : writers) {
    if (w.writer_id != id.writer_id) continue;
    for (BackupComponent& c : w.components) {
      if (c.logical_path == id.logical_path && c.name == id.name) return &c;
    }
  }
  return nullptr;
}

absl::StatusOr<BackupComponents> ParseBackupComponents(std::string_view text) {
  pugi::xml_document document;
  RETURN_IF_ERROR(xml::Parse(text, kRoot, kNamespace, &document));
  xml::Reader reader(document.document_element());
  BackupComponents b;
  b.version = reader.Text("version");
  b.state.bootable_system_state = reader.YesNo("bootableSystemStateBackup", false);
  b.state.select_components = reader.YesNo("selectComponents", false);
  b.state.type = reader.Choice("backupType", kBackupTypes, BackupType::kUndefined);
  b.state.partial_file_support = reader.YesNo("partialFileSupport", false);
  b.snapshot_set_id = reader.Id("snapshotSetId", false);
  reader.Children("WRITER_COMPONENTS", [&](pugi::xml_node child) { reader.Merge(ReadWriter(child, &b.writers)); });
  reader.Merge(ReadSnapshots(reader.Child("umbra:SNAPSHOT_SET"), &b));
  RETURN_IF_ERROR(reader.Finish(&b.unknown));
  return b;
}

std::string PrintBackupComponents(const BackupComponents& b) {
  pugi::xml_document document;
  pugi::xml_node root = document.append_child(kRoot);
  xml::Set(root, "xmlns", kNamespace);
  xml::Set(root, "version", b.version);
  xml::SetYesNo(root, "bootableSystemStateBackup", b.state.bootable_system_state);
  xml::SetYesNo(root, "selectComponents", b.state.select_components);
  xml::SetUnlessEmpty(root, "backupType", xml::EnumText(kBackupTypes, b.state.type));
  xml::SetYesNo(root, "partialFileSupport", b.state.partial_file_support);
  if (!b.snapshot_set_id.is_null()) xml::Set(root, "snapshotSetId", b.snapshot_set_id.ToString());
  for (const WriterComponents& w : b.writers) PrintWriter(root, w);
  PrintSnapshots(root, b);
  xml::AppendUnknown(root, b.unknown);
  return xml::Print(document);
}

}  // namespace umbra::vss
