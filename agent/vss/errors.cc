#include "agent/vss/errors.h"

#include <algorithm>
#include <charconv>
#include <iterator>

#include "absl/strings/cord.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

constexpr char kCodeUrl[] = "umbra/vss-code";

using S = absl::StatusCode;

constexpr std::string_view kWriter = "VSS_WRITER_FAILED";
constexpr std::string_view kProvider = "VSS_PROVIDER_FAILED";
constexpr std::string_view kBadState = "VSS_BAD_STATE";
constexpr std::string_view kNotFound = "VSS_OBJECT_NOT_FOUND";
constexpr std::string_view kDocument = "VSS_DOCUMENT_INVALID";
constexpr std::string_view kLimit = "VSS_LIMIT_REACHED";
constexpr std::string_view kTimeout = "VSS_TIMEOUT";
constexpr std::string_view kUnsupported = "VSS_NOT_SUPPORTED";
constexpr std::string_view kInternal = "INTERNAL";

// By number.
constexpr CodeInfo kCodes[] = {
    {Code::kBadState, "VSS_E_BAD_STATE", S::kFailedPrecondition, kBadState, false, "calls in the wrong order"},
    {Code::kUnexpected, "VSS_E_UNEXPECTED", S::kInternal, kInternal, false, "look at the event log"},
    {Code::kProviderAlreadyRegistered, "VSS_E_PROVIDER_ALREADY_REGISTERED", S::kAlreadyExists, kProvider, false,
     "set-up of the provider"},
    {Code::kProviderNotRegistered, "VSS_E_PROVIDER_NOT_REGISTERED", S::kNotFound, kProvider, false,
     "set-up of the provider"},
    {Code::kProviderVeto, "VSS_E_PROVIDER_VETO", S::kUnavailable, kProvider, true, "look at the provider's log"},
    {Code::kProviderInUse, "VSS_E_PROVIDER_IN_USE", S::kUnavailable, kProvider, true, "try later"},
    {Code::kObjectNotFound, "VSS_E_OBJECT_NOT_FOUND", S::kNotFound, kNotFound, false,
     "no such snapshot, volume, component or writer"},
    {Code::kVolumeNotSupported, "VSS_E_VOLUME_NOT_SUPPORTED", S::kFailedPrecondition, kUnsupported, false,
     "no provider supports the volume"},
    {Code::kObjectAlreadyExists, "VSS_E_OBJECT_ALREADY_EXISTS", S::kAlreadyExists, kBadState, false, "added twice"},
    {Code::kVolumeNotSupportedByProvider, "VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER", S::kFailedPrecondition,
     kUnsupported, false, "choose another provider"},
    {Code::kUnexpectedProviderError, "VSS_E_UNEXPECTED_PROVIDER_ERROR", S::kUnavailable, kProvider, true,
     "look at the provider's log"},
    {Code::kCorruptXmlDocument, "VSS_E_CORRUPT_XML_DOCUMENT", S::kInvalidArgument, kDocument, false,
     "the saved document is damaged"},
    {Code::kInvalidXmlDocument, "VSS_E_INVALID_XML_DOCUMENT", S::kInvalidArgument, kDocument, false,
     "the document isn't the expected one"},
    {Code::kMaximumNumberOfVolumesReached, "VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED", S::kResourceExhausted, kLimit,
     false, "at most 64 volumes in one set: split it"},
    {Code::kFlushWritesTimeout, "VSS_E_FLUSH_WRITES_TIMEOUT", S::kUnavailable, kTimeout, true,
     "too much input and output: choose a quieter time"},
    {Code::kHoldWritesTimeout, "VSS_E_HOLD_WRITES_TIMEOUT", S::kUnavailable, kTimeout, true,
     "too much input and output: choose a quieter time"},
    {Code::kUnexpectedWriterError, "VSS_E_UNEXPECTED_WRITER_ERROR", S::kInternal, kWriter, false,
     "look at the writer's log"},
    {Code::kSnapshotSetInProgress, "VSS_E_SNAPSHOT_SET_IN_PROGRESS", S::kUnavailable, "VSS_SNAPSHOT_SET_IN_PROGRESS",
     true, "another snapshot set is being made: wait for it"},
    {Code::kMaximumNumberOfSnapshotsReached, "VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED", S::kResourceExhausted, kLimit,
     false, "delete old snapshots"},
    {Code::kWriterInfrastructure, "VSS_E_WRITER_INFRASTRUCTURE", S::kInternal, kWriter, false,
     "the event system is broken"},
    {Code::kWriterNotResponding, "VSS_E_WRITER_NOT_RESPONDING", S::kUnavailable, kWriter, true,
     "restart the writer's service"},
    {Code::kWriterAlreadySubscribed, "VSS_E_WRITER_ALREADY_SUBSCRIBED", S::kAlreadyExists, kWriter, false,
     "the writer subscribed twice"},
    {Code::kUnsupportedContext, "VSS_E_UNSUPPORTED_CONTEXT", S::kInvalidArgument, kUnsupported, false,
     "choose a simpler context"},
    {Code::kVolumeInUse, "VSS_E_VOLUME_IN_USE", S::kUnavailable, kProvider, true, "close what uses the volume"},
    {Code::kMaximumDiffAreaAssociationsReached, "VSS_E_MAXIMUM_DIFFAREA_ASSOCIATIONS_REACHED", S::kResourceExhausted,
     kLimit, false, "move the storage of differences"},
    {Code::kInsufficientStorage, "VSS_E_INSUFFICIENT_STORAGE", S::kResourceExhausted, "SCRATCH_FULL", false,
     "free space for the snapshots"},
    {Code::kNoSnapshotsImported, "VSS_E_NO_SNAPSHOTS_IMPORTED", S::kNotFound, kProvider, false, "nothing was imported"},
    {Code::kSomeSnapshotsNotImported, "VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED", S::kFailedPrecondition, kProvider, false,
     "some snapshots were not imported"},
    {Code::kMaximumNumberOfRemoteMachinesReached, "VSS_E_MAXIMUM_NUMBER_OF_REMOTE_MACHINES_REACHED",
     S::kResourceExhausted, kLimit, false, "too many remote machines"},
    {Code::kRemoteServerUnavailable, "VSS_E_REMOTE_SERVER_UNAVAILABLE", S::kUnavailable, kProvider, true,
     "the remote server doesn't answer"},
    {Code::kRemoteServerUnsupported, "VSS_E_REMOTE_SERVER_UNSUPPORTED", S::kFailedPrecondition, kUnsupported, false,
     "the remote server can't do it"},
    {Code::kRevertInProgress, "VSS_E_REVERT_IN_PROGRESS", S::kUnavailable, kProvider, true, "a revert is running"},
    {Code::kRevertVolumeLost, "VSS_E_REVERT_VOLUME_LOST", S::kDataLoss, kProvider, false, "the volume was lost"},
    {Code::kRebootRequired, "VSS_E_REBOOT_REQUIRED", S::kFailedPrecondition, kProvider, false, "restart the host"},
    {Code::kTransactionFreezeTimeout, "VSS_E_TRANSACTION_FREEZE_TIMEOUT", S::kUnavailable, kTimeout, true,
     "transactions didn't come to rest: try later"},
    {Code::kTransactionThawTimeout, "VSS_E_TRANSACTION_THAW_TIMEOUT", S::kUnavailable, kTimeout, true, "try later"},
    {Code::kUnselectedVolume, "VSS_E_UNSELECTED_VOLUME", S::kFailedPrecondition, kBadState, false,
     "the volume isn't selected"},
    {Code::kSnapshotNotInSet, "VSS_E_SNAPSHOT_NOT_IN_SET", S::kNotFound, kNotFound, false,
     "the snapshot isn't in the set"},
    {Code::kNestedVolumeLimit, "VSS_E_NESTED_VOLUME_LIMIT", S::kFailedPrecondition, kLimit, false,
     "virtual disks are nested too deep"},
    {Code::kVolumeNotLocal, "VSS_E_VOLUME_NOT_LOCAL", S::kFailedPrecondition, kUnsupported, false,
     "run it on the node that owns the volume"},
    {Code::kClusterTimeout, "VSS_E_CLUSTER_TIMEOUT", S::kUnavailable, kTimeout, true, "look at the cluster"},
    {Code::kNotSupported, "VSS_E_NOT_SUPPORTED", S::kUnimplemented, kUnsupported, false, "not supported"},
    {Code::kWriterErrorPartialFailure, "VSS_E_WRITERERROR_PARTIAL_FAILURE", S::kFailedPrecondition, kWriter, false,
     "some components failed: see each"},
    {Code::kWriterErrorInconsistentSnapshot, "VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT", S::kFailedPrecondition, kWriter,
     false, "the set lacks a volume that the writer's data needs"},
    {Code::kWriterErrorOutOfResources, "VSS_E_WRITERERROR_OUTOFRESOURCES", S::kResourceExhausted, kWriter, true,
     "try at a quieter time"},
    {Code::kWriterErrorTimeout, "VSS_E_WRITERERROR_TIMEOUT", S::kDeadlineExceeded, kWriter, true,
     "the writer took too long: try at a quieter time"},
    {Code::kWriterErrorRetryable, "VSS_E_WRITERERROR_RETRYABLE", S::kUnavailable, kWriter, true,
     "try again; after three failures restart the writer's service"},
    {Code::kWriterErrorNonRetryable, "VSS_E_WRITERERROR_NONRETRYABLE", S::kFailedPrecondition, kWriter, false,
     "look at the writer's log; trying again won't help"},
    {Code::kWriterErrorRecoveryFailed, "VSS_E_WRITERERROR_RECOVERY_FAILED", S::kFailedPrecondition, kWriter, false,
     "recovery inside the copy failed"},
    {Code::kBreakRevertIdFailed, "VSS_E_BREAK_REVERT_ID_FAILED", S::kInternal, kProvider, false,
     "disk ids not reverted"},
    {Code::kLegacyProvider, "VSS_E_LEGACY_PROVIDER", S::kFailedPrecondition, kUnsupported, false,
     "the provider is too old"},
    {Code::kMissingDisk, "VSS_E_MISSING_DISK", S::kNotFound, kProvider, false, "a disk is missing"},
    {Code::kMissingHiddenVolume, "VSS_E_MISSING_HIDDEN_VOLUME", S::kNotFound, kProvider, false,
     "a hidden volume is missing"},
    {Code::kMissingVolume, "VSS_E_MISSING_VOLUME", S::kNotFound, kProvider, false, "a volume is missing"},
    {Code::kAutoRecoveryFailed, "VSS_E_AUTORECOVERY_FAILED", S::kFailedPrecondition, kProvider, false,
     "the copy wasn't recovered"},
    {Code::kDynamicDiskError, "VSS_E_DYNAMIC_DISK_ERROR", S::kFailedPrecondition, kProvider, false,
     "dynamic disks failed"},
    {Code::kNonTransportableBcd, "VSS_E_NONTRANSPORTABLE_BCD", S::kInvalidArgument, kDocument, false,
     "the document isn't of a transportable set"},
    {Code::kCannotRevertDiskId, "VSS_E_CANNOT_REVERT_DISKID", S::kFailedPrecondition, kProvider, false,
     "disk ids not reverted"},
    {Code::kResyncInProgress, "VSS_E_RESYNC_IN_PROGRESS", S::kUnavailable, kProvider, true, "wait for the resync"},
    {Code::kClusterError, "VSS_E_CLUSTER_ERROR", S::kFailedPrecondition, kProvider, false, "look at the cluster"},
    {Code::kAsrDiskAssignmentFailed, "VSS_E_ASRERROR_DISK_ASSIGNMENT_FAILED", S::kFailedPrecondition, kUnsupported,
     false, "bare-metal recovery: disks could not be assigned"},
    {Code::kAsrDiskRecreationFailed, "VSS_E_ASRERROR_DISK_RECREATION_FAILED", S::kFailedPrecondition, kUnsupported,
     false, "bare-metal recovery: disks could not be made again"},
    {Code::kAsrNoArcPath, "VSS_E_ASRERROR_NO_ARCPATH", S::kFailedPrecondition, kUnsupported, false,
     "bare-metal recovery: a disk has no path for booting"},
    {Code::kAsrMissingDynamicDisk, "VSS_E_ASRERROR_MISSING_DYNDISK", S::kFailedPrecondition, kUnsupported, false,
     "bare-metal recovery: a dynamic disk is missing"},
    {Code::kAsrSharedCriticalDisk, "VSS_E_ASRERROR_SHARED_CRIDISK", S::kFailedPrecondition, kUnsupported, false,
     "bare-metal recovery: a shared disk is critical"},
    {Code::kAsrDataDiskFirst, "VSS_E_ASRERROR_DATADISK_RDISK0", S::kFailedPrecondition, kUnsupported, false,
     "bare-metal recovery: the first disk is a data disk"},
    {Code::kAsrFirstDiskTooSmall, "VSS_E_ASRERROR_RDISK0_TOOSMALL", S::kFailedPrecondition, kUnsupported, false,
     "bare-metal recovery: the first disk is too small"},
    {Code::kAsrCriticalDisksTooSmall, "VSS_E_ASRERROR_CRITICAL_DISKS_TOO_SMALL", S::kFailedPrecondition, kUnsupported,
     false, "bare-metal recovery: the disks are too few or too small"},
    {Code::kWriterStatusNotAvailable, "VSS_E_WRITER_STATUS_NOT_AVAILABLE", S::kUnavailable, kWriter, true,
     "too many sessions: try when less is going on"},
    {Code::kAsrDynamicVhdNotSupported, "VSS_E_ASRERROR_DYNAMIC_VHD_NOT_SUPPORTED", S::kFailedPrecondition, kUnsupported,
     false, "bare-metal recovery: a critical dynamic disk is a virtual one"},
    {Code::kCriticalVolumeOnInvalidDisk, "VSS_E_CRITICAL_VOLUME_ON_INVALID_DISK", S::kFailedPrecondition, kUnsupported,
     false, "a critical volume is on a disk that can't be used"},
    {Code::kAsrDiskForSystemNotFound, "VSS_E_ASRERROR_RDISK_FOR_SYSTEM_DISK_NOT_FOUND", S::kFailedPrecondition,
     kUnsupported, false, "bare-metal recovery: no disk for the system"},
    {Code::kAsrNoPhysicalDiskAvailable, "VSS_E_ASRERROR_NO_PHYSICAL_DISK_AVAILABLE", S::kFailedPrecondition,
     kUnsupported, false, "bare-metal recovery: no fixed disk"},
    {Code::kAsrFixedDiskAvailableAfterExclusion, "VSS_E_ASRERROR_FIXED_PHYSICAL_DISK_AVAILABLE_AFTER_DISK_EXCLUSION",
     S::kFailedPrecondition, kUnsupported, false, "bare-metal recovery: every fixed disk is excluded"},
    {Code::kAsrCriticalDiskCannotBeExcluded, "VSS_E_ASRERROR_CRITICAL_DISK_CANNOT_BE_EXCLUDED", S::kFailedPrecondition,
     kUnsupported, false, "bare-metal recovery: a critical disk is excluded"},
    {Code::kAsrSystemPartitionHidden, "VSS_E_ASRERROR_SYSTEM_PARTITION_HIDDEN", S::kFailedPrecondition, kUnsupported,
     false, "bare-metal recovery: the system partition is hidden"},
    {Code::kFssTimeout, "VSS_E_FSS_TIMEOUT", S::kUnavailable, kTimeout, true, "the file share agent was too slow"},
    {Code::kAccessDenied, "E_ACCESSDENIED", S::kPermissionDenied, kProvider, false, "the provider lacks a right"},
    {Code::kOutOfMemory, "E_OUTOFMEMORY", S::kResourceExhausted, kProvider, true, "try at a quieter time"},
    {Code::kInvalidArgument, "E_INVALIDARG", S::kInvalidArgument, kProvider, false, "look at the provider's log"},
};

// What a provider may return; everything else is an unexpected provider error.
constexpr Code kProviderCodes[] = {
    Code::kBadState,
    Code::kObjectNotFound,
    Code::kInsufficientStorage,
    Code::kVolumeNotSupported,
    Code::kVolumeNotSupportedByProvider,
    Code::kMaximumNumberOfSnapshotsReached,
    Code::kProviderVeto,
    Code::kCannotRevertDiskId,
    Code::kAccessDenied,
    Code::kOutOfMemory,
    Code::kInvalidArgument,
    Code::kHoldWritesTimeout,  // ours: the coordinator sets it when Commit takes too long
};

Code WriterCodeFor(absl::StatusCode code) {
  switch (code) {
    case S::kResourceExhausted:
      return Code::kWriterErrorOutOfResources;
    case S::kDeadlineExceeded:
      return Code::kWriterErrorTimeout;
    case S::kUnavailable:
    case S::kAborted:
      return Code::kWriterErrorRetryable;
    default:
      return Code::kWriterErrorNonRetryable;
  }
}

Code ProviderCodeFor(absl::StatusCode code) {
  switch (code) {
    case S::kResourceExhausted:
      return Code::kInsufficientStorage;
    case S::kInvalidArgument:
      return Code::kInvalidArgument;
    case S::kPermissionDenied:
      return Code::kAccessDenied;
    default:
      return Code::kUnexpectedProviderError;
  }
}

}  // namespace

std::span<const CodeInfo> AllCodes() {
  return kCodes;
}

const CodeInfo* FindCode(Code code) {
  const auto* found = std::find_if(std::begin(kCodes), std::end(kCodes), [&](const auto& c) { return c.code == code; });
  return found == std::end(kCodes) ? nullptr : found;
}

std::string Describe(Code code) {
  const CodeInfo* info = FindCode(code);
  return fmt::format("{} (0x{:08X})", info == nullptr ? "unknown code" : info->name, static_cast<uint32_t>(code));
}

absl::Status WithCode(const absl::Status& status, Code code) {
  if (status.ok()) return status;
  absl::Status result = status;
  result.SetPayload(kCodeUrl, absl::Cord(fmt::format("{:08X}", static_cast<uint32_t>(code))));
  return result;
}

absl::Status MakeError(Code code, std::string message) {
  const CodeInfo* info = FindCode(code);
  UMBRA_CHECK(info != nullptr);
  return WithCode(base::MakeError(info->status, info->reason, std::move(message)), code);
}

Code CodeOf(const absl::Status& status) {
  const auto payload = status.GetPayload(kCodeUrl);
  if (!payload.has_value()) return Code::kOk;
  const std::string text(*payload);
  uint32_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value, 16);
  return static_cast<Code>(value);
}

absl::Status AsWriterError(const absl::Status& status) {
  if (status.ok() || CodeOf(status) != Code::kOk) return status;
  return WithCode(status, WriterCodeFor(status.code()));
}

absl::Status AsProviderError(const absl::Status& status) {
  if (status.ok()) return status;
  const Code code = CodeOf(status);
  if (std::find(std::begin(kProviderCodes), std::end(kProviderCodes), code) != std::end(kProviderCodes)) return status;
  return WithCode(status, code == Code::kOk ? ProviderCodeFor(status.code()) : Code::kUnexpectedProviderError);
}

bool IsRetryable(const absl::Status& status) {
  if (const CodeInfo* info = FindCode(CodeOf(status)); info != nullptr) return info->retryable;
  return status.code() == S::kUnavailable || status.code() == S::kAborted || status.code() == S::kDeadlineExceeded;
}

}  // namespace umbra::vss
