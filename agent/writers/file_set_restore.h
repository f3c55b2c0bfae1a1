// Restores the files of one file set into a folder: the VSS restore flow around whoever writes them.
//
//   auto restore = host.NewFileSetRestore(options);
//   PreRestore() -> files -> PostRestore(kAll).
//
// The file-set writer runs the hooks of the set (file_set_writer.h). On a host where it isn't configured there is nobody to
// ask, and the files are all there is. Files may be written only when PreRestore returned OK. The destructor tells a writer
// whose restore was given up.
//
// Threads: one at a time.
#ifndef UMBRA_AGENT_WRITERS_FILE_SET_RESTORE_H_
#define UMBRA_AGENT_WRITERS_FILE_SET_RESTORE_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "agent/vss/requester.h"

namespace umbra::writers {

struct FileSetRestoreOptions {
  vss::BackupDocuments documents;  // of the backup
  std::string name;                // of the file set at backup time
  std::string target_folder;       // absolute
};

class FileSetRestore {
 public:
  // Made by VssHost::NewFileSetRestore.
  FileSetRestore(std::unique_ptr<vss::Session> session, FileSetRestoreOptions options);

  // INVALID_ARGUMENT / VSS_DOCUMENT_INVALID; VSS_WRITER_FAILED and the like when a hook fails.
  absl::Status PreRestore();
  // The files are in their place, or failed.
  absl::Status PostRestore(vss::FileRestoreStatus files);

 private:
  const FileSetRestoreOptions options_;
  vss::RestoreRequester requester_;
  bool writer_takes_part_ = false;
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_FILE_SET_RESTORE_H_
