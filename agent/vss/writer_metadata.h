// The Writer Metadata Document (WMD): what a writer can back up and how it wants it restored.
//
// Parsing accepts what real documents contain (docs/formats/vss_documents.md) and keeps elements and attributes that it
// doesn't know, so that saving again loses nothing.
#ifndef UMBRA_AGENT_VSS_WRITER_METADATA_H_
#define UMBRA_AGENT_VSS_WRITER_METADATA_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "agent/vss/types.h"

namespace umbra::vss {

// Larger documents are refused: a real one of a hundred components has about 100 KiB.
inline constexpr size_t kMaxDocumentBytes = 16 * 1024 * 1024;

// What a document has and we don't know, kept as it was.
struct UnknownXml {
  std::vector<std::pair<std::string, std::string>> attributes;  // name, value
  std::vector<std::string> elements;                            // serialised

  friend bool operator==(const UnknownXml&, const UnknownXml&) = default;
};

// Files of a component, or excluded files.
struct FileSet {
  std::string path;      // folder, no wildcard
  std::string filespec;  // name or pattern with * and ?
  bool recursive = false;
  uint32_t backup_type_mask = kFileSpecDefault;  // kFileSpec…; not used for excluded files
  // Where a backup reads the files instead; they are restored to `path`. Empty: no other place.
  std::string alternate_path;
  UnknownXml unknown;

  friend bool operator==(const FileSet&, const FileSet&) = default;
};

// Another place for a file set: an alternate location mapping of the writer, or a new target of the requester.
struct FileMapping {
  std::string path;      // of the file set
  std::string filespec;  // of the file set
  bool recursive = false;
  std::string alternate_path;  // the other folder

  friend bool operator==(const FileMapping&, const FileMapping&) = default;
};

// A component of another writer without which this one is of no use.
struct Dependency {
  Guid writer_id;
  std::string logical_path;
  std::string name;  // "\\machine\name": of another machine

  friend bool operator==(const Dependency&, const Dependency&) = default;
};

// Something that is backed up and restored as a whole.
struct Component {
  ComponentType type = ComponentType::kFileGroup;
  std::string logical_path;
  std::string name;
  std::string caption;
  bool restore_metadata = false;
  bool notify_on_backup_complete = false;
  bool selectable = true;
  bool selectable_for_restore = false;
  uint32_t flags = 0;              // kComponent…
  std::vector<FileSet> files;      // FILE_LIST of a file group, DATABASE_FILES of a database
  std::vector<FileSet> log_files;  // DATABASE_LOGFILES
  std::vector<Dependency> dependencies;
  UnknownXml unknown;
  // Volumes that hold the files, as the host's providers name them; the requester puts them into the set. Not part of
  // the document: it is derived from the paths.
  std::vector<std::string> volumes;

  friend bool operator==(const Component&, const Component&) = default;
};

struct RestoreMethodInfo {
  RestoreMethod method = RestoreMethod::kUndefined;  // kUndefined: the document has none
  WriterRestore writer_restore = WriterRestore::kNever;
  bool reboot_required = false;
  std::string service;  // to be stopped and started, with kStopRestoreStart and kRestoreStopStart
  // Where files go that can't or shouldn't go to their own place; each matches a file set of a component.
  std::vector<FileMapping> alternate_mappings;
  UnknownXml unknown;

  friend bool operator==(const RestoreMethodInfo&, const RestoreMethodInfo&) = default;
};

struct WriterMetadata {
  std::string version = "1.2";
  Guid writer_id;
  Guid instance_id;
  std::string writer_name;
  std::string instance_name;
  UsageType usage = UsageType::kUndefined;
  SourceType source = SourceType::kUndefined;
  uint32_t major_version = 0;
  uint32_t minor_version = 0;
  uint32_t backup_schema = 0;  // kSchema…
  RestoreMethodInfo restore_method;
  std::vector<Component> components;
  std::vector<FileSet> exclude_files;                // beat every component
  std::vector<FileSet> exclude_files_from_snapshot;  // not to be in the copy; kept, our providers have none
  UnknownXml unknown;                                // of the root
  UnknownXml unknown_locations;                      // of BACKUP_LOCATIONS
  UnknownXml unknown_identification;

  const Component* Find(std::string_view logical_path, std::string_view name) const;

  friend bool operator==(const WriterMetadata&, const WriterMetadata&) = default;
};

// Errors: INVALID_ARGUMENT / VSS_DOCUMENT_INVALID, as kCorruptXmlDocument (no XML, a DOCTYPE, too large) or
// kInvalidXmlDocument (another document, a wrong value).
absl::StatusOr<WriterMetadata> ParseWriterMetadata(std::string_view xml);

// UTF-8, indented, ends with a newline. The same metadata always gives the same bytes.
std::string PrintWriterMetadata(const WriterMetadata& metadata);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_WRITER_METADATA_H_
