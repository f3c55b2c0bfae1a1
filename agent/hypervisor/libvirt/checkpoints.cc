#include "agent/hypervisor/libvirt/checkpoints.h"

#include <cstdlib>
#include <memory>

#include "absl/cleanup/cleanup.h"
#include "agent/hypervisor/libvirt/connection.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

struct SnapshotDeleter {
  void operator()(virDomainSnapshotPtr s) const { virDomainSnapshotFree(s); }
};

}  // namespace

absl::StatusOr<std::vector<CheckpointXml>> ReadCheckpoints(virDomainPtr domain) {
  virDomainSnapshotPtr* snapshots = nullptr;
  const int count = virDomainListAllSnapshots(domain, &snapshots, VIR_DOMAIN_SNAPSHOT_LIST_TOPOLOGICAL);
  if (count < 0) return LibvirtError("list the snapshots");
  const absl::Cleanup free_snapshots = [&] {
    for (int i = 0; i < count; ++i) virDomainSnapshotFree(snapshots[i]);
    std::free(snapshots);
  };
  std::vector<CheckpointXml> all;
  for (int i = 0; i < count; ++i) {
    const CString xml(virDomainSnapshotGetXMLDesc(snapshots[i], VIR_DOMAIN_SNAPSHOT_XML_SECURE));
    if (xml == nullptr && LastErrorCode() == VIR_ERR_NO_DOMAIN_SNAPSHOT) continue;
    if (xml == nullptr) return LibvirtError("describe a snapshot");
    all.push_back({xml.get(), virDomainSnapshotIsCurrent(snapshots[i], 0) == 1});
  }
  return all;
}

void DescribeCheckpoints(virDomainPtr domain, const std::vector<CheckpointXml>& checkpoints) {
  for (const CheckpointXml& checkpoint : checkpoints) {
    unsigned int flags = VIR_DOMAIN_SNAPSHOT_CREATE_REDEFINE;
    if (checkpoint.current) flags |= VIR_DOMAIN_SNAPSHOT_CREATE_CURRENT;
    if (IsDiskOnly(checkpoint.xml)) flags |= VIR_DOMAIN_SNAPSHOT_CREATE_DISK_ONLY;
    const std::unique_ptr<virDomainSnapshot, SnapshotDeleter> snapshot(
        virDomainSnapshotCreateXML(domain, checkpoint.xml.c_str(), flags));
    if (snapshot != nullptr) continue;
    base::Log("hypervisor")
        ->warn("checkpoint not described again vm={} error=\"{}\"", virDomainGetName(domain), LastErrorText());
  }
}

}  // namespace umbra::hypervisor
