#include "agent/guest/filesystem_writer.h"

#include <algorithm>
#include <utility>

#include "agent/guest/child_provider.h"
#include "agent/journal/crash_points.h"
#include "agent/vss/coordinator.h"
#include "storage/base/crash_point.h"
#include "storage/base/status.h"

namespace umbra::guest {
namespace {

// A component's name has no '\', as in "C:\".
std::string NameOfMount(std::string mount_point) {
  std::replace(mount_point.begin(), mount_point.end(), '\\', '/');
  return mount_point;
}

}  // namespace

absl::Duration FreezeWindowOf(const providers::FreezeLimits& limits) {
  return std::max(vss::WriterLimits().freeze, limits.freeze_timeout + vss::ProviderLimits().hold);
}

FilesystemWriter::FilesystemWriter(providers::GuestFreeze& freeze, const providers::FreezeLimits& limits,
                                   const vss::Guid& instance_id, std::vector<hypervisor::GuestFilesystem> filesystems,
                                   std::vector<std::string> disks)
    : freeze_(freeze),
      limits_(limits),
      identity_{kFilesystemWriterId, instance_id, std::string(kFilesystemWriterName), "",
                vss::ApplicationLevel::kSystem},
      filesystems_(std::move(filesystems)),
      disks_(std::move(disks)) {}

// Long enough for GuestFreeze to say itself what happened, which tells more than that nobody answered.
vss::WriterLimits FilesystemWriter::limits() const {
  vss::WriterLimits limits;
  limits.freeze = FreezeWindowOf(limits_) + limits_.patience + 2 * limits_.thaw_timeout + limits_.longest_wait;
  return limits;
}

std::vector<vss::Component> FilesystemWriter::Components() const {
  std::vector<vss::Component> components;
  const auto add = [&](const std::string& name, const std::string& path, const std::string& caption) -> auto& {
    vss::Component& component = components.emplace_back();
    component.name = name;
    component.caption = caption;
    component.files = {{path, "*", true}};
    return component.volumes;
  };
  for (const hypervisor::GuestFilesystem& filesystem : filesystems_) {
    const std::string name = NameOfMount(filesystem.mount_point);
    const bool named = std::any_of(components.begin(), components.end(), [&](const auto& c) { return c.name == name; });
    std::vector<std::string> volumes;
    for (const std::string& disk : disks_) {
      const auto& on = filesystem.disk_names;
      if (on.empty() || std::find(on.begin(), on.end(), disk) != on.end()) volumes.push_back(VolumeOf(disk));
    }
    if (named || volumes.empty()) continue;  // mounted twice, or not in the backup
    add(name, filesystem.mount_point, filesystem.type + " at " + filesystem.mount_point) = std::move(volumes);
  }
  if (components.empty()) {  // the agent doesn't report them, and freezes them nevertheless
    auto& volumes = add("file systems", "/", "all file systems of the guest");
    for (const std::string& disk : disks_) volumes.push_back(VolumeOf(disk));
  }
  return components;
}

absl::StatusOr<vss::WriterMetadata> FilesystemWriter::OnIdentify(const vss::EventContext&) {
  vss::WriterMetadata metadata;
  metadata.writer_id = identity_.writer_id;
  metadata.instance_id = identity_.instance_id;
  metadata.writer_name = identity_.name;
  metadata.usage = vss::UsageType::kOther;
  metadata.source = vss::SourceType::kOther;
  // A restore is the host's alone (R1).
  metadata.restore_method.method = vss::RestoreMethod::kRestoreIfCanReplace;
  metadata.restore_method.writer_restore = vss::WriterRestore::kNever;
  metadata.components = Components();
  return metadata;
}

absl::Status FilesystemWriter::OnFreeze(vss::EventContext&) {
  base::CrashPoint(journal::kCrashBeforeFreeze);
  RETURN_IF_ERROR(freeze_.Freeze());
  // Frozen: from here to the thaw nothing but the cut.
  base::CrashPoint(journal::kCrashFrozen);
  return absl::OkStatus();
}

absl::Status FilesystemWriter::OnThaw(vss::EventContext&) {
  RETURN_IF_ERROR(freeze_.Thaw());
  base::CrashPoint(journal::kCrashThawed);
  const absl::Duration window = FreezeWindowOf(limits_);
  if (freeze_.duration() <= window) return absl::OkStatus();
  return vss::Error(vss::Code::kWriterErrorTimeout, "the guest was frozen for {}, longer than {}",
                    absl::FormatDuration(freeze_.duration()), absl::FormatDuration(window));
}

absl::Status FilesystemWriter::OnAbort(vss::EventContext&) {
  return freeze_.ThawIfOwed();
}

}  // namespace umbra::guest
