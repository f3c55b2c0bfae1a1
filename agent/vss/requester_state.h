// Which step of a backup or restore may follow which: one table, looked up by a pure function.
#ifndef UMBRA_AGENT_VSS_REQUESTER_STATE_H_
#define UMBRA_AGENT_VSS_REQUESTER_STATE_H_

#include <optional>
#include <string_view>

namespace umbra::vss {

enum class RequesterState {
  kNew,          // nothing was asked of anybody
  kGathered,     // writers are known
  kSelected,     // components are chosen
  kPrepared,     // backup: writers have seen PrepareForBackup; the creation lock is held
  kSnapshotted,  // backup: the set exists and its copies can be read
  kPreRestored,  // restore: files may be written
  kEnded,        // done, failed or aborted: nothing is held any more
};
inline constexpr int kRequesterStateCount = 7;

enum class RequesterStep {
  kGather,
  kSelect,
  kPrepare,
  kSnapshot,
  kSetBackupSucceeded,
  kDocuments,
  kComplete,
  kPreRestore,
  kSetFileRestoreStatus,
  kPostRestore,
  kAbort,
};
inline constexpr int kRequesterStepCount = 11;

std::string_view NameOf(RequesterState state);
std::string_view NameOf(RequesterStep step);

// The state after `step` succeeded in `state`; empty when the step doesn't belong there.
std::optional<RequesterState> NextState(RequesterState state, RequesterStep step);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_REQUESTER_STATE_H_
