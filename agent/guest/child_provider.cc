#include "agent/guest/child_provider.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "storage/base/status.h"

namespace umbra::guest {
namespace {

constexpr vss::Guid kProviderId = vss::Guid::Literal("e06f3a7d-18c4-4d25-b9e1-7a40d2c5f816");

}  // namespace

std::string VolumeOf(std::string_view disk) {
  return fmt::format("/dev/{}/", disk);
}

ChildProvider::ChildProvider(const providers::PointInTimeTools& tools, const providers::VmPointInTimeRequest& request,
                             const ChildEvents& events, const providers::GuestFreeze& freeze)
    : tools_(tools),
      request_(request),
      events_(events),
      freeze_(freeze),
      identity_{kProviderId, "Umbra guest provider", vss::ProviderType::kSoftware} {}

std::unique_ptr<providers::VmPointInTime> ChildProvider::TakePoint() {
  if (point_ == nullptr || point_->view() == nullptr) return nullptr;
  return std::move(point_);
}

absl::Status ChildProvider::CheckSet(const vss::Guid& set_id) const {
  if (!snapshots_.empty() && snapshots_.front().set_id == set_id) return absl::OkStatus();
  return vss::Error(vss::Code::kObjectNotFound, "no snapshot set {} in this guest", set_id.ToString());
}

absl::StatusOr<bool> ChildProvider::IsVolumeSupported(const std::string& volume, uint32_t) {
  const auto& disks = request_.options.disks;
  return std::any_of(disks.begin(), disks.end(), [&](const std::string& disk) { return VolumeOf(disk) == volume; });
}

absl::Status ChildProvider::BeginPrepareSnapshot(const vss::SnapshotRequest& request) {
  if (point_ == nullptr) {
    ASSIGN_OR_RETURN(point_, providers::VmPointInTime::Prepare(tools_, request_));
  }
  snapshots_.push_back(request);
  return absl::OkStatus();
}

absl::Status ChildProvider::EndPrepareSnapshots(const vss::Guid& set_id) {
  return CheckSet(set_id);
}

absl::Status ChildProvider::PreCommitSnapshots(const vss::Guid& set_id) {
  RETURN_IF_ERROR(CheckSet(set_id));
  return vss::WithCode(events_.Trouble(), vss::Code::kProviderVeto);
}

absl::Status ChildProvider::CommitSnapshots(const vss::Guid& set_id) {
  RETURN_IF_ERROR(CheckSet(set_id));
  return point_->Take();
}

absl::Status ChildProvider::PostCommitSnapshots(const vss::Guid& set_id, int) {
  return CheckSet(set_id);
}

absl::Status ChildProvider::PreFinalCommitSnapshots(const vss::Guid& set_id) {
  return CheckSet(set_id);
}

absl::Status ChildProvider::PostFinalCommitSnapshots(const vss::Guid& set_id) {
  return CheckSet(set_id);
}

absl::Status ChildProvider::AbortSnapshots(const vss::Guid& set_id) {
  return DeleteSnapshots(set_id);
}

absl::Status ChildProvider::DeleteSnapshots(const vss::Guid&) {
  if (point_ == nullptr) return absl::OkStatus();
  if (freeze_.thaw_owed()) point_->KeepIntent();
  return point_->Close();
}

absl::StatusOr<vss::SnapshotProperties> ChildProvider::GetSnapshotProperties(const vss::Guid& snapshot_id) {
  const auto found = std::find_if(snapshots_.begin(), snapshots_.end(),
                                  [&](const vss::SnapshotRequest& r) { return r.snapshot_id == snapshot_id; });
  if (found == snapshots_.end() || point_ == nullptr || point_->view() == nullptr) {
    return vss::Error(vss::Code::kObjectNotFound, "no snapshot {} in this guest", snapshot_id.ToString());
  }
  vss::SnapshotProperties properties;
  properties.set_id = found->set_id;
  properties.snapshot_id = snapshot_id;
  properties.provider_id = identity_.provider_id;
  properties.volume = found->volume;
  properties.device = fmt::format("{}{}", found->volume, snapshot_id.ToString());
  properties.attributes = found->context | vss::kAttrAutoRecover;
  properties.create_time = point_->view()->time();
  return properties;
}

}  // namespace umbra::guest
