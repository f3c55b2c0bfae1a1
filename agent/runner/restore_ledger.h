// Remembers which files a restore is writing, so that an agent that died in the middle leaves none of them behind.
//
// One small file per restore, durable before the first disk file is made. It names only files that may always go: new
// ones that no virtual machine uses yet.
#ifndef UMBRA_AGENT_RUNNER_RESTORE_LEDGER_H_
#define UMBRA_AGENT_RUNNER_RESTORE_LEDGER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"
#include "storage/base/filesystem.h"

namespace umbra::runner {

// One restore's entry. One thread at a time.
class RestoreLedger {
 public:
  // `name` is unique to the attempt and fit for a file name.
  RestoreLedger(base::Filesystem& files, std::string folder, const std::string& name);

  // Durable when OK. `paths` are absolute, without line feeds (INVALID_ARGUMENT / INVALID_REQUEST); `new_folder` is the
  // folder that was made for them, empty when none was.
  absl::Status Record(const std::vector<std::string>& paths, const std::string& new_folder);
  // The files are what they shall be, or gone.
  void Clear();

  // Removes the files and, when it is empty then, the folder. Gives what could not be removed.
  std::vector<std::string> RemoveFiles();

  // At the start of the agent: removes what predecessors left, but for files that a virtual machine uses. Gives the
  // paths that were removed. What can't be done now is tried again at the next start. A file in `folder` that is no
  // whole entry is left alone, and so are the files that it may name.
  static absl::StatusOr<std::vector<std::string>> Heal(base::Filesystem& files, const std::string& folder,
                                                       hypervisor::Hypervisor& hypervisor);

 private:
  base::Filesystem& files_;
  const std::string folder_;
  const std::string path_;
  std::vector<std::string> paths_;
  std::string new_folder_;
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_RESTORE_LEDGER_H_
