// The agent's structs as messages.
#ifndef UMBRA_AGENT_RUNNER_CONVERT_H_
#define UMBRA_AGENT_RUNNER_CONVERT_H_

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "agent/transfer/progress_meter.h"
#include "agent/vss/requester.h"
#include "agent/vss/writer.h"
#include "agent/writers/mechanism.h"
#include "agent/writers/vm_backup.h"
#include "agent/writers/vss_host.h"
#include "umbra/agent/v1/agent_link.pb.h"
#include "umbra/store/v1/store.pb.h"
#include "umbra/v1/common.pb.h"
#include "umbra/v1/job.pb.h"

namespace umbra::runner {

// What a virtual machine's saved memory is called among the disks of its recovery point: no disk's target has a dot.
inline constexpr char kMemoryStateName[] = "memory.state";

google::protobuf::Duration ToProto(absl::Duration duration);
google::protobuf::Timestamp ToProto(absl::Time time);
absl::Duration FromProto(const google::protobuf::Duration& duration);

v1::JobProgress ToProto(const transfer::TransferFigures& figures);
v1::BackupMechanism ToProto(writers::BackupMechanism mechanism);
v1::VirtualMachine ToProto(const writers::VmDescription& description);
v1::Writer ToProto(const vss::WriterStatus& writer);
// Adds those of `writers` that were frozen, and keeps all in the order in which they were; `vm_uuid`: in whose guest,
// empty for the host's.
void AddFrozenWriters(const std::vector<vss::WriterStatus>& writers, const std::string& vm_uuid,
                      agent::v1::AssignmentResult* result);

// A status without a reason becomes INTERNAL, but for a cancelled one.
v1::JobMessage ToJobMessage(const absl::Status& status);

// How the disks of one virtual machine were read, by name.
struct DiskReadOfBackup {
  transfer::DiskRead read;
  std::string base_recovery_point_id;  // empty: read whole
};
using DiskReads = std::map<std::string, DiskReadOfBackup>;

hypervisor::Checkpoint FromProto(const store::v1::ChangeTracking& tracking);
store::v1::ChangeTracking ToProto(const hypervisor::Checkpoint& checkpoint);

// One recovery point of a snapshot set; `documents` are those of the set.
store::v1::Manifest ToManifest(const writers::VmSnapshot& snapshot, const vss::BackupDocuments& documents,
                               const DiskReads& reads, uint64_t read_bytes);

// The VSS documents of the whole set.
void AddVssDocuments(const vss::BackupDocuments& documents, store::v1::Manifest& manifest);

v1::FileSet ToProto(const writers::FileSet& set);

// The VSS documents of the recovery point that is to be restored.
vss::BackupDocuments ToBackupDocuments(const agent::v1::RestoreAssignment& work);

}  // namespace umbra::runner

#endif  // UMBRA_AGENT_RUNNER_CONVERT_H_
