// A restore of virtual machines that are resources of a failover cluster (C3): refused while one is online, or, on
// request, taken offline first and brought back after, on every path.
#ifndef UMBRA_AGENT_WRITERS_CLUSTERED_RESTORE_H_
#define UMBRA_AGENT_WRITERS_CLUSTERED_RESTORE_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "agent/cluster/cluster_hold.h"

namespace umbra::writers {

// What became of a resource.
struct ClusterOutcome {
  std::string vm_uuid;
  std::string resource;
  bool taken_offline = false;  // by this restore; it was offline already otherwise
  bool online = false;         // now
  absl::Status brought_back;   // an error: it was ours to bring back and is not yet; healing keeps at it
};

// Of one restore. One thread at a time.
class ClusteredRestore {
 public:
  // `tools` is null on a host without a cluster: then every call is OK and does nothing. Else it outlives this.
  ClusteredRestore(const cluster::ClusterTools* tools, std::string owner_tag);

  // Looks only; call it for every virtual machine before anything is touched.
  // Errors: FAILED_PRECONDITION / CLUSTER_RESOURCE_ONLINE unless `may_take_offline`; those of the cluster.
  absl::Status Check(const std::string& vm_uuid, const std::string& vm_name, bool may_take_offline);
  // A new virtual machine must not get the name of one that the cluster may start: ALREADY_EXISTS / VM_EXISTS. A
  // cluster that doesn't answer is no reason to refuse it: it touches nothing of the cluster's.
  absl::Status CheckNewName(const std::string& name);
  // Takes those offline that Check found online. After an error all are brought back.
  absl::Status TakeOffline();
  // The registration of this virtual machine is deleted next.
  absl::Status BeforeDelete(const std::string& vm_uuid);
  // The restore is over, well or not: brings back what was taken offline, also by an earlier restore that failed, if
  // the virtual machine is registered.
  std::vector<ClusterOutcome> End();

 private:
  struct Vm {
    std::string uuid;
    cluster::ClusterResource resource;
    std::unique_ptr<cluster::ClusterHold> hold;  // null: it was offline already
  };

  const cluster::ClusterTools* const tools_;
  const std::string owner_tag_;
  std::vector<Vm> vms_;  // only those that are resources
};

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_CLUSTERED_RESTORE_H_
