#include "agent/vss/writer_state.h"

#include <array>

namespace umbra::vss {
namespace {

using S = WriterState;
using E = WriterEvent;

// A writer that failed at PrepareBackup or later gets only Abort and BackupShutdown; its failure stays to be read.
// Source: vss.h (VSS_WRITER_STATE) and the pages of the events; where an Abort and a BackupShutdown lead is ours.
struct Row {
  E event;
  std::array<bool, kWriterStateCount> from;  // by state number; false: the event isn't delivered
  S ok;                                      // kUnknown: the state stays as it is
  S failed;
};

// clang-format off
constexpr Row kTable[] = {
    //                       unknown stable  wFrz   wThaw  wPost  wCompl fId    fPBck  fPSnp  fFrz   fThaw  fPost  fCompl fPreR  fPostR fShut
    {E::kIdentify,         {{false,  true,  false, false, false, true,  true,  true,  true,  true,  true,  true,  true,  true,  true,  true}},  S::kUnknown,                  S::kFailedAtIdentify},
    {E::kPrepareBackup,    {{false,  true,  false, false, false, true,  false, false, false, false, false, false, false, false, false, false}}, S::kStable,                   S::kFailedAtPrepareBackup},
    {E::kPrepareSnapshot,  {{false,  true,  false, false, false, false, false, false, false, false, false, false, false, false, false, false}}, S::kWaitingForFreeze,         S::kFailedAtPrepareSnapshot},
    {E::kFreeze,           {{false,  false, true,  false, false, false, false, false, false, false, false, false, false, false, false, false}}, S::kWaitingForThaw,           S::kFailedAtFreeze},
    {E::kThaw,             {{false,  false, false, true,  false, false, false, false, false, false, false, false, false, false, false, false}}, S::kWaitingForPostSnapshot,   S::kFailedAtThaw},
    {E::kPostSnapshot,     {{false,  false, false, false, true,  false, false, false, false, false, false, false, false, false, false, false}}, S::kWaitingForBackupComplete, S::kFailedAtPostSnapshot},
    // Stable: a backup that needed no snapshot.
    {E::kBackupComplete,   {{false,  true,  false, false, false, true,  false, false, false, false, false, false, false, false, false, false}}, S::kStable,                   S::kFailedAtBackupComplete},
    // Ends the session; a failure that it already has wins over one of the shutdown.
    {E::kBackupShutdown,   {{false,  true,  true,  true,  true,  true,  false, true,  true,  true,  true,  true,  true,  false, false, true}},  S::kStable,                   S::kFailedAtBackupShutdown},
    // Never after PostSnapshot.
    {E::kAbort,            {{false,  true,  true,  true,  true,  false, false, true,  true,  true,  true,  false, false, false, false, false}}, S::kStable,                   S::kStable},
    {E::kPreRestore,       {{false,  true,  false, false, false, true,  false, false, false, false, false, false, false, false, false, false}}, S::kStable,                   S::kFailedAtPreRestore},
    {E::kPostRestore,      {{false,  true,  false, false, false, false, false, false, false, false, false, false, false, false, false, false}}, S::kStable,                   S::kFailedAtPostRestore},
    // Only a failure: while it freezes, or while it is frozen.
    {E::kFreezeTimer,      {{false,  false, true,  true,  false, false, false, false, false, false, false, false, false, false, false, false}}, S::kFailedAtFreeze,           S::kFailedAtFreeze},
};
// clang-format on
static_assert(std::size(kTable) == kWriterEventCount);

}  // namespace

bool HasFailed(WriterState state) {
  return state >= WriterState::kFailedAtIdentify && state <= WriterState::kFailedAtBackupShutdown;
}

std::optional<WriterState> NextState(WriterState state, WriterEvent event, bool ok) {
  const Row& row = kTable[static_cast<size_t>(event)];
  if (!row.from[static_cast<size_t>(state)]) return std::nullopt;
  if (event == E::kIdentify) return ok ? state : row.failed;
  if (HasFailed(state)) return state;  // the first failure is the one to be read
  return ok ? row.ok : row.failed;
}

}  // namespace umbra::vss
