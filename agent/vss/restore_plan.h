// Where the files of a component go in a restore, by the writer's restore method, its restore target and the
// requester's new targets.
//
// In this order: a new target of the requester; the restore target that the writer set in PreRestore; the restore
// method of the saved metadata. Call it after PreRestore of all writers, when the targets are known. Source: Microsoft,
// "Setting VSS Restore Methods", "Setting VSS Restore Targets", "Working with New Targets During Restore", "Working
// with Alternate Locations During Restore", "Working with Directed Targets".
#ifndef UMBRA_AGENT_VSS_RESTORE_PLAN_H_
#define UMBRA_AGENT_VSS_RESTORE_PLAN_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/vss/backup_components.h"
#include "agent/vss/partial_files.h"
#include "agent/vss/writer_metadata.h"

namespace umbra::vss {

// What the host says about the place of a file.
struct RestoreProbe {
  std::function<bool(const std::string& path)> exists;
  // It isn't there, or can be written over now (nobody has it open).
  std::function<bool(const std::string& path)> can_replace;
};

struct RestoreRequest {
  const WriterMetadata& saved;       // of the backup, not of the writer that runs now
  const Component& component;        // in `saved`
  const BackupComponent& explicit_;  // the component by which it came into the backup, as it is after PreRestore
  std::vector<std::string> files;    // of `component` in the backup: full paths at backup time
  bool knows_writer = false;         // the requester can do what a writer with kCustom wants
  bool ignore_case = false;
};

enum class FileAction {
  kRestore,
  kRestoreAtReboot,  // written beside, takes its place at the next start
  kDirected,         // only pieces of it go to other files
};

// A piece of a file of the backup that goes into another file (restore target kDirected).
struct DirectedCopy {
  std::string destination;  // full path
  std::vector<RangeCopy> pieces;

  friend bool operator==(const DirectedCopy&, const DirectedCopy&) = default;
};

struct PlannedFile {
  std::string file;    // full path at backup time
  std::string target;  // full path; empty with kDirected
  FileAction action = FileAction::kRestore;
  std::vector<DirectedCopy> directed;

  friend bool operator==(const PlannedFile&, const PlannedFile&) = default;
};

struct RestorePlan {
  std::vector<PlannedFile> files;  // none when the files that are there already shall stay (kRestoreIfNotThere)
  // To be told to the writer (AddAlternativeLocationMapping).
  std::vector<FileMapping> used_mappings;
  std::string stop_service_before;  // after PreRestore, before the first file
  std::string start_service_after;  // after the last file, before PostRestore
  std::string restart_service_after;
  bool reboot_required = false;
};

// Errors: FAILED_PRECONDITION / VSS_NOT_SUPPORTED when the method is missing, is kCustom and the requester doesn't know
// the writer, or a file has no place to go: it can't be replaced, or must go to an alternate location that nobody
// named. INVALID_ARGUMENT / INVALID_REQUEST when directed ranges don't add up.
absl::StatusOr<RestorePlan> PlanRestore(base::Filesystem& filesystem, const RestoreRequest& request,
                                        const RestoreProbe& probe);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_RESTORE_PLAN_H_
