// Remembers which files a restore is writing, so that an agent that died in the middle leaves none of them behind.
//
// One entry per restore, durable before the first file is made (storage/base/durable_entries.h). It names only files
// that may always go: new ones that no virtual machine uses yet, folders that have no name yet.
#ifndef UMBRA_AGENT_RUNNER_RESTORE_LEDGER_H_
#define UMBRA_AGENT_RUNNER_RESTORE_LEDGER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/hypervisor/hypervisor.h"
#include "storage/base/durable_entries.h"
#include "storage/base/filesystem.h"

namespace umbra::runner {

// What the restores of this host are making, of machines and of files. Outlives them all. Thread-safe.
class RestoreLedgers {
 public:
  // Two folders of its own in `data_folder`, made by Open.
  RestoreLedgers(base::Filesystem& files, const std::string& data_folder);

  // At the start of the agent, before the first restore. Errors: those of base::Filesystem.
  absl::Status Open();

  base::DurableEntries& machines() { return machines_; }  // see RestoreLedger
  base::DurableEntries& folders() { return folders_; }    // see file_set_restore_runner.h

 private:
  base::DurableEntries machines_;
  base::DurableEntries folders_;
};

// One restore's entry. One thread at a time.
class RestoreLedger {
 public:
  // `entries`: RestoreLedgers::machines, which outlives it. `name` is unique to the attempt and fit for a file name.
  RestoreLedger(base::DurableEntries& entries, std::string name);

  // Durable when OK. `paths` are absolute, without line feeds (INVALID_ARGUMENT / INVALID_REQUEST); `new_folder` is the
  // folder that was made for them, empty when none was.
  absl::Status Record(const std::vector<std::string>& paths, const std::string& new_folder);
  // The files are what they shall be, or gone.
  void Clear();

  // Removes the files and, when it is empty then, the folder. Gives what could not be removed.
  std::vector<std::string> RemoveFiles();

  // At the start of the agent, after Open: removes what predecessors left, but for files that a virtual machine uses.
  // Gives the paths that were removed. What can't be done now is tried again at the next start. What is no whole entry
  // is left alone, and so are the files that it may name.
  static absl::StatusOr<std::vector<std::string>> Heal(base::DurableEntries& entries,
                                                       hypervisor::Hypervisor& hypervisor);

 private:
  base::DurableEntries& entries_;
  const std::string name_;
  std::vector<std::string> paths_;
  std::string new_folder_;
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_RESTORE_LEDGER_H_
