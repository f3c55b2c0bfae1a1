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
  told.configuration = options_.configuration;
  told.disk_paths = options_.disk_paths;
  RETURN_IF_ERROR(requester_.Gather());
  RETURN_IF_ERROR(requester_.Select({{ComponentIdOf(options_.vm_uuid), Print(told), {}}}));
  return requester_.PreRestore();
}

absl::Status VmRestore::SetFilesRestored(vss::FileRestoreStatus status) {
  return requester_.SetFileRestoreStatus(ComponentIdOf(options_.vm_uuid), status);
}

absl::StatusOr<hypervisor::DefinedVm> VmRestore::PostRestore() {
  RETURN_IF_ERROR(requester_.PostRestore());
  return writer_.TakeRestored(requester_.session_id());
}

}  // namespace umbra::writers
