#include "agent/writers/clustered_capture.h"

#include <optional>
#include <utility>

#include "storage/base/status.h"

namespace umbra::writers {

ClusteredCapture::ClusteredCapture(const cluster::ClusterTools& tools, std::string vm_uuid, std::string vm_name,
                                   std::string owner_tag, std::unique_ptr<VmCapture> capture)
    : tools_(tools),
      vm_uuid_(std::move(vm_uuid)),
      vm_name_(std::move(vm_name)),
      owner_tag_(std::move(owner_tag)),
      capture_(std::move(capture)) {}

ClusteredCapture::~ClusteredCapture() {
  capture_.reset();  // first: it puts the virtual machine back while the cluster still looks away
  if (hold_ == nullptr) return;
  const auto vm = tools_.hypervisor.GetVm(vm_uuid_);
  if (vm.ok() && vm->state != state_before_) hold_->LeaveToHealing();
}

absl::Status ClusteredCapture::Prepare(const vss::Guid& set_id) {
  ASSIGN_OR_RETURN(const std::optional<cluster::ClusterResource> resource, tools_.service.FindVm(vm_uuid_, vm_name_));
  if (resource.has_value()) {
    ASSIGN_OR_RETURN(const hypervisor::VmInfo vm, tools_.hypervisor.GetVm(vm_uuid_));
    state_before_ = vm.state;
    ASSIGN_OR_RETURN(
        hold_, cluster::ClusterHold::Begin(tools_, cluster::DeedKind::kPlannedSave, *resource, vm_uuid_, owner_tag_));
  }
  return capture_->Prepare(set_id);
}

absl::Status ClusteredCapture::AfterSnapshot() {
  RETURN_IF_ERROR(capture_->AfterSnapshot());
  hold_.reset();
  return absl::OkStatus();
}

}  // namespace umbra::writers
