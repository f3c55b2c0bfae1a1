// What the requester tells the Hyper-V writer about a component: the text of SetBackupOptions and SetRestoreOptions,
// and the writer's own backup metadata. Text form: key=value pairs joined by ';', values percent-encoded.
#ifndef UMBRA_AGENT_WRITERS_COMPONENT_OPTIONS_H_
#define UMBRA_AGENT_WRITERS_COMPONENT_OPTIONS_H_

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "agent/hypervisor/hypervisor.h"
#include "agent/writers/mechanism.h"

namespace umbra::writers {

struct BackupOptions {
  MechanismPolicy mechanism;
  absl::Duration freeze_timeout;  // zero: the writer's default; whole microseconds
  std::string owner_tag;
  hypervisor::Checkpoint base;  // that changes are asked for

  friend bool operator==(const BackupOptions&, const BackupOptions&) = default;
};

struct RestoreOptions {
  std::string new_name;       // empty: in place
  std::string configuration;  // the hypervisor's own description
  std::vector<std::pair<std::string, std::string>> disk_paths;
  std::string vm_name;  // at backup time
  bool take_cluster_offline = false;

  friend bool operator==(const RestoreOptions&, const RestoreOptions&) = default;
};

// What the recovery point's document remembers of a virtual machine (backup metadata).
struct BackupFacts {
  std::string mechanism;  // NameOf(BackupMechanism)
  std::string mechanism_reason;
  std::vector<Obstacle> obstacles;                              // all of them
  absl::Duration freeze_duration;                               // whole microseconds
  absl::Duration downtime;                                      // whole microseconds
  uint64_t state_bytes = 0;                                     // of the saved memory; 0: none
  absl::Time point_time;                                        // whole microseconds
  std::vector<std::pair<std::string, std::string>> disk_paths;  // at backup time
  std::vector<hypervisor::OwnCheckpoint> checkpoints;           // parents before their children; whole seconds

  friend bool operator==(const BackupFacts&, const BackupFacts&) = default;
};

std::string Print(const BackupOptions& options);
std::string Print(const RestoreOptions& options);
std::string Print(const BackupFacts& facts);

// Unknown keys are ignored. INVALID_ARGUMENT / INVALID_REQUEST.
absl::StatusOr<BackupOptions> ParseBackupOptions(std::string_view text);
absl::StatusOr<RestoreOptions> ParseRestoreOptions(std::string_view text);
absl::StatusOr<BackupFacts> ParseBackupFacts(std::string_view text);

}  // namespace umbra::writers

#endif  // UMBRA_AGENT_WRITERS_COMPONENT_OPTIONS_H_
