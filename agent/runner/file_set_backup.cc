#include "agent/runner/file_set_backup.h"

#include <algorithm>
#include <utility>

#include "agent/runner/convert.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::runner {

FileSetBackup::FileSetBackup(const RunnerContext& context, const agent::v1::AssignmentId& id,
                             const agent::v1::BackupAssignment& work, JobReporter& reporter)
    : context_(context), id_(id), reporter_(reporter), names_(work.file_sets().begin(), work.file_sets().end()) {}

absl::Status FileSetBackup::Collect(writers::VmBackup& backup) {
  for (const std::string& name : names_) {
    Part part{.name = name};
    ASSIGN_OR_RETURN(part.copy, backup.FileSetCopy(name));
    const base::FolderCopyReport& report = part.copy.report;
    base::Log("runner")->info("file set copied job={} file_set={} entries={} copied_bytes={} shared_bytes={} frozen_ms={}",
                              id_.job_id(), name, report.entry_count, report.bytes_copied, report.bytes_shared,
                              absl::ToInt64Milliseconds(part.copy.frozen));
    if (report.entries_changed > 0) {
      reporter_.Warn("FILE_ATTRIBUTES_LOST",
                     fmt::format("file set {}: the owner or an attribute of {} files couldn't be kept in the copy; run the agent "
                                 "as root, and put file_set_copies on a file system that keeps attributes",
                                 name, report.entries_changed));
    }
    parts_.push_back(std::move(part));
  }
  return absl::OkStatus();
}

absl::Duration FileSetBackup::longest_frozen() const {
  absl::Duration longest;
  for (const Part& part : parts_) longest = std::max(longest, part.copy.frozen);
  return longest;
}

absl::Status FileSetBackup::Open(uint64_t chunk_bytes) {
  for (Part& part : parts_) {
    std::vector<files::SourceFolder> folders;
    for (size_t i = 0; i < part.copy.folders.size(); ++i) folders.push_back({part.copy.sources[i], part.copy.folders[i]});
    auto source = files::FileTreeSource::Open(context_.files, std::move(folders), chunk_bytes);
    RETURN_IF_ERROR(base::Annotate(source.status(), "file set {}", part.name));
    part.source = *std::move(source);
    reporter_.meter().AddDisk(filetree::SubjectOfFileSet(part.name), filetree::kFileTreeName, part.source->capacity_bytes());
  }
  return absl::OkStatus();
}

absl::Status FileSetBackup::Transfer(transfer::BackupPipeline& pipeline, const std::string& session_id,
                                     size_t first_meter_disk) {
  for (Part& part : parts_) {
    RETURN_IF_ERROR(base::Annotate(TransferPart(pipeline, session_id, part, first_meter_disk++), "file set {}", part.name));
  }
  return absl::OkStatus();
}

absl::Status FileSetBackup::TransferPart(transfer::BackupPipeline& pipeline, const std::string& session_id, Part& part,
                                         size_t meter_disk) {
  const uint64_t before = reporter_.meter().Figures().read_bytes;
  const absl::Duration start = context_.clock.Monotonic();
  const uint64_t capacity_bytes = part.source->capacity_bytes();
  ASSIGN_OR_RETURN(const transfer::DiskReadPlan plan,
                   transfer::PlanWholeDisk(*part.source, capacity_bytes, pipeline.chunk_size()));
  RETURN_IF_ERROR(pipeline.BackUpDisk(
      *part.source, {session_id, filetree::SubjectOfFileSet(part.name), filetree::kFileTreeName, capacity_bytes}, plan,
      meter_disk));
  part.read_bytes = reporter_.meter().Figures().read_bytes - before;
  base::Log("runner")->info("file set transferred job={} file_set={} entries={} data_bytes={} seconds={:.1f}", id_.job_id(),
                            part.name, part.source->entry_count(), part.source->data_bytes(),
                            absl::ToDoubleSeconds(context_.clock.Monotonic() - start));
  return absl::OkStatus();
}

absl::Status FileSetBackup::MarkSucceeded(writers::VmBackup& backup) {
  for (const Part& part : parts_) RETURN_IF_ERROR(backup.SetFileSetSucceeded(part.name, true));
  return absl::OkStatus();
}

void FileSetBackup::AddManifests(const vss::BackupDocuments& documents, store::v1::CommitRequest& request) const {
  for (const Part& part : parts_) {
    store::v1::Manifest& manifest = *request.add_manifests();
    manifest.set_vm_uuid(filetree::SubjectOfFileSet(part.name));
    manifest.set_vm_display_name(part.name);
    *manifest.mutable_point_time() = ToProto(part.copy.time);
    *manifest.mutable_freeze_duration() = ToProto(part.copy.frozen);
    store::v1::ManifestDisk& disk = *manifest.add_disks();
    disk.set_name(filetree::kFileTreeName);
    disk.set_kind(store::v1::ManifestDisk::KIND_FILE_TREE);
    disk.set_format(filetree::kFileTreeFormat);
    disk.set_capacity_bytes(static_cast<int64_t>(part.source->capacity_bytes()));
    disk.set_path(fmt::format("{}", fmt::join(part.copy.sources, "\n")));
    AddVssDocuments(documents, manifest);
    manifest.set_read_bytes(static_cast<int64_t>(part.read_bytes));
  }
}

}  // namespace umbra::runner
