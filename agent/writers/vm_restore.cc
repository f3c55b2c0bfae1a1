#include "agent/writers/vm_restore.h"

#include <utility>

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
  return requester_.PreRestore();
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
