#include "agent/runner/file_set_restore_runner.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "agent/runner/convert.h"
#include "storage/base/crash_point.h"
#include "storage/base/folder_tree.h"
#include "storage/base/log.h"
#include "storage/base/status.h"
#include "storage/filetree/subject.h"

namespace umbra::runner {
namespace {

// Left free beside the data.
constexpr uint64_t kSpaceReserveBytes = 64 * base::kMiB;
// A file's share of what the file system notes down.
constexpr uint64_t kEntryBytes = 512;
constexpr std::string_view kLedgerHead = "umbra file restore 1\n";

absl::Status InvalidRequest(std::string message) {
  return base::MakeError(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST", std::move(message));
}

// Without the '/' at its end that people leave.
std::string Trimmed(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// Takes the first bytes of a disk.
class BeginningWriter final : public hypervisor::BlockWriter {
 public:
  explicit BeginningWriter(uint64_t size) : bytes_(size, '\0') {}
  // Two writes never touch the same bytes, so they need no lock.
  absl::Status WriteAt(uint64_t offset_bytes, base::Bytes data) override {
    if (offset_bytes >= bytes_.size()) return absl::OkStatus();
    std::memcpy(bytes_.data() + offset_bytes, data.data(), std::min<uint64_t>(data.size(), bytes_.size() - offset_bytes));
    return absl::OkStatus();
  }
  absl::Status Finish() override { return absl::OkStatus(); }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

std::string LedgerEntry(const std::string& folder) {
  return fmt::format("{}{}\n", kLedgerHead, folder);
}

// The folder that may be removed; empty when the entry is none of ours.
std::string FolderIn(const std::string& entry) {
  if (!entry.starts_with(kLedgerHead) || !entry.ends_with('\n')) return "";
  const std::string folder = entry.substr(kLedgerHead.size(), entry.size() - kLedgerHead.size() - 1);
  const size_t slash = folder.rfind('/');
  const bool ours = folder.starts_with('/') && base::IsTreePath(folder.substr(1)) &&
                    folder.compare(slash + 1, sizeof kUnfinishedFolder - 1, kUnfinishedFolder) == 0;
  return ours ? folder : "";
}

}  // namespace

absl::StatusOr<FileRestorePlan> PlanFileRestore(const agent::v1::RestoreAssignment& work, const agent::v1::AssignmentId& id) {
  FileRestorePlan plan;
  const std::string& name = work.recovery_point().file_set();
  plan.file_set = name.substr(name.rfind('/') + 1);
  plan.target = Trimmed(work.target_folder());
  if (plan.target.size() < 2 || plan.target.front() != '/' || !base::IsTreePath(plan.target.substr(1)) ||
      plan.target.find('\n') != std::string::npos) {
    return InvalidRequest(fmt::format("'{}' can't be the target folder: an absolute path without '.' and '..' is needed",
                                      work.target_folder()));
  }
  plan.path = Trimmed(work.path());
  if (plan.path.starts_with('/')) plan.path.erase(0, 1);
  if (!plan.path.empty() && !base::IsTreePath(plan.path)) return InvalidRequest(fmt::format("'{}' is no path", work.path()));
  const std::string folder = base::DirectoryOf(plan.target);
  plan.unfinished = fmt::format("{}/{}{}-{}", folder == "/" ? "" : folder, kUnfinishedFolder, id.job_id(), id.attempt());
  return plan;
}

absl::StatusOr<std::vector<std::string>> HealFileRestores(base::DurableEntries& ledger) {
  std::vector<std::string> removed;
  ASSIGN_OR_RETURN(const base::DurableEntries::Listing listing, ledger.List());
  const auto log = base::Log("runner");
  for (const std::string& path : listing.unreadable)
    log->warn("no whole ledger of a restore, left alone path={}", path);
  for (const auto& [name, text] : listing.entries) {
    if (ledger.IsLive(name)) continue;
    const std::string folder = FolderIn(text);
    absl::Status status = folder.empty() ? absl::DataLossError("it names no folder") : base::RemoveTree(folder);
    if (status.ok()) status = ledger.Remove(name);
    if (status.ok()) {
      removed.push_back(folder);
    } else {
      log->warn("a restore of files is not cleaned up path={} error=\"{}\"", ledger.PathOf(name),
                base::Describe(status));
    }
  }
  return removed;
}

FileSetRestoreRunner::FileSetRestoreRunner(const RunnerContext& context, const agent::v1::AssignmentId& id,
                                           const agent::v1::RestoreAssignment& work,
                                           transfer::Cancellation& cancellation, JobReporter& reporter)
    : context_(context),
      id_(id),
      work_(work),
      cancellation_(cancellation),
      reporter_(reporter),
      store_(context.make_store(cancellation)),
      ledger_entry_(fmt::format("{}-{}", id.job_id(), id.attempt())) {}

absl::Status FileSetRestoreRunner::Run() {
  reporter_.SetPhase(v1::Job::PHASE_GATHERING);
  ASSIGN_OR_RETURN(plan_, PlanFileRestore(work_, id_));
  capacity_bytes_ = static_cast<uint64_t>(std::max<int64_t>(0, work_.recovery_point().files().size_bytes()));
  if (capacity_bytes_ < filetree::kHeaderBytes) return InvalidRequest("the recovery point holds no files");
  RETURN_IF_ERROR(CheckTarget());
  reporter_.meter().AddDisk(filetree::SubjectOfFileSet(plan_.file_set), filetree::kFileTreeName, capacity_bytes_);
  ASSIGN_OR_RETURN(files::Selection selection, ReadList());
  // Of what is chosen, holes take no space; how much they are is known of the whole alone.
  const auto data_bytes = static_cast<uint64_t>(work_.recovery_point().files().data_bytes());
  RETURN_IF_ERROR(CheckSpace(std::min(selection.file_bytes, data_bytes) + kEntryBytes * selection.items.size()));

  reporter_.SetPhase(v1::Job::PHASE_PREPARING);
  restore_ = context_.host.NewFileSetRestore(
      {.documents = ToBackupDocuments(work_), .name = plan_.file_set, .target_folder = plan_.target});
  RETURN_IF_ERROR(base::Annotate(restore_->PreRestore(), "nothing was restored"));
  absl::Status status = WriteFiles(std::move(selection));
  if (status.ok()) status = TakeName();
  RemoveUnfinished();
  // Of a restore that failed, its answer says no more than `status` does.
  const absl::Status told = restore_->PostRestore(status.ok() ? vss::FileRestoreStatus::kAll : vss::FileRestoreStatus::kFailed);
  if (status.ok()) return base::Annotate(told, "the files are restored in {}, and whole", plan_.target);
  if (named_) return base::Annotate(status, "the files are restored in {}", plan_.target);
  return base::Annotate(status, "nothing of it is left, {} was not touched", plan_.target);
}

absl::Status FileSetRestoreRunner::CheckTarget() {
  ASSIGN_OR_RETURN(const bool exists, context_.files.Exists(plan_.target));
  if (exists && !work_.overwrite()) {
    return base::Error(absl::StatusCode::kAlreadyExists, "TARGET_EXISTS",
                       "{} exists already; choose another folder, or say that it shall be replaced", plan_.target);
  }
  return absl::OkStatus();
}

absl::Status FileSetRestoreRunner::CheckSpace(uint64_t needed_bytes) {
  std::string folder = base::DirectoryOf(plan_.target);
  while (folder != "/" && !context_.files.Exists(folder).value_or(false)) folder = base::DirectoryOf(folder);
  ASSIGN_OR_RETURN(const uint64_t free, context_.files.FreeSpace(folder));
  needed_bytes += kSpaceReserveBytes;
  if (free >= needed_bytes) return absl::OkStatus();
  return base::Error(absl::StatusCode::kResourceExhausted, "TARGET_FULL", "{} has {} free, the restore needs {}", folder,
                     base::FormatSize(free), base::FormatSize(needed_bytes));
}

absl::Status FileSetRestoreRunner::Fetch(hypervisor::BlockWriter& writer, uint64_t begin, uint64_t end) {
  RETURN_IF_ERROR(cancellation_.Check());
  transfer::DiskRestorer restorer(*store_, writer, reporter_.meter(), 0, cancellation_, context_.clock, context_.random,
                                  context_.settings.restore);
  RETURN_IF_ERROR(restorer.Run({.job_id = id_.job_id(),
                                .attempt = id_.attempt(),
                                .recovery_point_id = work_.recovery_point_id(),
                                .disk = filetree::kFileTreeName,
                                .capacity_bytes = capacity_bytes_,
                                .first_chunk = begin == 0 ? 0 : begin / chunk_bytes_,
                                .end_bytes = end}));
  chunk_bytes_ = restorer.chunk_size_bytes();
  return absl::OkStatus();
}

absl::StatusOr<std::string> FileSetRestoreRunner::ReadBeginning(uint64_t end_bytes) {
  BeginningWriter writer(end_bytes);
  RETURN_IF_ERROR(Fetch(writer, 0, end_bytes));
  return writer.Take();
}

absl::StatusOr<files::Selection> FileSetRestoreRunner::ReadList() {
  ASSIGN_OR_RETURN(const std::string head, ReadBeginning(filetree::kHeaderBytes));
  ASSIGN_OR_RETURN(header_, filetree::ParseHeader(base::AsBytes(head), capacity_bytes_));
  ASSIGN_OR_RETURN(const std::string list, ReadBeginning(header_.list_bytes));
  ASSIGN_OR_RETURN(std::vector<filetree::Entry> entries, filetree::ReadList(base::AsBytes(list), header_));
  return files::Select(std::move(entries), header_, plan_.path);
}

absl::Status FileSetRestoreRunner::WriteFiles(files::Selection selection) {
  RETURN_IF_ERROR(cancellation_.Check());
  reporter_.SetPhase(v1::Job::PHASE_TRANSFERRING);
  recorded_ = true;
  RETURN_IF_ERROR(base::Annotate(context_.ledgers.folders().Record(ledger_entry_, LedgerEntry(plan_.unfinished)),
                                 "write down what the restore makes"));
  RETURN_IF_ERROR(context_.files.MakeDirectories(base::DirectoryOf(plan_.target)));
  const std::vector<files::Stretch> contents = selection.contents;
  const size_t count = selection.items.size();
  const absl::Duration start = context_.clock.Monotonic();
  ASSIGN_OR_RETURN(const std::unique_ptr<files::FileTreeTarget> target,
                   files::FileTreeTarget::Create(plan_.unfinished, std::move(selection), header_));
  base::CrashPoint("agent.files.begun");
  for (const files::Stretch& stretch : contents) RETURN_IF_ERROR(Fetch(*target, stretch.begin, stretch.end));
  RETURN_IF_ERROR(target->Finish());
  reporter_.meter().FinishDisk(0);
  if (target->changed_count() > 0) {
    reporter_.Warn("FILE_ATTRIBUTES_LOST",
                   fmt::format("the owner or an attribute of {} of {} files couldn't be kept in {}; run the agent as root, and "
                               "restore to a file system that keeps attributes",
                               target->changed_count(), count, plan_.target));
  }
  base::Log("runner")->info("files restored job={} file_set={} entries={} seconds={:.1f}", id_.job_id(), plan_.file_set, count,
                            absl::ToDoubleSeconds(context_.clock.Monotonic() - start));
  return absl::OkStatus();
}

absl::Status FileSetRestoreRunner::TakeName() {
  RETURN_IF_ERROR(cancellation_.Check());
  reporter_.SetPhase(v1::Job::PHASE_COMPLETING);
  base::CrashPoint("agent.files.written");
  ASSIGN_OR_RETURN(const bool replaced, base::TakeFolderName(plan_.unfinished, plan_.target, work_.overwrite()));
  named_ = true;
  base::CrashPoint("agent.files.named");
  if (replaced) base::Log("runner")->info("folder replaced job={} path={}", id_.job_id(), plan_.target);
  return absl::OkStatus();
}

// What lies there is a part of the files, or the folder that gave way.
void FileSetRestoreRunner::RemoveUnfinished() {
  if (!recorded_) return;
  absl::Status status = base::RemoveTree(plan_.unfinished);
  if (status.ok()) status = context_.ledgers.folders().Remove(ledger_entry_);
  if (status.ok()) return;
  context_.ledgers.folders().Abandon(ledger_entry_);
  reporter_.Warn(base::Annotate(status, "{} is left behind; the agent's next start tries again", plan_.unfinished));
}

}  // namespace umbra::runner
