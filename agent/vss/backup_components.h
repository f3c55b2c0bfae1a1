// The Backup Components Document (BCD): what one backup holds, kept by the requester, read and edited by writers.
//
// Items whose form in Microsoft's documents isn't known are kept in our own namespace, urn:umbra:vss:1
// (docs/formats/vss_documents.md).
#ifndef UMBRA_AGENT_VSS_BACKUP_COMPONENTS_H_
#define UMBRA_AGENT_VSS_BACKUP_COMPONENTS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/vss/errors.h"
#include "agent/vss/types.h"
#include "agent/vss/writer_metadata.h"

namespace umbra::vss {

// Where a file set was restored to (AddNewTarget).
struct NewTarget {
  std::string path;      // of the file set
  std::string filespec;  // of the file set
  bool recursive = false;
  std::string alternate_path;  // new folder

  friend bool operator==(const NewTarget&, const NewTarget&) = default;
};

// Why a component failed, by its writer (IVssComponentEx2::SetFailure).
struct ComponentFailure {
  Code code = Code::kOk;
  uint32_t application_code = 0;
  std::string message;

  friend bool operator==(const ComponentFailure&, const ComponentFailure&) = default;
};

// A component that takes part explicitly.
struct BackupComponent {
  ComponentType type = ComponentType::kFileGroup;
  std::string logical_path;
  std::string name;

  // Backup.
  std::string backup_options;         // requester, before PrepareForBackup
  std::string backup_metadata;        // writer, PrepareForBackup to PostSnapshot; any bytes
  std::string backup_stamp;           // writer, PrepareForBackup or PostSnapshot
  std::string previous_backup_stamp;  // requester, before PrepareForBackup
  std::optional<bool> succeeded;      // requester, before BackupComplete
  std::string prepare_for_backup_failure;
  std::string post_snapshot_failure;
  ComponentFailure failure;

  // Restore.
  bool selected_for_restore = false;                                      // requester, before PreRestore
  std::vector<std::string> restore_subcomponents;                         // requester; full logical names
  std::string restore_options;                                            // requester, before PreRestore
  bool additional_restores = false;                                       // requester: more increments follow
  std::vector<NewTarget> new_targets;                                     // requester, before PreRestore
  std::string restore_metadata;                                           // writer, in PreRestore; any bytes
  RestoreTarget restore_target = RestoreTarget::kUndefined;               // writer, in PreRestore
  FileRestoreStatus file_restore_status = FileRestoreStatus::kUndefined;  // requester, PreRestore to PostRestore
  std::string pre_restore_failure;
  std::string post_restore_failure;

  UnknownXml unknown;

  friend bool operator==(const BackupComponent&, const BackupComponent&) = default;
};

// The components of one writer instance.
struct WriterComponents {
  Guid writer_id;
  Guid instance_id;
  std::string instance_name;
  uint32_t backup_schema = 0;
  std::vector<BackupComponent> components;
  UnknownXml unknown;

  friend bool operator==(const WriterComponents&, const WriterComponents&) = default;
};

// A snapshot of a volume, as the document remembers it.
struct SnapshotDescription {
  Guid snapshot_id;
  Guid provider_id;
  std::string volume;

  friend bool operator==(const SnapshotDescription&, const SnapshotDescription&) = default;
};

struct BackupComponents {
  std::string version = "1.2";
  BackupState state;
  Guid snapshot_set_id;
  uint32_t context = kContextBackup;
  std::vector<SnapshotDescription> snapshots;
  std::vector<WriterComponents> writers;
  UnknownXml unknown;

  WriterComponents* FindWriter(const Guid& writer_id);
  BackupComponent* Find(const ComponentId& id);
};

// Errors: as ParseWriterMetadata.
absl::StatusOr<BackupComponents> ParseBackupComponents(std::string_view xml);

// UTF-8, indented, ends with a newline. The same components always give the same bytes.
std::string PrintBackupComponents(const BackupComponents& components);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_BACKUP_COMPONENTS_H_
