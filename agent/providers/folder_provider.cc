#include "agent/providers/folder_provider.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::providers {
namespace {

constexpr vss::Guid kProviderId = vss::Guid::Literal("0d3b8f52-6a47-4c0e-9e7d-51c2a84be913");
constexpr std::string_view kVolumePrefix = "/folders/";

absl::Status NoSuch(const vss::Guid& set_id, const std::string& volume) {
  return vss::Error(vss::Code::kObjectNotFound, "{} has no copy in snapshot set {}", volume, set_id.ToString());
}

}  // namespace

FolderProvider::FolderProvider(base::FolderCopier& copier, base::Filesystem& files, base::Clock& clock,
                               std::string copies_folder)
    : copier_(copier),
      files_(files),
      clock_(clock),
      copies_folder_(std::move(copies_folder)),
      identity_{kProviderId, "Umbra folder provider", vss::ProviderType::kSoftware} {}

std::string FolderProvider::VolumeOf(std::string_view name) {
  return fmt::format("{}{}/", kVolumePrefix, name);
}

std::string FolderProvider::FolderOf(const vss::Guid& set_id) const {
  return fmt::format("{}/{}", copies_folder_, set_id.ToString());
}

// --- for a writer ---

absl::Status FolderProvider::CopyAtCommit(const vss::Guid& set_id, const std::string& volume,
                                          const FolderCopyRequest& request) {
  RETURN_IF_ERROR(files_.MakeDirectories(copies_folder_));
  for (const base::FolderSelection& folder : request.folders) {
    ASSIGN_OR_RETURN(const base::FolderSize size, copier_.Measure(folder, copies_folder_, request.limits));
    if (size.can_share || size.bytes <= request.limits.bytes_max) continue;
    return base::Error(absl::StatusCode::kResourceExhausted, "FILE_SET_TOO_LARGE",
                       "{} has {} MiB, more than {} MiB to copy, and its blocks can't be shared with {}", folder.folder,
                       size.bytes / base::kMiB, request.limits.bytes_max / base::kMiB, copies_folder_);
  }
  absl::MutexLock lock(&mu_);
  if (const auto set = sets_.find(set_id); set != sets_.end()) {
    for (Snapshot& snapshot : set->second.snapshots) {
      if (snapshot.request.volume != volume) continue;
      snapshot.wanted = request;
      return absl::OkStatus();
    }
  }
  return NoSuch(set_id, volume);
}

void FolderProvider::SetFrozen(const vss::Guid& set_id, const std::string& volume, absl::Duration frozen) {
  absl::MutexLock lock(&mu_);
  const auto set = sets_.find(set_id);
  if (set == sets_.end()) return;
  for (Snapshot& snapshot : set->second.snapshots) {
    if (snapshot.request.volume == volume) snapshot.copy.frozen = frozen;
  }
}

// --- for a reader ---

absl::StatusOr<FolderProvider::Copy> FolderProvider::CopyOf(const vss::Guid& set_id, const std::string& volume) const {
  absl::MutexLock lock(&mu_);
  if (const auto set = sets_.find(set_id); set != sets_.end()) {
    for (const Snapshot& snapshot : set->second.snapshots) {
      if (snapshot.request.volume == volume && !snapshot.copy.folders.empty()) return snapshot.copy;
    }
  }
  return NoSuch(set_id, volume);
}

absl::StatusOr<std::vector<std::string>> FolderProvider::RemoveOrphans() {
  ASSIGN_OR_RETURN(const bool exists, files_.Exists(copies_folder_));
  std::vector<std::string> orphans;
  if (!exists) return orphans;
  ASSIGN_OR_RETURN(const std::vector<std::string> names, files_.List(copies_folder_));
  for (const std::string& name : names) {
    const auto set_id = vss::Guid::Parse(name);
    if (!set_id.has_value()) continue;  // not ours
    {
      absl::MutexLock lock(&mu_);
      if (sets_.contains(*set_id)) continue;
    }
    RETURN_IF_ERROR(copier_.RemoveTree(copies_folder_ + "/" + name));
    orphans.push_back(name);
  }
  return orphans;
}

// --- vss::Provider ---

absl::StatusOr<bool> FolderProvider::IsVolumeSupported(const std::string& volume, uint32_t) {
  return volume.starts_with(kVolumePrefix);
}

absl::Status FolderProvider::BeginPrepareSnapshot(const vss::SnapshotRequest& request) {
  absl::MutexLock lock(&mu_);
  // One set is made at a time: another one that never got further has died. It holds nothing yet.
  absl::erase_if(sets_, [&](const auto& entry) { return entry.first != request.set_id && entry.second.preparing; });
  sets_[request.set_id].snapshots.push_back({request, {}, {}});
  return absl::OkStatus();
}

absl::Status FolderProvider::EndPrepareSnapshots(const vss::Guid& set_id) {
  absl::MutexLock lock(&mu_);
  sets_[set_id].preparing = false;
  return absl::OkStatus();
}

absl::StatusOr<FolderProvider::Copy> FolderProvider::MakeCopy(const vss::Guid& set_id, size_t index,
                                                              const FolderCopyRequest& wanted,
                                                              absl::Duration deadline) {
  Copy copy;
  copy.time = clock_.Now();
  for (size_t i = 0; i < wanted.folders.size(); ++i) {
    const std::string to = fmt::format("{}/{}-{}", FolderOf(set_id), index, i);
    base::FolderCopyLimits limits = wanted.limits;
    limits.time_max = std::min(limits.time_max, deadline - clock_.Monotonic());
    ASSIGN_OR_RETURN(const base::FolderCopyReport report, copier_.Copy(wanted.folders[i], to, limits));
    copy.folders.push_back(to);
    copy.sources.push_back(wanted.folders[i].folder);
    copy.report.entry_count += report.entry_count;
    copy.report.bytes_copied += report.bytes_copied;
    copy.report.bytes_shared += report.bytes_shared;
    copy.report.entries_changed += report.entries_changed;
  }
  return copy;
}

absl::Status FolderProvider::CommitSnapshots(const vss::Guid& set_id) {
  std::vector<Snapshot> snapshots;
  {
    absl::MutexLock lock(&mu_);
    snapshots = sets_[set_id].snapshots;
  }
  absl::Duration deadline = absl::InfiniteDuration();
  for (const Snapshot& s : snapshots) deadline = std::min(deadline, clock_.Monotonic() + s.wanted.limits.time_max);
  for (size_t i = 0; i < snapshots.size(); ++i) {
    if (snapshots[i].wanted.folders.empty()) return NoSuch(set_id, snapshots[i].request.volume);
    ASSIGN_OR_RETURN(const Copy copy, MakeCopy(set_id, i, snapshots[i].wanted, deadline));
    absl::MutexLock lock(&mu_);
    sets_[set_id].snapshots[i].copy = copy;
  }
  return absl::OkStatus();
}

absl::Status FolderProvider::AbortSnapshots(const vss::Guid& set_id) {
  return DeleteSnapshots(set_id);
}

absl::Status FolderProvider::DeleteSnapshots(const vss::Guid& set_id) {
  absl::Status removed = copier_.RemoveTree(FolderOf(set_id));
  absl::MutexLock lock(&mu_);
  sets_.erase(set_id);  // also after an error: then RemoveOrphans tries again
  return removed;
}

absl::StatusOr<vss::SnapshotProperties> FolderProvider::GetSnapshotProperties(const vss::Guid& snapshot_id) {
  absl::MutexLock lock(&mu_);
  for (const auto& [set_id, set] : sets_) {
    for (const Snapshot& snapshot : set.snapshots) {
      if (snapshot.request.snapshot_id != snapshot_id) continue;
      vss::SnapshotProperties properties;
      properties.set_id = set_id;
      properties.snapshot_id = snapshot_id;
      properties.provider_id = identity_.provider_id;
      properties.volume = snapshot.request.volume;
      properties.device = FolderOf(set_id);
      properties.attributes = snapshot.request.context;
      properties.create_time = snapshot.copy.time;
      return properties;
    }
  }
  return vss::Error(vss::Code::kObjectNotFound, "no snapshot {}", snapshot_id.ToString());
}

}  // namespace umbra::providers
