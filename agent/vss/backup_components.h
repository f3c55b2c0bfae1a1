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
#include "absl/time/time.h"
#include "agent/vss/errors.h"
#include "agent/vss/types.h"
#include "agent/vss/writer_metadata.h"

namespace umbra::vss {

// Where a file set is restored to (AddNewTarget).
using NewTarget = FileMapping;

// A file of which only some ranges are backed up, and written over the existing file at restore (AddPartialFile).
struct PartialFile {
  std::string path;      // folder
  std::string filename;  // no wildcard
  std::string ranges;    // text or "File=..." (partial_files.h)
  std::string metadata;  // the writer's

  friend bool operator==(const PartialFile&, const PartialFile&) = default;
};

// A file set of which only what changed since then is backed up (AddDifferencedFilesByLastModifyTime, ...Lsn).
struct DifferencedFile {
  std::string path;
  std::string filespec;
  bool recursive = false;
  std::optional<absl::Time> since;  // whole 100 ns; none: the requester decides, by its own last backup
  std::string lsn;                  // of the writer's log, opaque; instead of `since`

  friend bool operator==(const DifferencedFile&, const DifferencedFile&) = default;
};

// Ranges of a backed-up file that go to ranges of another one (AddDirectedTarget).
struct DirectedTarget {
  std::string source_path;
  std::string source_filename;
  std::string source_ranges;
  std::string destination_path;
  std::string destination_filename;
  std::string destination_ranges;

  friend bool operator==(const DirectedTarget&, const DirectedTarget&) = default;
};

// How far a log is applied after the files are restored (SetRollForward).
struct RollForward {
  RollForwardType type = RollForwardType::kUndefined;
  std::string point;  // with kPartial: where to stop, in the writer's words

  friend bool operator==(const RollForward&, const RollForward&) = default;
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
  std::string backup_options;                      // requester, before PrepareForBackup
  std::string backup_metadata;                     // writer, PrepareForBackup to PostSnapshot; any bytes
  std::string backup_stamp;                        // writer, PrepareForBackup or PostSnapshot
  std::string previous_backup_stamp;               // requester, before PrepareForBackup
  std::optional<bool> succeeded;                   // requester, before BackupComplete
  std::vector<PartialFile> partial_files;          // writer, PrepareForBackup to PostSnapshot
  std::vector<DifferencedFile> differenced_files;  // writer, PrepareForBackup to PostSnapshot
  std::string prepare_for_backup_failure;
  std::string post_snapshot_failure;
  ComponentFailure failure;

  // Restore.
  bool selected_for_restore = false;               // requester, before PreRestore
  std::vector<std::string> restore_subcomponents;  // requester; full logical names
  std::string restore_options;                     // requester, before PreRestore
  bool additional_restores = false;                // requester: more increments follow
  std::vector<NewTarget> new_targets;              // requester, before PreRestore
  std::string restore_name;                        // requester: restored as another one
  bool authoritative = false;                      // requester: wins over replicas
  RollForward roll_forward;                        // requester, before PreRestore
  Guid target_instance;                            // requester: restored into this instance; null: where it was
  std::string target_instance_name;                // requester: the same, by name
  std::string restore_metadata;                    // writer, in PreRestore; any bytes
  RestoreTarget restore_target = RestoreTarget::kUndefined;               // writer, in PreRestore
  std::vector<DirectedTarget> directed_targets;                           // writer, in PreRestore
  FileRestoreStatus file_restore_status = FileRestoreStatus::kUndefined;  // requester, PreRestore to PostRestore
  std::vector<FileMapping> used_mappings;  // requester, PreRestore to PostRestore: alternate locations that it used
  std::string pre_restore_failure;
  std::string post_restore_failure;

  UnknownXml unknown;
  UnknownXml unknown_backup;   // of umbra:BACKUP, by a later version of ours
  UnknownXml unknown_restore;  // of umbra:RESTORE

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
  RestoreType restore_type = RestoreType::kUndefined;  // of a restore that runs
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
