// Ids, enumerations and bit masks of VSS with the numeric values of Microsoft's headers, in host-neutral types.
//
// Values are part of saved documents: they are never renumbered.
// Source: vss.h, vsbackup.h, vswriter.h, vsprov.h (mingw-w64 10.0) and Microsoft's VSS reference pages.
#ifndef UMBRA_AGENT_VSS_TYPES_H_
#define UMBRA_AGENT_VSS_TYPES_H_

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

namespace umbra::vss {

// A GUID. Text form: lower case, no braces; parsing takes any case, with or without braces.
class Guid {
 public:
  constexpr Guid() = default;  // all zero: "none"

  static constexpr std::optional<Guid> Parse(std::string_view text);
  // For constants in the source; a malformed one gives the zero GUID (types_test checks them).
  static constexpr Guid Literal(std::string_view text) { return Parse(text).value_or(Guid()); }

  std::string ToString() const;
  std::string ToUpperString() const;
  constexpr bool is_null() const { return *this == Guid(); }

  friend constexpr bool operator==(const Guid&, const Guid&) = default;
  friend constexpr auto operator<=>(const Guid&, const Guid&) = default;
  template <typename H>
  friend H AbslHashValue(H h, const Guid& guid) {
    return H::combine(std::move(h), guid.bytes_);
  }

 private:
  std::array<uint8_t, 16> bytes_{};
};

// VSS_WRITER_STATE. Both kStable and kWaitingForBackupComplete mean "ready for the next backup".
enum class WriterState : int {
  kUnknown = 0,
  kStable = 1,
  kWaitingForFreeze = 2,
  kWaitingForThaw = 3,
  kWaitingForPostSnapshot = 4,
  kWaitingForBackupComplete = 5,
  kFailedAtIdentify = 6,
  kFailedAtPrepareBackup = 7,
  kFailedAtPrepareSnapshot = 8,
  kFailedAtFreeze = 9,
  kFailedAtThaw = 10,
  kFailedAtPostSnapshot = 11,
  kFailedAtBackupComplete = 12,
  kFailedAtPreRestore = 13,
  kFailedAtPostRestore = 14,
  kFailedAtBackupShutdown = 15,
};
inline constexpr int kWriterStateCount = 16;

// VSS_SNAPSHOT_STATE. kPostCommitted is out of order in the original too.
enum class SnapshotState : int {
  kUnknown = 0,
  kPreparing = 1,
  kProcessingPrepare = 2,
  kPrepared = 3,
  kProcessingPreCommit = 4,
  kPreCommitted = 5,
  kProcessingCommit = 6,
  kCommitted = 7,
  kProcessingPostCommit = 8,
  kProcessingPreFinalCommit = 9,
  kPreFinalCommitted = 10,
  kProcessingPostFinalCommit = 11,
  kCreated = 12,
  kAborted = 13,
  kDeleted = 14,
  kPostCommitted = 15,
};
inline constexpr int kSnapshotStateCount = 16;

enum class BackupType : int {
  kUndefined = 0,
  kFull = 1,
  kIncremental = 2,
  kDifferential = 3,
  kLog = 4,
  kCopy = 5,
  kOther = 6,
};

enum class RestoreType : int { kUndefined = 0, kByCopy = 1, kImport = 2, kOther = 3 };  // undefined counts as by copy

enum class UsageType : int { kUndefined = 0, kBootableSystemState = 1, kSystemService = 2, kUserData = 3, kOther = 4 };

enum class SourceType : int { kUndefined = 0, kTransactedDb = 1, kNonTransactedDb = 2, kOther = 3 };

enum class ComponentType : int { kUndefined = 0, kDatabase = 1, kFileGroup = 2 };

enum class RestoreMethod : int {
  kUndefined = 0,  // no RESTORE_METHOD in the document
  kRestoreIfNotThere = 1,
  kRestoreIfCanReplace = 2,
  kStopRestoreStart = 3,
  kRestoreToAlternateLocation = 4,
  kRestoreAtReboot = 5,
  kRestoreAtRebootIfCannotReplace = 6,
  kCustom = 7,
  kRestoreStopStart = 8,
};

// Whether the writer takes part in a restore (VSS_WRITERRESTORE_ENUM).
enum class WriterRestore : int { kUndefined = 0, kNever = 1, kIfReplaceFails = 2, kAlways = 3 };

enum class RestoreTarget : int { kUndefined = 0, kOriginal = 1, kAlternate = 2, kDirected = 3, kOriginalLocation = 4 };

// VSS_FILE_RESTORE_STATUS, told by the requester between PreRestore and PostRestore.
enum class FileRestoreStatus : int {
  kUndefined = 0,
  kNone = 1,    // VSS_RS_NONE: nothing was restored
  kAll = 2,     // VSS_RS_ALL: everything was restored
  kFailed = 3,  // VSS_RS_FAILED: some of it was restored
};

// VSS_APPLICATION_LEVEL: order of Freeze (front end first, system last); Thaw goes the other way.
enum class ApplicationLevel : int {
  kUnknown = 0,
  kSystem = 1,
  kBackEnd = 2,
  kFrontEnd = 3,
  kSystemRm = 4,
  kAuto = -1,
};

enum class ProviderType : int { kUnknown = 0, kSystem = 1, kSoftware = 2, kHardware = 3, kFileShare = 4 };

enum class RollForwardType : int { kUndefined = 0, kNone = 1, kAll = 2, kPartial = 3 };

// VSS_COMPONENT_FLAGS.
inline constexpr uint32_t kComponentBackupRecovery = 0x1;
inline constexpr uint32_t kComponentAppRollbackRecovery = 0x2;
inline constexpr uint32_t kComponentNotSystemState = 0x4;

// VSS_BACKUP_SCHEMA: what a writer supports.
inline constexpr uint32_t kSchemaDifferential = 0x1;
inline constexpr uint32_t kSchemaIncremental = 0x2;
inline constexpr uint32_t kSchemaExclusiveIncrementalDifferential = 0x4;
inline constexpr uint32_t kSchemaLog = 0x8;
inline constexpr uint32_t kSchemaCopy = 0x10;
inline constexpr uint32_t kSchemaTimestamped = 0x20;
inline constexpr uint32_t kSchemaLastModify = 0x40;
inline constexpr uint32_t kSchemaLsn = 0x80;
inline constexpr uint32_t kSchemaNewTarget = 0x100;
inline constexpr uint32_t kSchemaRestoreWithMove = 0x200;
inline constexpr uint32_t kSchemaIndependentSystemState = 0x400;
inline constexpr uint32_t kSchemaRollForwardRestore = 0x1000;
inline constexpr uint32_t kSchemaRestoreRename = 0x2000;
inline constexpr uint32_t kSchemaAuthoritativeRestore = 0x4000;
inline constexpr uint32_t kSchemaParallelRestores = 0x8000;

// VSS_FILE_SPEC_BACKUP_TYPE: per backup type "copy it" (low bits) and "copy it from the snapshot" (bits 8 to 11).
inline constexpr uint32_t kFileSpecFullBackupRequired = 0x1;
inline constexpr uint32_t kFileSpecDifferentialBackupRequired = 0x2;
inline constexpr uint32_t kFileSpecIncrementalBackupRequired = 0x4;
inline constexpr uint32_t kFileSpecLogBackupRequired = 0x8;
inline constexpr uint32_t kFileSpecFullSnapshotRequired = 0x100;
inline constexpr uint32_t kFileSpecDifferentialSnapshotRequired = 0x200;
inline constexpr uint32_t kFileSpecIncrementalSnapshotRequired = 0x400;
inline constexpr uint32_t kFileSpecLogSnapshotRequired = 0x800;
inline constexpr uint32_t kFileSpecCreatedDuringBackup = 0x10000;
inline constexpr uint32_t kFileSpecDefault = 0xF0F;

// VSS_VOLUME_SNAPSHOT_ATTRIBUTES: bits of a context and of a snapshot.
inline constexpr uint32_t kAttrPersistent = 0x1;
inline constexpr uint32_t kAttrNoAutoRecovery = 0x2;
inline constexpr uint32_t kAttrClientAccessible = 0x4;
inline constexpr uint32_t kAttrNoAutoRelease = 0x8;
inline constexpr uint32_t kAttrNoWriters = 0x10;
inline constexpr uint32_t kAttrTransportable = 0x20;
inline constexpr uint32_t kAttrNotSurfaced = 0x40;
inline constexpr uint32_t kAttrNotTransacted = 0x80;
inline constexpr uint32_t kAttrHardwareAssisted = 0x10000;
inline constexpr uint32_t kAttrDifferential = 0x20000;
inline constexpr uint32_t kAttrPlex = 0x40000;
inline constexpr uint32_t kAttrImported = 0x80000;
inline constexpr uint32_t kAttrExposedLocally = 0x100000;
inline constexpr uint32_t kAttrExposedRemotely = 0x200000;
inline constexpr uint32_t kAttrAutoRecover = 0x400000;
inline constexpr uint32_t kAttrRollbackRecovery = 0x800000;
inline constexpr uint32_t kAttrDelayedPostSnapshot = 0x1000000;
inline constexpr uint32_t kAttrTxfRecovery = 0x2000000;
inline constexpr uint32_t kAttrFileShare = 0x4000000;

inline constexpr uint32_t kContextBackup = 0x0;
inline constexpr uint32_t kContextFileShareBackup = 0x10;
inline constexpr uint32_t kContextNasRollback = 0x19;
inline constexpr uint32_t kContextAppRollback = 0x9;
inline constexpr uint32_t kContextClientAccessible = 0x1D;
inline constexpr uint32_t kContextClientAccessibleWriters = 0xD;

// VSS_S_*: how an asynchronous step of Windows is doing. No errors, so they are no Code.
inline constexpr uint32_t kAsyncPending = 0x00042309;
inline constexpr uint32_t kAsyncFinished = 0x0004230A;
inline constexpr uint32_t kAsyncCancelled = 0x0004230B;
inline constexpr uint32_t kSomeSnapshotsNotImported = 0x00042321;

// More volumes than this in one set: VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED.
inline constexpr int kMaxVolumesPerSet = 64;

// What a requester says about a backup before PrepareForBackup (SetBackupState).
struct BackupState {
  bool select_components = true;  // component mode: only writers with a chosen component get events after Identify
  bool bootable_system_state = false;
  BackupType type = BackupType::kFull;
  bool partial_file_support = false;
};

// Names a component over all instances of its writer's class.
struct ComponentId {
  Guid writer_id;
  std::string logical_path;  // elements joined by '\'; empty at the root
  std::string name;          // no '\'

  friend bool operator==(const ComponentId&, const ComponentId&) = default;
};

// "STABLE", "WAITING_FOR_FREEZE" ...: the Microsoft name without its prefix.
std::string_view NameOf(WriterState state);
std::string_view NameOf(SnapshotState state);
std::string_view NameOf(FileRestoreStatus status);

constexpr std::optional<Guid> Guid::Parse(std::string_view text) {
  if (text.size() == 38 && text.front() == '{' && text.back() == '}') text = text.substr(1, 36);
  if (text.size() != 36) return std::nullopt;
  Guid guid;
  size_t nibbles = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (i == 8 || i == 13 || i == 18 || i == 23) {
      if (c != '-') return std::nullopt;
      continue;
    }
    int value = -1;
    if (c >= '0' && c <= '9') value = c - '0';
    if (c >= 'a' && c <= 'f') value = c - 'a' + 10;
    if (c >= 'A' && c <= 'F') value = c - 'A' + 10;
    if (value < 0) return std::nullopt;
    uint8_t& byte = guid.bytes_[nibbles / 2];
    byte = static_cast<uint8_t>(byte << 4 | value);
    ++nibbles;
  }
  return guid;
}

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_TYPES_H_
