// Policies as plain structs. Meaning and units as in umbra.v1.Policy; enum values are stored and never renumbered.
#ifndef UMBRA_STORAGE_CATALOG_POLICY_RECORDS_H_
#define UMBRA_STORAGE_CATALOG_POLICY_RECORDS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "storage/catalog/hooks.h"
#include "storage/catalog/ids.h"
#include "storage/catalog/labels.h"

namespace umbra::catalog {

enum class PolicyGrouping { kVirtualMachine = 1, kHost = 2 };

struct PolicySelection {
  std::vector<VmKey> members;
  std::vector<HostId> hosts;
  std::string expression;
  bool everything_else = false;
  std::string exclude;

  bool operator==(const PolicySelection&) const = default;
};

struct PolicyRetention {
  int32_t last = 0;
  int32_t hourly = 0;
  int32_t daily = 0;
  int32_t weekly = 0;
  int32_t monthly = 0;
  int32_t yearly = 0;
  absl::Duration within;

  bool operator==(const PolicyRetention&) const = default;
};

struct Policy {
  PolicyId id;
  std::string description;
  PolicySelection selection;
  std::vector<std::string> schedules;
  std::string time_zone;
  std::vector<std::string> windows;
  std::vector<std::string> closed;
  absl::Duration spread;
  bool skip_missed = false;
  RepositoryId repository;  // never empty: filled in by who writes
  bool child_snapshot_only = false;
  bool forbid_saved_state = false;
  bool allow_crash_consistent = false;
  absl::Duration freeze_timeout;
  PolicyGrouping grouping = PolicyGrouping::kVirtualMachine;
  int32_t retries_max = 0;
  absl::Duration retry_backoff;
  int32_t priority = 0;
  int64_t upload_bytes_per_second = 0;
  int32_t jobs_max = 0;
  int32_t host_jobs_max = 0;
  int32_t weight = 1;
  BackupHooks hooks;
  PolicyRetention retention;
  absl::Duration rpo;
  bool paused = false;
  absl::Time create_time;
  absl::Time update_time;
  absl::Time done_time;  // every due time up to this one is done with
  std::optional<absl::Time> last_due_time;
  std::optional<absl::Time> last_run_time;
  int64_t revision = 0;  // rises with every change of what it says; set by the store
};

// What a selection looks at: a virtual machine or a file set of the inventory, or of a recovery point.
struct Subject {
  VmKey key;
  std::string display_name;
  std::string host_name;
  Labels labels = {};  // its own, and those of its host whose keys aren't among its own
};

}  // namespace umbra::catalog

#endif  // UMBRA_STORAGE_CATALOG_POLICY_RECORDS_H_
