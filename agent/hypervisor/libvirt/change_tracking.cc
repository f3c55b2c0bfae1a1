#include "agent/hypervisor/libvirt/change_tracking.h"

#include <algorithm>

#include "absl/cleanup/cleanup.h"
#include "agent/hypervisor/libvirt/domain_xml.h"
#include "storage/base/log.h"
#include "storage/base/status.h"

namespace umbra::hypervisor {
namespace {

using absl::StatusCode;

struct CheckpointDeleter {
  void operator()(virDomainCheckpointPtr c) const { virDomainCheckpointFree(c); }
};
using CheckpointPtr = std::unique_ptr<virDomainCheckpoint, CheckpointDeleter>;

// Null when there is none of the name.
absl::StatusOr<CheckpointPtr> FindCheckpoint(virDomainPtr domain, const std::string& name) {
  CheckpointPtr found(virDomainCheckpointLookupByName(domain, name.c_str(), 0));
  if (found == nullptr && LastErrorCode() != VIR_ERR_NO_DOMAIN_CHECKPOINT) return LibvirtError("look for a checkpoint");
  return found;
}

// Disks that the domain's checkpoint `name` covers; empty when it isn't there.
absl::StatusOr<std::vector<std::string>> CoveredDisks(virDomainPtr domain, const std::string& name) {
  if (name.empty()) return std::vector<std::string>();
  ASSIGN_OR_RETURN(const CheckpointPtr checkpoint, FindCheckpoint(domain, name));
  if (checkpoint == nullptr) return std::vector<std::string>();
  const CString xml(virDomainCheckpointGetXMLDesc(checkpoint.get(), VIR_DOMAIN_CHECKPOINT_XML_NO_DOMAIN));
  if (xml == nullptr) return LibvirtError("describe a checkpoint");
  return CheckpointDisks(xml.get());
}

// True when it is gone; false when it must stay until the domain runs.
absl::StatusOr<bool> DeleteCheckpoint(virDomainPtr domain, virDomainCheckpointPtr checkpoint) {
  if (virDomainCheckpointDelete(checkpoint, 0) == 0 || LastErrorCode() == VIR_ERR_NO_DOMAIN_CHECKPOINT) return true;
  // libvirt 9 deletes bitmaps through a running QEMU only.
  if (virDomainIsActive(domain) == 0) return false;
  const absl::Status error = LibvirtError("delete a checkpoint");
  // The bitmaps are broken or gone already: what is left is libvirt's own note.
  if (virDomainCheckpointDelete(checkpoint, VIR_DOMAIN_CHECKPOINT_DELETE_METADATA_ONLY) == 0) return true;
  return error;
}

}  // namespace

absl::StatusOr<std::vector<DiskTracking>> LookAtTracking(const PullBackupEnvironment& env, virDomainPtr domain,
                                                         const std::vector<Disk>& disks, const Checkpoint& base) {
  ASSIGN_OR_RETURN(const std::vector<std::string> covered, CoveredDisks(domain, base.name));
  std::vector<DiskTracking> result;
  for (const Disk& disk : disks) {
    DiskTracking tracking;
    const auto identity = env.files.IdentityOf(disk.path);
    tracking.disk = {disk.name, fmt::format("{}#{}", disk.path, identity.value_or("")), disk.capacity_bytes};
    tracking.trackable = disk.format == "qcow2" && identity.ok() && disk.capacity_bytes > 0;
    if (!tracking.trackable) {
      tracking.since_base = base::Error(StatusCode::kFailedPrecondition, "CBT_UNSUPPORTED",
                                        "QEMU can't keep track of changes in an image of the format {}", disk.format);
    } else {
      tracking.since_base = CheckTracked(base, tracking.disk);
    }
    if (tracking.since_base.ok() && std::find(covered.begin(), covered.end(), disk.name) == covered.end()) {
      tracking.since_base = base::Error(StatusCode::kFailedPrecondition, "CBT_CHECKPOINT_MISSING",
                                        "libvirt has no checkpoint {} of it any more", base.name);
    }
    result.push_back(std::move(tracking));
  }
  return result;
}

void RemoveForgottenBitmaps(virDomainPtr domain, const std::string& live_xml, const Checkpoint& checkpoint) {
  std::vector<std::string> disks;
  for (const TrackedDisk& disk : checkpoint.disks) disks.push_back(disk.name);
  const auto xml = RedefinedCheckpointXml(live_xml, checkpoint.name, disks);
  if (!xml.ok()) return;  // a disk is gone by now
  // Validated: without the bitmaps libvirt refuses, and nothing is left over.
  const unsigned int flags = VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE | VIR_DOMAIN_CHECKPOINT_CREATE_REDEFINE_VALIDATE;
  const CheckpointPtr known(virDomainCheckpointCreateXML(domain, xml->c_str(), flags));
  if (known == nullptr) return;
  const auto deleted = DeleteCheckpoint(domain, known.get());
  base::Log("hypervisor")
      ->info("bitmaps of a forgotten checkpoint vm={} checkpoint={} result=\"{}\"", virDomainGetName(domain),
             checkpoint.name, base::Describe(deleted.status()));
}

absl::StatusOr<CleanUpReport> RemoveDomainCheckpoints(const PullBackupEnvironment& env, const std::string& uuid,
                                                      const std::string& keep) {
  CleanUpReport report;
  const auto domain = env.connection.Find(uuid);
  if (absl::IsNotFound(domain.status())) return report;
  RETURN_IF_ERROR(domain.status());
  virDomainCheckpointPtr* checkpoints = nullptr;
  const int count = virDomainListAllCheckpoints(domain->get(), &checkpoints, 0);
  if (count < 0) return LibvirtError("list checkpoints");
  const absl::Cleanup free_checkpoints = [&] {
    for (int i = 0; i < count; ++i) virDomainCheckpointFree(checkpoints[i]);
    std::free(checkpoints);
  };
  for (int i = 0; i < count; ++i) {
    const std::string name = virDomainCheckpointGetName(checkpoints[i]);
    if (!name.starts_with(kCheckpointPrefix) || name == keep) continue;
    ASSIGN_OR_RETURN(const bool gone, DeleteCheckpoint(domain->get(), checkpoints[i]));
    report.actions.push_back(gone ? "removed checkpoint " + name
                                  : fmt::format("checkpoint {} stays until the virtual machine runs", name));
  }
  return report;
}

}  // namespace umbra::hypervisor
