// One deed of the cluster with an ending: written down first, begun, and ended on every path.
#ifndef UMBRA_AGENT_CLUSTER_CLUSTER_HOLD_H_
#define UMBRA_AGENT_CLUSTER_CLUSTER_HOLD_H_

#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/cluster/cluster_service.h"
#include "agent/cluster/deed_journal.h"
#include "agent/hypervisor/hypervisor.h"

namespace umbra::cluster {

// What holds work with; outlives them.
struct ClusterTools {
  ClusterService& service;
  DeedJournal& journal;
  hypervisor::Hypervisor& hypervisor;
};

// Threads: one at a time. Its calls block as those of the service do.
class ClusterHold {
 public:
  // Ends what earlier work left (its setting would be taken for the state of before), plans, records, begins. On an
  // error everything is as it was, or is left to healing when that wasn't possible.
  static absl::StatusOr<std::unique_ptr<ClusterHold>> Begin(const ClusterTools& tools, DeedKind kind,
                                                            const ClusterResource& resource, const std::string& vm_uuid,
                                                            const std::string& owner_tag);
  // Ends it; what fails is logged and left to healing.
  ~ClusterHold();
  ClusterHold(const ClusterHold&) = delete;
  ClusterHold& operator=(const ClusterHold&) = delete;

  // The virtual machine's registration is going to be deleted; durable on OK. From now on the resource is brought back
  // only when the hypervisor has the virtual machine again: a cluster that starts what isn't there, or what was
  // restored by half, does harm.
  absl::Status VmWillBeDeleted();

  // Ends the deed. Call it once; the destructor does nothing then.
  // Errors: those of the service; FAILED_PRECONDITION / CLUSTER_RESOURCE_OFFLINE the resource stays offline, because
  // the virtual machine isn't registered; healing brings it back when it is.
  absl::Status End();
  // Instead of End: the virtual machine isn't as it was, so the cluster must not look yet.
  void LeaveToHealing();

  const std::string& resource() const { return entry_.deed.resource; }

 private:
  ClusterHold(const ClusterTools& tools, JournalEntry entry) : tools_(tools), entry_(std::move(entry)) {}

  const ClusterTools tools_;
  JournalEntry entry_;
  bool ended_ = false;
};

struct ClusterHealReport {
  std::vector<JournalEntry> healed;
  struct Open {
    JournalEntry entry;
    absl::Status why;
  };
  std::vector<Open> open;            // still to be healed: call HealCluster again later
  std::vector<std::string> damaged;  // entries that can't be read: a person must look
};

// Ends the deeds that earlier work of this process or its predecessors left for this virtual machine, if there are any.
// Gives the first error of a deed that couldn't be ended, as ClusterHold::End does.
absl::Status EndLeftOver(const ClusterTools& tools, const std::string& vm_uuid);

// Ends the deeds of `left`, which DeedJournal::ListLeft gave, but for those of the virtual machines in `not_yet`, which
// aren't as they were. Tries each once; safe to repeat. List before the virtual machines are healed: what is left to
// healing after that waits for the next time, together with its virtual machine.
ClusterHealReport HealCluster(const ClusterTools& tools, JournalList left,
                              const absl::flat_hash_set<std::string>& not_yet);

}  // namespace umbra::cluster

#endif  // UMBRA_AGENT_CLUSTER_CLUSTER_HOLD_H_
