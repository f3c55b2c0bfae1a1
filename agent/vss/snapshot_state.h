// States of a snapshot set while the coordinator makes it: one table, looked up by a pure function.
//
// Usable: only kCreated. Everything before is thrown away by a restart, together with whatever the provider left.
#ifndef UMBRA_AGENT_VSS_SNAPSHOT_STATE_H_
#define UMBRA_AGENT_VSS_SNAPSHOT_STATE_H_

#include <optional>
#include <string_view>

#include "agent/vss/types.h"

namespace umbra::vss {

enum class SnapshotEvent {
  kStart,       // StartSnapshotSet
  kAddVolume,   // AddToSnapshotSet: BeginPrepareSnapshot
  kEndPrepare,  // DoSnapshotSet: from here on no volume can be added
  kPreCommit,
  kCommit,
  kPostCommit,
  kPreFinalCommit,
  kPostFinalCommit,
  kDone,    // the providers finished what the state names
  kAbort,   // a provider failed, or the requester gave up
  kDelete,  // DeleteSnapshots
};
inline constexpr int kSnapshotEventCount = 11;

std::string_view NameOf(SnapshotEvent event);

// The next state; empty when the event is refused in this one (kBadState).
std::optional<SnapshotState> NextState(SnapshotState state, SnapshotEvent event);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_SNAPSHOT_STATE_H_
