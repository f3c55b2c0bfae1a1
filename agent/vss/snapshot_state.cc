#include "agent/vss/snapshot_state.h"

#include <array>

namespace umbra::vss {
namespace {

using S = SnapshotState;
using Row = std::array<std::optional<SnapshotState>, kSnapshotEventCount>;

constexpr std::optional<SnapshotState> kNo = std::nullopt;  // refused

// A set that dies is kAborted; nothing leads out of it, and aborting it again changes nothing.
// clang-format off
constexpr std::array<Row, kSnapshotStateCount> kTable = {{
    // start         add volume     end prepare            pre-commit                commit                post-commit                pre-final-commit                post-final-commit                 done                  abort         delete
    {S::kPreparing,  kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              kNo,                  kNo,          kNo},          // unknown
    {kNo,            S::kPreparing, S::kProcessingPrepare, kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              kNo,                  S::kAborted,  kNo},          // preparing
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              S::kPrepared,         S::kAborted,  kNo},          // processing prepare
    {kNo,            kNo,           kNo,                   S::kProcessingPreCommit,  kNo,                  kNo,                       kNo,                            kNo,                              kNo,                  S::kAborted,  kNo},          // prepared
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              S::kPreCommitted,     S::kAborted,  kNo},          // processing pre-commit
    {kNo,            kNo,           kNo,                   kNo,                      S::kProcessingCommit, kNo,                       kNo,                            kNo,                              kNo,                  S::kAborted,  kNo},          // pre-committed
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              S::kCommitted,        S::kAborted,  kNo},          // processing commit
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  S::kProcessingPostCommit,  kNo,                            kNo,                              kNo,                  S::kAborted,  kNo},          // committed
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              S::kPostCommitted,    S::kAborted,  kNo},          // processing post-commit
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              S::kPreFinalCommitted,S::kAborted,  kNo},          // processing pre-final-commit
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            S::kProcessingPostFinalCommit,    kNo,                  S::kAborted,  kNo},          // pre-final-committed
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              S::kCreated,          S::kAborted,  kNo},          // processing post-final-commit
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              kNo,                  kNo,          S::kDeleted},  // created
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              kNo,                  S::kAborted,  kNo},          // aborted
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       kNo,                            kNo,                              kNo,                  kNo,          S::kDeleted},  // deleted
    {kNo,            kNo,           kNo,                   kNo,                      kNo,                  kNo,                       S::kProcessingPreFinalCommit,   kNo,                              kNo,                  S::kAborted,  kNo},          // post-committed
}};
// clang-format on

constexpr std::array<std::string_view, kSnapshotEventCount> kEventNames = {
    "Start",          "AddVolume",       "EndPrepare", "PreCommit", "Commit", "PostCommit",
    "PreFinalCommit", "PostFinalCommit", "Done",       "Abort",     "Delete",
};

}  // namespace

std::string_view NameOf(SnapshotEvent event) {
  return kEventNames[static_cast<size_t>(event)];
}

std::optional<SnapshotState> NextState(SnapshotState state, SnapshotEvent event) {
  return kTable[static_cast<size_t>(state)][static_cast<size_t>(event)];
}

}  // namespace umbra::vss
