// The file sets of one backup assignment: from the copies in its snapshot set to their manifests.
#ifndef UMBRA_AGENT_RUNNER_FILE_SET_BACKUP_H_
#define UMBRA_AGENT_RUNNER_FILE_SET_BACKUP_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/files/tree_source.h"
#include "agent/runner/job_reporter.h"
#include "agent/runner/runner.h"
#include "umbra/agent/v1/agent_link.pb.h"
#include "umbra/store/v1/store.pb.h"

namespace umbra::runner {

// One use, one thread; the steps in this order. All are nothing without file sets.
class FileSetBackup {
 public:
  // Everything outlives it.
  FileSetBackup(const RunnerContext& context, const agent::v1::AssignmentId& id,
                const agent::v1::BackupAssignment& work, JobReporter& reporter);

  const std::vector<std::string>& names() const { return names_; }

  // After the backup's Snapshot.
  absl::Status Collect(writers::VmBackup& backup);
  // Longest time that a service stood still; after Collect.
  absl::Duration longest_frozen() const;
  // Reads what there is, and adds it to the meter behind the disks that are there already.
  absl::Status Open(uint64_t chunk_bytes);
  // `first_meter_disk`: number of the first of them in the meter.
  absl::Status Transfer(transfer::BackupPipeline& pipeline, const std::string& session_id, size_t first_meter_disk);
  absl::Status MarkSucceeded(writers::VmBackup& backup);
  void AddManifests(const vss::BackupDocuments& documents, store::v1::CommitRequest& request) const;

 private:
  struct Part {
    std::string name;
    providers::FolderProvider::Copy copy;
    std::unique_ptr<files::FileTreeSource> source;
    uint64_t read_bytes = 0;
  };

  absl::Status TransferPart(transfer::BackupPipeline& pipeline, const std::string& session_id, Part& part, size_t meter_disk);

  const RunnerContext& context_;
  const agent::v1::AssignmentId id_;
  JobReporter& reporter_;
  const std::vector<std::string> names_;
  std::vector<Part> parts_;
};

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_FILE_SET_BACKUP_H_
