#include "server/jobs/retry.h"

#include <algorithm>
#include <iterator>

namespace umbra::jobs {
namespace {

enum class Passes { kAfterBackoff, kAtOnce, kUnlessItStays };

struct Row {
  std::string_view reason;
  Passes passes;
};

// Everything else needs a person: a wrong request, something that is missing, damaged, forbidden or not supported.
constexpr Row kTable[] = {
    // The work was interrupted, and nothing was wrong with it.
    {"AGENT_LOST", Passes::kAtOnce},
    {"AGENT_RESTARTED", Passes::kAtOnce},
    {"DAEMON_RESTARTED", Passes::kAtOnce},
    {"SESSION_NOT_FOUND", Passes::kAtOnce},
    {"PEER_UNREACHABLE", Passes::kAtOnce},
    {"SERVER_STOPPING", Passes::kAtOnce},
    {"VM_BUSY", Passes::kAtOnce},  // the agent still puts an older attempt back
    // Writers and providers: retry later is what VSS itself advises, but for codes that say another attempt won't help.
    {"VSS_WRITER_FAILED", Passes::kUnlessItStays},
    {"VSS_PROVIDER_FAILED", Passes::kUnlessItStays},
    {"VSS_SNAPSHOT_SET_IN_PROGRESS", Passes::kAfterBackoff},
    {"VSS_TIMEOUT", Passes::kAfterBackoff},
    // The guest was busy, or changed its state meanwhile.
    {"GUEST_AGENT_NOT_RUNNING", Passes::kAfterBackoff},
    {"GUEST_FREEZE_TIMEOUT", Passes::kAfterBackoff},
    {"GUEST_FREEZE_FAILED", Passes::kAfterBackoff},
    {"GUEST_STOPPED", Passes::kAfterBackoff},
    {"GUEST_STARTED", Passes::kAfterBackoff},
    {"VM_HAS_FOREIGN_JOB", Passes::kAfterBackoff},
    // The host or its cluster was busy.
    {"HYPERVISOR_UNAVAILABLE", Passes::kAfterBackoff},
    {"HYPERVISOR_ERROR", Passes::kAfterBackoff},
    {"CLUSTER_UNAVAILABLE", Passes::kAfterBackoff},
    {"CLUSTER_TIMEOUT", Passes::kAfterBackoff},
    {"CLUSTER_RESOURCE_CHANGING", Passes::kAfterBackoff},
    {"COMMAND_TIMEOUT", Passes::kAfterBackoff},
    {"IO_ERROR", Passes::kAfterBackoff},
    // Somebody frees space, or a prune does.
    {"SCRATCH_FULL", Passes::kAfterBackoff},
    {"STORAGE_FULL", Passes::kAfterBackoff},
    {"SERVER_BUSY", Passes::kAfterBackoff},
};

}  // namespace

std::optional<absl::Duration> RetryWait(std::string_view reason, bool stays, absl::Duration backoff) {
  const auto* const row =
      std::find_if(std::begin(kTable), std::end(kTable), [&](const Row& r) { return r.reason == reason; });
  if (row == std::end(kTable)) return std::nullopt;
  if (row->passes == Passes::kUnlessItStays && stays) return std::nullopt;
  return row->passes == Passes::kAtOnce ? std::min(backoff, kInterruptedWait) : backoff;
}

}  // namespace umbra::jobs
