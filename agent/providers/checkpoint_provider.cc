#include "agent/providers/checkpoint_provider.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::providers {
namespace {

constexpr vss::Guid kProviderId = vss::Guid::Literal("b2c4f6a0-5d1e-4c39-9a57-3f0d6e8b1c72");
constexpr std::string_view kVolumePrefix = "/vm/";

// The uuid in "/vm/{uuid}/"; empty for another volume.
std::string VmOf(std::string_view volume) {
  if (!volume.starts_with(kVolumePrefix) || !volume.ends_with('/')) return "";
  const std::string_view uuid = volume.substr(kVolumePrefix.size(), volume.size() - kVolumePrefix.size() - 1);
  return vss::Guid::Parse(uuid).has_value() ? std::string(uuid) : "";
}

}  // namespace

CheckpointProvider::CheckpointProvider(const PointInTimeTools& tools)
    : tools_(tools), identity_{kProviderId, "Umbra checkpoint provider", vss::ProviderType::kSoftware} {}

std::string CheckpointProvider::VolumeOf(std::string_view vm_uuid) {
  return fmt::format("{}{}/", kVolumePrefix, vm_uuid);
}

// --- the table ---

absl::StatusOr<CheckpointProvider::SetPtr> CheckpointProvider::FindSet(const vss::Guid& set_id) const {
  absl::MutexLock lock(&mu_);
  const auto found = sets_.find(set_id);
  if (found == sets_.end()) return vss::Error(vss::Code::kObjectNotFound, "no snapshot set {}", set_id.ToString());
  return found->second;
}

absl::StatusOr<CheckpointProvider::Copy*> CheckpointProvider::FindCopy(const SetPtr& set,
                                                                       const std::string& vm_uuid) const {
  for (Copy& copy : set->copies) {
    if (copy.vm_uuid == vm_uuid) return &copy;
  }
  return vss::Error(vss::Code::kObjectNotFound, "virtual machine {} isn't in the snapshot set", vm_uuid);
}

absl::StatusOr<hypervisor::PointInTime*> CheckpointProvider::FindView(const vss::Guid& set_id,
                                                                      const std::string& vm_uuid) const {
  ASSIGN_OR_RETURN(const SetPtr set, FindSet(set_id));
  ASSIGN_OR_RETURN(Copy * copy, FindCopy(set, vm_uuid));
  if (copy->point != nullptr && copy->point->view() != nullptr) return copy->point->view();
  return vss::Error(vss::Code::kObjectNotFound, "the snapshot of virtual machine {} has no content", vm_uuid);
}

CheckpointProvider::SetPtr CheckpointProvider::TakeOut(const vss::Guid& set_id) {
  absl::MutexLock lock(&mu_);
  const auto found = sets_.find(set_id);
  if (found == sets_.end()) return nullptr;
  SetPtr set = std::move(found->second);
  sets_.erase(found);
  absl::erase_if(set_of_snapshot_, [&](const auto& entry) { return entry.second == set_id; });
  return set;
}

// --- for a writer ---

absl::Status CheckpointProvider::TakeAtCommit(const vss::Guid& set_id, const VmPointInTimeRequest& request) {
  ASSIGN_OR_RETURN(const SetPtr set, FindSet(set_id));
  ASSIGN_OR_RETURN(Copy * copy, FindCopy(set, request.vm_uuid));
  copy->take_at_commit = request;
  return absl::OkStatus();
}

absl::Status CheckpointProvider::TakeAtCommit(const vss::Guid& set_id, std::unique_ptr<VmPointInTime> point) {
  ASSIGN_OR_RETURN(const SetPtr set, FindSet(set_id));
  ASSIGN_OR_RETURN(Copy * copy, FindCopy(set, point->vm_uuid()));
  copy->point = std::move(point);
  copy->take_prepared = true;
  return absl::OkStatus();
}

absl::Status CheckpointProvider::Revert(const vss::Guid& set_id, std::unique_ptr<VmPointInTime> point) {
  ASSIGN_OR_RETURN(const SetPtr set, FindSet(set_id));
  ASSIGN_OR_RETURN(Copy * copy, FindCopy(set, point->vm_uuid()));
  copy->point = std::move(point);
  return absl::OkStatus();
}

// --- for a reader ---

absl::StatusOr<std::unique_ptr<hypervisor::BlockReader>> CheckpointProvider::OpenDisk(const vss::Guid& set_id,
                                                                                      const std::string& vm_uuid,
                                                                                      const std::string& disk) {
  ASSIGN_OR_RETURN(hypervisor::PointInTime * view, FindView(set_id, vm_uuid));
  return view->OpenDisk(disk);
}

absl::Status CheckpointProvider::Health(const vss::Guid& set_id, const std::string& vm_uuid) {
  ASSIGN_OR_RETURN(hypervisor::PointInTime * view, FindView(set_id, vm_uuid));
  return view->Health();
}

absl::StatusOr<absl::Time> CheckpointProvider::PointTime(const vss::Guid& set_id, const std::string& vm_uuid) {
  ASSIGN_OR_RETURN(hypervisor::PointInTime * view, FindView(set_id, vm_uuid));
  return view->time();
}

absl::StatusOr<hypervisor::Checkpoint> CheckpointProvider::CheckpointOf(const vss::Guid& set_id,
                                                                        const std::string& vm_uuid) {
  ASSIGN_OR_RETURN(hypervisor::PointInTime * view, FindView(set_id, vm_uuid));
  return view->checkpoint();
}

absl::Status CheckpointProvider::CommitFollows(const vss::Guid& set_id) {
  const auto set = FindSet(set_id);
  if (!set.ok()) return absl::OkStatus();
  for (Copy& copy : (*set)->copies) {
    if (copy.point != nullptr) RETURN_IF_ERROR(copy.point->CommitFollows());
  }
  return absl::OkStatus();
}

void CheckpointProvider::Committed(const vss::Guid& set_id) {
  const auto set = FindSet(set_id);
  if (!set.ok()) return;
  for (Copy& copy : (*set)->copies) {
    if (copy.point != nullptr) copy.point->Committed();
  }
}

// --- vss::Provider ---

absl::StatusOr<bool> CheckpointProvider::IsVolumeSupported(const std::string& volume, uint32_t) {
  return !VmOf(volume).empty();
}

absl::Status CheckpointProvider::BeginPrepareSnapshot(const vss::SnapshotRequest& request) {
  Copy copy;
  copy.request = request;
  copy.vm_uuid = VmOf(request.volume);
  if (copy.vm_uuid.empty()) return vss::Error(vss::Code::kVolumeNotSupported, "volume {}", request.volume);
  absl::MutexLock lock(&mu_);
  // One set is made at a time: another one that never got further has died. It holds nothing yet.
  absl::erase_if(sets_, [&](const auto& entry) { return entry.first != request.set_id && entry.second->preparing; });
  SetPtr& set = sets_[request.set_id];
  if (set == nullptr) set = std::make_shared<Set>();
  set->copies.push_back(std::move(copy));
  set_of_snapshot_[request.snapshot_id] = request.set_id;
  return absl::OkStatus();
}

absl::Status CheckpointProvider::EndPrepareSnapshots(const vss::Guid& set_id) {
  ASSIGN_OR_RETURN(const SetPtr set, FindSet(set_id));
  {
    absl::MutexLock lock(&mu_);
    set->preparing = false;
  }
  for (Copy& copy : set->copies) {
    if (!copy.take_at_commit.has_value()) continue;
    ASSIGN_OR_RETURN(copy.point, VmPointInTime::Prepare(tools_, *copy.take_at_commit));
  }
  return absl::OkStatus();
}

absl::Status CheckpointProvider::PreCommitSnapshots(const vss::Guid& set_id) {
  return FindSet(set_id).status();
}

absl::Status CheckpointProvider::CommitSnapshots(const vss::Guid& set_id) {
  ASSIGN_OR_RETURN(const SetPtr set, FindSet(set_id));
  for (Copy& copy : set->copies) {
    if (copy.take_at_commit.has_value() || copy.take_prepared) RETURN_IF_ERROR(copy.point->Take());
  }
  return absl::OkStatus();
}

absl::Status CheckpointProvider::PostCommitSnapshots(const vss::Guid& set_id, int) {
  return FindSet(set_id).status();
}

absl::Status CheckpointProvider::PreFinalCommitSnapshots(const vss::Guid& set_id) {
  return FindSet(set_id).status();
}

absl::Status CheckpointProvider::PostFinalCommitSnapshots(const vss::Guid& set_id) {
  ASSIGN_OR_RETURN(const SetPtr set, FindSet(set_id));
  for (const Copy& copy : set->copies) RETURN_IF_ERROR(FindView(set_id, copy.vm_uuid).status());
  return absl::OkStatus();
}

absl::Status CheckpointProvider::AbortSnapshots(const vss::Guid& set_id) {
  return DeleteSnapshots(set_id);
}

absl::Status CheckpointProvider::DeleteSnapshots(const vss::Guid& set_id) {
  const SetPtr set = TakeOut(set_id);
  if (set == nullptr) return absl::OkStatus();
  absl::Status first;
  for (Copy& copy : set->copies) {
    if (copy.point != nullptr) first.Update(copy.point->Close());
  }
  return first;
}

absl::StatusOr<vss::SnapshotProperties> CheckpointProvider::GetSnapshotProperties(const vss::Guid& snapshot_id) {
  vss::Guid set_id;
  {
    absl::MutexLock lock(&mu_);
    const auto found = set_of_snapshot_.find(snapshot_id);
    if (found != set_of_snapshot_.end()) set_id = found->second;
  }
  ASSIGN_OR_RETURN(const SetPtr set, FindSet(set_id));
  const auto copy = std::find_if(set->copies.begin(), set->copies.end(),
                                 [&](const Copy& c) { return c.request.snapshot_id == snapshot_id; });
  if (copy == set->copies.end())
    return vss::Error(vss::Code::kObjectNotFound, "no snapshot {}", snapshot_id.ToString());
  vss::SnapshotProperties properties;
  properties.set_id = copy->request.set_id;
  properties.snapshot_id = snapshot_id;
  properties.provider_id = identity_.provider_id;
  properties.volume = copy->request.volume;
  properties.device = fmt::format("{}{}", copy->request.volume, snapshot_id.ToString());
  properties.attributes = copy->request.context;
  if ((copy->request.context & vss::kAttrNoAutoRecovery) == 0) properties.attributes |= vss::kAttrAutoRecover;
  if (copy->point != nullptr && copy->point->view() != nullptr) properties.create_time = copy->point->view()->time();
  return properties;
}

}  // namespace umbra::providers
