// Named points at which tests kill the agent (base::CrashPoint), in the order of a backup and of a restore. After each
// of them a restarted agent must bring everything back.
#ifndef UMBRA_AGENT_JOURNAL_CRASH_POINTS_H_
#define UMBRA_AGENT_JOURNAL_CRASH_POINTS_H_

#include <string_view>

namespace umbra::journal {

// Backup.
inline constexpr std::string_view kCrashIntentRecorded = "agent.intent_recorded";  // nothing done to the VM yet
inline constexpr std::string_view kCrashBeforeFreeze = "agent.before_freeze";      // the view is prepared
inline constexpr std::string_view kCrashFrozen = "agent.frozen";
inline constexpr std::string_view kCrashSnapshotTaken = "agent.snapshot_taken";  // still frozen
inline constexpr std::string_view kCrashThawed = "agent.thawed";
inline constexpr std::string_view kCrashSetMade = "agent.set_made";  // the disks can be read
inline constexpr std::string_view kCrashBeforeComplete = "agent.before_complete";
inline constexpr std::string_view kCrashViewClosed = "agent.view_closed";  // its intent is still there
// Backup by saved state. kCrashSuspended is reached inside the hypervisor's drivers.
inline constexpr std::string_view kCrashSaveRecorded = "agent.save.recorded";  // nothing done to the VM yet
inline constexpr std::string_view kCrashSuspended = "agent.save.suspended";    // it stands still, nothing is saved
inline constexpr std::string_view kCrashSaved = "agent.save.saved";            // it stands still, its memory is on disk
inline constexpr std::string_view kCrashReturned = "agent.save.returned";      // it goes on; its intent doesn't know
inline constexpr std::string_view kCrashStateRemoved = "agent.save.removed";   // its intent is still there

// Restore.
inline constexpr std::string_view kCrashBeforeDelete = "agent.before_delete";
inline constexpr std::string_view kCrashDeleted = "agent.deleted";
inline constexpr std::string_view kCrashBeforeDefine = "agent.before_define";
inline constexpr std::string_view kCrashDefined = "agent.defined";

inline constexpr std::string_view kCrashPoints[] = {
    kCrashIntentRecorded, kCrashBeforeFreeze, kCrashFrozen,       kCrashSnapshotTaken, kCrashThawed,  kCrashSetMade,
    kCrashBeforeComplete, kCrashViewClosed,   kCrashSaveRecorded, kCrashSuspended,     kCrashSaved,   kCrashReturned,
    kCrashStateRemoved,   kCrashBeforeDelete, kCrashDeleted,      kCrashBeforeDefine,  kCrashDefined,
};

}  // namespace umbra::journal

#endif  // UMBRA_AGENT_JOURNAL_CRASH_POINTS_H_
