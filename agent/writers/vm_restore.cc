#include "agent/writers/vm_restore.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "agent/vss/restore_plan.h"
#include "agent/writers/component_options.h"
#include "agent/writers/hyperv_components.h"
#include "agent/writers/hyperv_writer.h"
#include "storage/base/status.h"

namespace umbra::writers {

VmRestore::VmRestore(std::unique_ptr<vss::Session> session, HypervWriter& writer, VmRestoreOptions options)
    : requester_(std::move(session), options.documents), writer_(writer), options_(std::move(options)) {}

VmRestore::~VmRestore() = default;

absl::Status VmRestore::PreRestore() {
  if (options_.configuration.empty() || options_.disk_paths.empty()) {
    return base::Error(absl::StatusCode::kInvalidArgument, "INVALID_REQUEST",
                       "a restore needs the configuration and a path for every disk");
  }
  RestoreOptions told;
  told.new_name = options_.new_name;
  told.vm_name = options_.vm_name;
  told.take_cluster_offline = options_.take_cluster_offline;
  told.configuration = options_.configuration;
  told.disk_paths = options_.disk_paths;
  RETURN_IF_ERROR(requester_.Gather());
  RETURN_IF_ERROR(requester_.Select({{ComponentIdOf(options_.vm_uuid), Print(told), {}}}));
  RETURN_IF_ERROR(CheckPlaces());  // before anything is touched
  return requester_.PreRestore();
}

// What is written to a new place replaces nothing.
absl::Status VmRestore::CheckPlaces() {
  if (!options_.new_name.empty()) return absl::OkStatus();
  const vss::ComponentId id = ComponentIdOf(options_.vm_uuid);
  vss::BackupComponents document = requester_.components();
  const vss::BackupComponent* selected = document.Find(id);
  for (const vss::WriterMetadata& saved : requester_.saved_metadata()) {
    const vss::Component* component = saved.writer_id == id.writer_id ? saved.Find(id.logical_path, id.name) : nullptr;
    if (component == nullptr || selected == nullptr) continue;
    vss::RestoreRequest request{saved, *component, *selected, {}};
    for (const vss::FileSet& file : component->files) {
      const std::string path = fmt::format("{}/{}", file.path, file.filespec);
      const auto& disks = options_.disk_paths;
      const bool back = std::any_of(disks.begin(), disks.end(), [&](const auto& disk) { return disk.second == path; });
      if (back) request.files.push_back(path);
    }
    ASSIGN_OR_RETURN(const vss::RestoreProbe probe, writer_.ProbeFor(options_.vm_uuid));
    for (const std::string& path : request.files) {
      if (probe.can_replace(path)) continue;
      return base::Error(absl::StatusCode::kFailedPrecondition, "DISK_IN_USE",
                         "{} can't be restored in place: another virtual machine uses {} now, which stays as it is; "
                         "choose a target folder",
                         options_.vm_name, path);
    }
    const absl::StatusOr<vss::RestorePlan> planned = vss::PlanRestore(writer_.filesystem(), request, probe);
    RETURN_IF_ERROR(base::Annotate(planned.status(), "{} can't be restored in place", options_.vm_name));
    const vss::RestorePlan& plan = *planned;
    const bool ours = !plan.reboot_required && plan.stop_service_before.empty() && plan.restart_service_after.empty() &&
                      plan.used_mappings.empty() && plan.files.size() == request.files.size();
    if (ours) continue;
    return base::Error(absl::StatusCode::kFailedPrecondition, "VSS_NOT_SUPPORTED",
                       "{}: its documents ask for a service, a restart of the host or another place for its files",
                       options_.vm_name);
  }
  return absl::OkStatus();
}

absl::Status VmRestore::FilesTakeNames(std::vector<journal::RestoredDisk> disks) {
  return writer_.FilesTakeNames(requester_.session_id(), std::move(disks));
}

absl::Status VmRestore::SetFilesRestored(vss::FileRestoreStatus status) {
  return requester_.SetFileRestoreStatus(ComponentIdOf(options_.vm_uuid), status);
}

absl::StatusOr<hypervisor::DefinedVm> VmRestore::PostRestore() {
  const absl::Status posted = requester_.PostRestore();
  for (ClusterOutcome& outcome : writer_.TakeClusterOutcomes(requester_.session_id())) {
    cluster_outcome_ = std::move(outcome);  // a restore has one virtual machine
  }
  RETURN_IF_ERROR(posted);
  return writer_.TakeRestored(requester_.session_id());
}

}  // namespace umbra::writers
