#include "agent/vss/writer.h"

#include <array>

namespace umbra::vss {
namespace {

constexpr std::array<std::string_view, kWriterEventCount> kEventNames = {
    "Identify",       "PrepareBackup",  "PrepareSnapshot", "Freeze",     "Thaw",        "PostSnapshot",
    "BackupComplete", "BackupShutdown", "Abort",           "PreRestore", "PostRestore", "FreezeTimer",
};

}  // namespace

std::string_view NameOf(WriterEvent event) {
  return kEventNames[static_cast<size_t>(event)];
}

absl::Duration WriterLimits::Of(WriterEvent event) const {
  switch (event) {
    case WriterEvent::kIdentify:
      return identify;
    case WriterEvent::kPrepareBackup:
      return prepare_backup;
    case WriterEvent::kPrepareSnapshot:
      return prepare_snapshot;
    case WriterEvent::kFreeze:
    case WriterEvent::kThaw:
    case WriterEvent::kFreezeTimer:
      return freeze;
    case WriterEvent::kPostSnapshot:
      return post_snapshot;
    case WriterEvent::kBackupComplete:
      return backup_complete;
    case WriterEvent::kBackupShutdown:
      return backup_shutdown;
    case WriterEvent::kAbort:
      return abort;
    case WriterEvent::kPreRestore:
      return pre_restore;
    case WriterEvent::kPostRestore:
      return post_restore;
  }
  return absl::ZeroDuration();
}

}  // namespace umbra::vss
