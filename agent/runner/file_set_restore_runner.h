// One restore assignment of a file set: PreRestore, verified files into a folder of their own, which then takes the name of
// the target, PostRestore.
//
// Until all is verified and durable the files lie in ".umbra-restore-{job}-{attempt}" beside the target. What is to become of it is
// written down before it is made, so an agent that dies leaves nothing of it: before the target has its name, nothing is
// restored and an old target is untouched; from then on the new one is whole.
#ifndef UMBRA_AGENT_RUNNER_FILE_SET_RESTORE_RUNNER_H_
#define UMBRA_AGENT_RUNNER_FILE_SET_RESTORE_RUNNER_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/files/tree_target.h"
#include "agent/runner/job_reporter.h"
#include "agent/runner/runner.h"
#include "agent/transfer/cancellation.h"
#include "storage/base/durable_entries.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::runner {

// The name of the folder in which files lie until all are there.
inline constexpr char kUnfinishedFolder[] = ".umbra-restore-";

// What a restore of files will do. `path`: of the recovery point, without the leading '/'.
struct FileRestorePlan {
  std::string file_set;
  std::string path;
  std::string target;      // absolute
  std::string unfinished;  // absolute, beside it
};

// INVALID_ARGUMENT / INVALID_REQUEST: a target that is no absolute path, or has no name; a path that can't be one.
absl::StatusOr<FileRestorePlan> PlanFileRestore(const agent::v1::RestoreAssignment& work, const agent::v1::AssignmentId& id);

// At the start of the agent: removes what restores of files that died left (`ledger`: RestoreLedgers::folders, open).
// Gives the folders that were removed. What can't be removed is tried again at the next start.
absl::StatusOr<std::vector<std::string>> HealFileRestores(base::DurableEntries& ledger);

// One use, one thread.
class FileSetRestoreRunner {
 public:
  // Everything outlives the runner.
  FileSetRestoreRunner(const RunnerContext& context, const agent::v1::AssignmentId& id,
                       const agent::v1::RestoreAssignment& work, transfer::Cancellation& cancellation, JobReporter& reporter);

  // Blocks until the target holds everything, or nothing of it is left. Errors: TARGET_EXISTS, TARGET_FULL,
  // PATH_NOT_FOUND, FILE_TREE_DAMAGED, CHUNK_DAMAGED, those of the hooks and of the link.
  absl::Status Run();

 private:
  absl::Status CheckTarget();
  absl::Status CheckSpace(uint64_t needed_bytes);
  // Reads the tree up to `end_bytes`; remembers the chunk size.
  absl::StatusOr<std::string> ReadBeginning(uint64_t end_bytes);
  absl::StatusOr<files::Selection> ReadList();
  absl::Status WriteFiles(files::Selection selection);
  absl::Status TakeName();
  absl::Status Restore();
  absl::Status Fetch(hypervisor::BlockWriter& writer, uint64_t begin, uint64_t end);
  void RemoveUnfinished();

  const RunnerContext& context_;
  const agent::v1::AssignmentId id_;
  const agent::v1::RestoreAssignment work_;
  transfer::Cancellation& cancellation_;
  JobReporter& reporter_;
  const std::unique_ptr<transfer::ChunkStoreClient> store_;
  const std::string ledger_entry_;

  FileRestorePlan plan_;
  filetree::Header header_;
  uint64_t capacity_bytes_ = 0;
  uint64_t chunk_bytes_ = 0;
  std::unique_ptr<writers::FileSetRestore> restore_;
  bool recorded_ = false;  // the ledger names what is to be removed
  bool named_ = false;     // the target is the restored folder
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_FILE_SET_RESTORE_RUNNER_H_
