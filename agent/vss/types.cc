#include "agent/vss/types.h"

namespace umbra::vss {
namespace {

template <size_t N>
std::string Format(const std::array<uint8_t, 16>& bytes, const char (&digits)[N]) {
  std::string text;
  text.reserve(36);
  for (size_t i = 0; i < bytes.size(); ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) text += '-';
    text += digits[bytes[i] >> 4];
    text += digits[bytes[i] & 15];
  }
  return text;
}

template <typename Enum, size_t N>
std::string_view Pick(const std::string_view (&names)[N], Enum value) {
  const int index = static_cast<int>(value);
  return index >= 0 && index < static_cast<int>(N) ? names[index] : "UNKNOWN";
}

constexpr std::string_view kWriterStateNames[] = {
    "UNKNOWN",
    "STABLE",
    "WAITING_FOR_FREEZE",
    "WAITING_FOR_THAW",
    "WAITING_FOR_POST_SNAPSHOT",
    "WAITING_FOR_BACKUP_COMPLETE",
    "FAILED_AT_IDENTIFY",
    "FAILED_AT_PREPARE_BACKUP",
    "FAILED_AT_PREPARE_SNAPSHOT",
    "FAILED_AT_FREEZE",
    "FAILED_AT_THAW",
    "FAILED_AT_POST_SNAPSHOT",
    "FAILED_AT_BACKUP_COMPLETE",
    "FAILED_AT_PRE_RESTORE",
    "FAILED_AT_POST_RESTORE",
    "FAILED_AT_BACKUPSHUTDOWN",
};
static_assert(std::size(kWriterStateNames) == kWriterStateCount);

constexpr std::string_view kSnapshotStateNames[] = {
    "UNKNOWN",
    "PREPARING",
    "PROCESSING_PREPARE",
    "PREPARED",
    "PROCESSING_PRECOMMIT",
    "PRECOMMITTED",
    "PROCESSING_COMMIT",
    "COMMITTED",
    "PROCESSING_POSTCOMMIT",
    "PROCESSING_PREFINALCOMMIT",
    "PREFINALCOMMITTED",
    "PROCESSING_POSTFINALCOMMIT",
    "CREATED",
    "ABORTED",
    "DELETED",
    "POSTCOMMITTED",
};
static_assert(std::size(kSnapshotStateNames) == kSnapshotStateCount);

constexpr std::string_view kFileRestoreStatusNames[] = {"VSS_RS_UNDEFINED", "VSS_RS_NONE", "VSS_RS_ALL",
                                                        "VSS_RS_FAILED"};

}  // namespace

std::string Guid::ToString() const {
  return Format(bytes_, "0123456789abcdef");
}
std::string Guid::ToUpperString() const {
  return Format(bytes_, "0123456789ABCDEF");
}

std::string_view NameOf(WriterState state) {
  return Pick(kWriterStateNames, state);
}
std::string_view NameOf(SnapshotState state) {
  return Pick(kSnapshotStateNames, state);
}
std::string_view NameOf(FileRestoreStatus status) {
  return Pick(kFileRestoreStatusNames, status);
}

}  // namespace umbra::vss
