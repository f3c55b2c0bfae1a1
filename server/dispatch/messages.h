// Between the link's messages and the catalog's records: pure functions. What an agent sends is not trusted: values that
// this version doesn't know become "unspecified", impossible numbers become 0, and what can't be stored is left out.
#ifndef UMBRA_SERVER_DISPATCH_MESSAGES_H_
#define UMBRA_SERVER_DISPATCH_MESSAGES_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/dispatch/assignment_table.h"
#include "server/jobs/job_engine.h"
#include "storage/catalog/records.h"
#include "umbra/agent/v1/agent_link.pb.h"

namespace umbra::dispatch {

AssignmentKey KeyOf(const agent::v1::AssignmentId& id);
void SetKey(const AssignmentKey& key, agent::v1::AssignmentId& id);

// What the table needs to know of `job`, which runs on `host`.
Assignment ToEntry(const catalog::Job& job, const catalog::HostId& host);

// `point` is the recovery point of a restore, with configuration and documents; not read for a backup.
agent::v1::DaemonMessage ToAssignmentMessage(const catalog::Job& job, const std::optional<catalog::RecoveryPoint>& point);
agent::v1::DaemonMessage ToWelcomeMessage(const catalog::HostId& host, const std::string& daemon_version,
                                          absl::Duration heartbeat_interval, absl::Duration lease_duration);
agent::v1::DaemonMessage ToCancelMessage(const AssignmentKey& key);
agent::v1::DaemonMessage ToAcknowledgement(const AssignmentKey& key);

jobs::EventFacts FromProgress(const catalog::HostId& host, const agent::v1::AssignmentProgress& message);
catalog::JobMessage FromMessage(const umbra::v1::JobMessage& message);
std::string TextOf(const agent::v1::AssignmentNote& note);

// The event that a result means, and its facts.
struct Outcome {
  jobs::JobEvent event;
  jobs::EventFacts facts;
};
Outcome FromResult(const catalog::HostId& host, const agent::v1::AssignmentResult& result);

// What a Hello changes in the host's row; the name stays the one it enrolled with.
void ApplyHello(const agent::v1::Hello& hello, catalog::Host& host);

struct InventoryRecords {
  std::vector<catalog::Vm> vms;
  std::vector<catalog::Writer> writers;
  std::vector<catalog::FileSet> file_sets;
  std::string error;  // not empty: the inventory couldn't be taken, and the lists are empty
  int dropped = 0;    // machines and file sets without a usable uuid or name, and repetitions
};
InventoryRecords FromInventory(const catalog::HostId& host, const agent::v1::Inventory& inventory, absl::Time now);

}  // namespace umbra::dispatch

#endif  // UMBRA_SERVER_DISPATCH_MESSAGES_H_
