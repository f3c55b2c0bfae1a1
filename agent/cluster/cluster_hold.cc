#include "agent/cluster/cluster_hold.h"

#include <utility>

#include "agent/cluster/crash_points.h"
#include "storage/base/crash_point.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::cluster {
namespace {

// Ends the deed and forgets the entry. The entry stays, no longer live, when that isn't possible now.
absl::Status Settle(const ClusterTools& tools, const JournalEntry& entry) {
  absl::Status status;
  if (entry.vm_deleted) {
    status = tools.hypervisor.GetVm(entry.vm_uuid).status();
    if (absl::IsNotFound(status)) {
      status = base::Error(absl::StatusCode::kFailedPrecondition, "CLUSTER_RESOURCE_OFFLINE",
                           "the cluster's resource {} stays offline until its virtual machine is registered again: "
                           "restore it again, and it comes back by itself",
                           entry.deed.resource);
    }
  }
  if (status.ok()) status = tools.service.End(entry.deed);
  if (!status.ok()) {
    tools.journal.Abandon(entry);
    return status;
  }
  base::CrashPoint(kCrashClusterEnded);
  return tools.journal.Remove(entry);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ClusterHold>> ClusterHold::Begin(const ClusterTools& tools, DeedKind kind,
                                                                const ClusterResource& resource,
                                                                const std::string& vm_uuid,
                                                                const std::string& owner_tag) {
  RETURN_IF_ERROR(EndLeftOver(tools, vm_uuid));
  ASSIGN_OR_RETURN(Deed deed, tools.service.Plan(kind, resource.id));
  // The destructor ends what is begun by half.
  std::unique_ptr<ClusterHold> hold(new ClusterHold(tools, {std::move(deed), vm_uuid, owner_tag}));
  const JournalEntry& entry = hold->entry_;
  if (absl::Status recorded = tools.journal.Record(entry); !recorded.ok()) {
    hold->ended_ = true;  // nothing was asked of the cluster
    return recorded;
  }
  base::CrashPoint(kCrashClusterRecorded);
  RETURN_IF_ERROR(
      base::Annotate(tools.service.Begin(entry.deed), "{} of the cluster's resource {}", NameOf(kind), resource.id));
  base::CrashPoint(kCrashClusterBegun);
  base::Log("cluster")->info("cluster told vm={} resource={} deed={}", vm_uuid, resource.id, NameOf(kind));
  return hold;
}

ClusterHold::~ClusterHold() {
  if (ended_) return;
  if (const absl::Status ended = End(); !ended.ok()) {
    base::Log("cluster")->error("cluster not told of the end vm={} resource={} deed={} error=\"{}\"", entry_.vm_uuid,
                                entry_.deed.resource, NameOf(entry_.deed.kind), base::Describe(ended));
  }
}

absl::Status ClusterHold::VmWillBeDeleted() {
  entry_.vm_deleted = true;
  absl::Status recorded = tools_.journal.Record(entry_);
  if (!recorded.ok()) entry_.vm_deleted = false;  // the caller doesn't delete then
  return recorded;
}

absl::Status ClusterHold::End() {
  ended_ = true;
  RETURN_IF_ERROR(Settle(tools_, entry_));
  base::Log("cluster")->info("cluster told of the end vm={} resource={} deed={}", entry_.vm_uuid, entry_.deed.resource,
                             NameOf(entry_.deed.kind));
  return absl::OkStatus();
}

void ClusterHold::LeaveToHealing() {
  ended_ = true;
  tools_.journal.Abandon(entry_);
}

absl::Status EndLeftOver(const ClusterTools& tools, const std::string& vm_uuid) {
  ASSIGN_OR_RETURN(const JournalList left, tools.journal.ListLeft());
  absl::Status first;
  for (const JournalEntry& entry : left.entries) {
    if (entry.vm_uuid == vm_uuid) first.Update(Settle(tools, entry));
  }
  return first;
}

ClusterHealReport HealCluster(const ClusterTools& tools, JournalList left,
                              const absl::flat_hash_set<std::string>& not_yet) {
  ClusterHealReport report;
  report.damaged = std::move(left.damaged);
  for (JournalEntry& entry : left.entries) {
    absl::Status settled =
        not_yet.contains(entry.vm_uuid)
            ? base::Error(absl::StatusCode::kFailedPrecondition, "VM_BUSY", "{} is not as it was yet", entry.vm_uuid)
            : Settle(tools, entry);
    if (settled.ok()) {
      report.healed.push_back(std::move(entry));
    } else {
      report.open.push_back({std::move(entry), std::move(settled)});
    }
  }
  return report;
}

}  // namespace umbra::cluster
