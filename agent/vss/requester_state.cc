#include "agent/vss/requester_state.h"

#include <array>

namespace umbra::vss {
namespace {

using S = RequesterState;
constexpr std::optional<RequesterState> kNo = std::nullopt;

// clang-format off
constexpr std::array<std::array<std::optional<RequesterState>, kRequesterStepCount>, kRequesterStateCount> kTable = {{
    // gather        select        prepare       snapshot         succeeded        documents        complete   pre-restore       file status       post-restore  abort
    {S::kGathered,   kNo,          kNo,          kNo,             kNo,             kNo,             kNo,       kNo,              kNo,              kNo,          S::kEnded},  // new
    {kNo,            S::kSelected, kNo,          kNo,             kNo,             kNo,             kNo,       kNo,              kNo,              kNo,          S::kEnded},  // gathered
    {kNo,            kNo,          S::kPrepared, kNo,             kNo,             kNo,             kNo,       S::kPreRestored,  kNo,              kNo,          S::kEnded},  // selected
    {kNo,            kNo,          kNo,          S::kSnapshotted, kNo,             kNo,             kNo,       kNo,              kNo,              kNo,          S::kEnded},  // prepared
    {kNo,            kNo,          kNo,          kNo,             S::kSnapshotted, S::kSnapshotted, S::kEnded, kNo,              kNo,              kNo,          S::kEnded},  // snapshotted
    {kNo,            kNo,          kNo,          kNo,             kNo,             kNo,             kNo,       kNo,              S::kPreRestored,  S::kEnded,    S::kEnded},  // pre-restored
    {kNo,            kNo,          kNo,          kNo,             kNo,             kNo,             kNo,       kNo,              kNo,              kNo,          S::kEnded},  // ended
}};
// clang-format on

constexpr std::array<std::string_view, kRequesterStateCount> kStateNames = {
    "NEW", "GATHERED", "SELECTED", "PREPARED", "SNAPSHOTTED", "PRE_RESTORED", "ENDED",
};
constexpr std::array<std::string_view, kRequesterStepCount> kStepNames = {
    "Gather",
    "Select",
    "Prepare",
    "Snapshot",
    "SetBackupSucceeded",
    "Documents",
    "Complete",
    "PreRestore",
    "SetFileRestoreStatus",
    "PostRestore",
    "Abort",
};

}  // namespace

std::string_view NameOf(RequesterState state) {
  return kStateNames[static_cast<size_t>(state)];
}
std::string_view NameOf(RequesterStep step) {
  return kStepNames[static_cast<size_t>(step)];
}

std::optional<RequesterState> NextState(RequesterState state, RequesterStep step) {
  return kTable[static_cast<size_t>(state)][static_cast<size_t>(step)];
}

}  // namespace umbra::vss
