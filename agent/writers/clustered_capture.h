// Around a capture that stops its virtual machine: the cluster is told first (C2), and again when it runs as before.
#ifndef UMBRA_AGENT_WRITERS_CLUSTERED_CAPTURE_H_
#define UMBRA_AGENT_WRITERS_CLUSTERED_CAPTURE_H_

#include <memory>
#include <string>

#include "agent/cluster/cluster_hold.h"
#include "agent/writers/vm_capture.h"

namespace umbra::writers {

class ClusteredCapture final : public VmCapture {
 public:
  // Everything outlives it.
  ClusteredCapture(const cluster::ClusterTools& tools, std::string vm_uuid, std::string vm_name, std::string owner_tag,
                   std::unique_ptr<VmCapture> capture);
  // The cluster is left to healing when the virtual machine couldn't be put back.
  ~ClusteredCapture() override;

  // For a virtual machine that is a resource: a planned save begins. It may take some seconds, and the virtual machine
  // runs meanwhile. Errors: those of the cluster; without its answer nobody knows what it would make of a save.
  absl::Status Prepare(const vss::Guid& set_id) override;
  absl::Status Capture() override { return capture_->Capture(); }
  // The planned save ends when the virtual machine is back. What fails there is logged and left to healing.
  absl::Status AfterSnapshot() override;
  absl::Status Complete(bool succeeded) override { return capture_->Complete(succeeded); }
  CaptureFigures figures() const override { return capture_->figures(); }
  CapturedState state() const override { return capture_->state(); }
  bool stops_the_guest() const override { return capture_->stops_the_guest(); }

 private:
  const cluster::ClusterTools tools_;
  const std::string vm_uuid_, vm_name_, owner_tag_;
  hypervisor::VmState state_before_ = hypervisor::VmState::kUnknown;
  std::unique_ptr<cluster::ClusterHold> hold_;  // null for a virtual machine that is no resource
  std::unique_ptr<VmCapture> capture_;
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_CLUSTERED_CAPTURE_H_
