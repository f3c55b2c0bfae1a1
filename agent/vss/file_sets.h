// File sets: which files they mean, and how a backup of each type treats them.
//
// Source: Microsoft, "VSS_FILE_SPEC_BACKUP_TYPE", "Working with Alternate Paths During Backup", "Excluding Files from
// Shadow Copies", "Use of Components by the Requestor".
#ifndef UMBRA_AGENT_VSS_FILE_SETS_H_
#define UMBRA_AGENT_VSS_FILE_SETS_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/vss/backup_components.h"
#include "agent/vss/writer_metadata.h"
#include "storage/base/filesystem.h"

namespace umbra::vss {

// What a backup does with the files of a set.
enum class CopyRule {
  kNever,      // not part of a backup of this type
  kIfChanged,  // only what changed since the backup that this one builds on
  kAlways,
};

struct FileSource {
  CopyRule rule = CopyRule::kAlways;
  bool from_snapshot = true;  // not from the live volume
};

// What a file set's mask says for a backup of `type`. kCopy and kOther count as kFull, kUndefined too. A mask without
// the bit of an incremental or differential backup means kIfChanged.
FileSource SourceOf(uint32_t mask, BackupType type);

// Whether `name` matches `pattern`, where * stands for any characters and ? for one. "*.*" matches every name, as on
// Windows. `ignore_case` compares ASCII letters in either case (Windows' file systems).
bool MatchesPattern(std::string_view pattern, std::string_view name, bool ignore_case);

bool HasWildcard(std::string_view filespec);

// Whether the file `folder`/`name` belongs to `set`. Paths with '/' or '\', compared by whole elements.
bool Contains(const FileSet& set, std::string_view folder, std::string_view name, bool ignore_case);

// Two sets are the same files; path, pattern and recursion count, not how they are backed up.
bool SameFiles(const FileSet& set, std::string_view path, std::string_view filespec, bool recursive, bool ignore_case);

// Whether a file could belong to both: the test by which a differenced file set is refused.
bool MayOverlap(const FileSet& a, const FileSet& b, bool ignore_case);

// A differenced file set must be a file set of the component, or touch none of them. INVALID_ARGUMENT /
// INVALID_REQUEST otherwise.
absl::Status CheckDifferenced(const DifferencedFile& differenced, const Component& component, bool ignore_case);

// A file or folder to back up.
struct SelectedFile {
  std::string source;       // where it is read
  std::string destination;  // where it is restored to; another one when the set has an alternate path
  bool is_folder = false;   // a folder without anything in it, which a restore makes again
  FileSource how;
  // Changed since when; only with kIfChanged and only when the writer said so. Otherwise since the requester's own last
  // backup.
  std::optional<absl::Time> since;
  std::string since_lsn;

  friend bool operator==(const SelectedFile& a, const SelectedFile& b) {
    return a.source == b.source && a.destination == b.destination && a.is_folder == b.is_folder &&
           a.how.rule == b.how.rule && a.how.from_snapshot == b.how.from_snapshot && a.since == b.since &&
           a.since_lsn == b.since_lsn;
  }
};

struct ExpandOptions {
  BackupType type = BackupType::kFull;
  bool ignore_case = false;
  // Where a folder of the host is read now, for instance inside the snapshot; empty: as it is.
  std::function<std::string(const std::string& folder)> read_at;
};

// Lists the files of `component`, sorted by destination, each once, without what the writer excludes. Call it against
// the copy, after the snapshot is made. Links aren't followed; they and other special files are left out.
//
// `differenced`: what the writer said in this backup (BackupComponent::differenced_files); it beats the set's mask.
// NOT_FOUND / FILE_NOT_FOUND: a file that is named without wildcard isn't there, not even as a link; the component has
// failed. A pattern that matches nothing is fine. Blocks on the file system. Errors of the file system as they are.
absl::StatusOr<std::vector<SelectedFile>> ExpandFiles(base::Filesystem& filesystem, const Component& component,
                                                      const std::vector<FileSet>& excluded,
                                                      const std::vector<DifferencedFile>& differenced,
                                                      const ExpandOptions& options);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_FILE_SETS_H_
