// The failover cluster of Linux hosts: Pacemaker, through its own tools (crm_mon, cibadmin, crm_resource), which run as
// child processes on this node. Virtual machines are resources of an agent named VirtualDomain.
//
// Which virtual machine a resource is, its parameter "config" says: the file of a libvirt domain, whose name and uuid
// are read. A file that isn't there or can't be read (it may lie on another node only) gives the name by its own:
// mail01.xml.
//
// A planned save is the resource's meta attribute maintenance=true: Pacemaker then neither starts nor stops it, and
// runs no monitor, so that there is nothing to see and no failure to remember. Offline is target-role=Stopped, and the
// wait for it. Each goes back to the value of before, or away. docs/adr/0010-planned-saves-in-pacemaker.md has the reasons.
//
// Thread-safe.
#ifndef UMBRA_AGENT_CLUSTER_PACEMAKER_PACEMAKER_CLUSTER_H_
#define UMBRA_AGENT_CLUSTER_PACEMAKER_PACEMAKER_CLUSTER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/cluster/cluster_service.h"
#include "agent/cluster/pacemaker/pacemaker_xml.h"
#include "storage/base/clock.h"
#include "storage/base/command.h"
#include "storage/base/filesystem.h"

namespace umbra::cluster {

struct PacemakerLimits {
  absl::Duration question = absl::Seconds(20);  // of one look or one changed setting; a healthy cluster takes 20 ms
  // Until nothing is under way in the cluster any more after a planned save was announced; a monitor that runs just
  // then ends in milliseconds, but another resource may be starting.
  absl::Duration settle = absl::Minutes(1);
  absl::Duration stop = absl::Minutes(5);  // VirtualDomain asks the guest to shut down, and waits for it
  absl::Duration start = absl::Minutes(3);
  absl::Duration poll = absl::Milliseconds(250);  // between two looks while it stops or starts
};

class PacemakerCluster final : public ClusterService {
 public:
  PacemakerCluster(base::CommandRunner& commands, base::Filesystem& files, base::Clock& clock,
                   PacemakerLimits limits = {});

  absl::StatusOr<std::string> Describe() override;
  absl::StatusOr<std::vector<ClusterResource>> ListResources() override;
  absl::StatusOr<Deed> Plan(DeedKind kind, const std::string& resource) override;
  absl::Status Begin(const Deed& deed) override;
  absl::Status End(const Deed& deed) override;

 private:
  // Runs a tool of Pacemaker and gives its output.
  absl::StatusOr<std::string> Ask(std::vector<std::string> arguments, absl::Duration timeout);
  absl::StatusOr<PacemakerStatus> Status();
  absl::StatusOr<std::vector<PacemakerPrimitive>> Primitives();
  absl::StatusOr<PacemakerPrimitive> Find(const std::string& resource);
  absl::StatusOr<PacemakerResourceStatus> StatusOf(const std::string& resource);
  ClusterResource Describe(const PacemakerPrimitive& primitive, const PacemakerStatus& status);
  DomainIdentity IdentityOf(const PacemakerPrimitive& primitive);
  // An empty `value` takes the setting away.
  absl::Status Set(const PacemakerPrimitive& primitive, const std::string& name, const std::string& value);
  absl::Status AwaitSettled(const std::string& resource);
  absl::Status AwaitStopped(const std::string& resource);
  absl::Status AwaitStarted(const std::string& resource);
  // Looks every `limits_.poll` until `done` says yes or fails. CLUSTER_TIMEOUT after `limit`.
  absl::Status Await(const std::string& resource, absl::Duration limit, std::string_view what,
                     const std::function<absl::StatusOr<bool>(const PacemakerResourceStatus&)>& done);

  base::CommandRunner& commands_;
  base::Filesystem& files_;
  base::Clock& clock_;
  const PacemakerLimits limits_;
};

}  // namespace umbra::cluster

#endif  // UMBRA_AGENT_CLUSTER_PACEMAKER_PACEMAKER_CLUSTER_H_
