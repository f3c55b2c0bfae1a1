// VSS result codes and absl::Status, both ways.
//
// A Status made here carries the code (CodeOf), a stable reason (base::ReasonOf) and keeps both through base::Annotate.
// Source: vsserror.h (mingw-w64 10.0) and the error pages of Microsoft's VSS reference.
#ifndef UMBRA_AGENT_VSS_ERRORS_H_
#define UMBRA_AGENT_VSS_ERRORS_H_

#include <fmt/format.h>

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace umbra::vss {

// VSS_E_* as HRESULT, and the three of COM that providers may return.
enum class Code : uint32_t {
  kOk = 0,
  kBadState = 0x80042301,
  kUnexpected = 0x80042302,
  kProviderAlreadyRegistered = 0x80042303,
  kProviderNotRegistered = 0x80042304,
  kProviderVeto = 0x80042306,
  kProviderInUse = 0x80042307,
  kObjectNotFound = 0x80042308,
  kVolumeNotSupported = 0x8004230C,
  kObjectAlreadyExists = 0x8004230D,
  kVolumeNotSupportedByProvider = 0x8004230E,
  kUnexpectedProviderError = 0x8004230F,
  kCorruptXmlDocument = 0x80042310,
  kInvalidXmlDocument = 0x80042311,
  kMaximumNumberOfVolumesReached = 0x80042312,
  kFlushWritesTimeout = 0x80042313,
  kHoldWritesTimeout = 0x80042314,
  kUnexpectedWriterError = 0x80042315,
  kSnapshotSetInProgress = 0x80042316,
  kMaximumNumberOfSnapshotsReached = 0x80042317,
  kWriterInfrastructure = 0x80042318,
  kWriterNotResponding = 0x80042319,
  kWriterAlreadySubscribed = 0x8004231A,
  kUnsupportedContext = 0x8004231B,
  kVolumeInUse = 0x8004231D,
  kMaximumDiffAreaAssociationsReached = 0x8004231E,
  kInsufficientStorage = 0x8004231F,
  kNoSnapshotsImported = 0x80042320,
  kSomeSnapshotsNotImported = 0x80042321,
  kMaximumNumberOfRemoteMachinesReached = 0x80042322,
  kRemoteServerUnavailable = 0x80042323,
  kRemoteServerUnsupported = 0x80042324,
  kRevertInProgress = 0x80042325,
  kRevertVolumeLost = 0x80042326,
  kRebootRequired = 0x80042327,
  kTransactionFreezeTimeout = 0x80042328,
  kTransactionThawTimeout = 0x80042329,
  kUnselectedVolume = 0x8004232A,
  kSnapshotNotInSet = 0x8004232B,
  kNestedVolumeLimit = 0x8004232C,
  kVolumeNotLocal = 0x8004232D,
  kClusterTimeout = 0x8004232E,
  kNotSupported = 0x8004232F,
  kWriterErrorPartialFailure = 0x80042336,
  kWriterErrorInconsistentSnapshot = 0x800423F0,
  kWriterErrorOutOfResources = 0x800423F1,
  kWriterErrorTimeout = 0x800423F2,
  kWriterErrorRetryable = 0x800423F3,
  kWriterErrorNonRetryable = 0x800423F4,
  kWriterErrorRecoveryFailed = 0x800423F5,
  kBreakRevertIdFailed = 0x800423F6,
  kLegacyProvider = 0x800423F7,
  kMissingDisk = 0x800423F8,
  kMissingHiddenVolume = 0x800423F9,
  kMissingVolume = 0x800423FA,
  kAutoRecoveryFailed = 0x800423FB,
  kDynamicDiskError = 0x800423FC,
  kNonTransportableBcd = 0x800423FD,
  kCannotRevertDiskId = 0x800423FE,
  kResyncInProgress = 0x800423FF,
  kClusterError = 0x80042400,
  // Bare-metal recovery only (ASR).
  kAsrDiskAssignmentFailed = 0x80042401,
  kAsrDiskRecreationFailed = 0x80042402,
  kAsrNoArcPath = 0x80042403,
  kAsrMissingDynamicDisk = 0x80042404,
  kAsrSharedCriticalDisk = 0x80042405,
  kAsrDataDiskFirst = 0x80042406,
  kAsrFirstDiskTooSmall = 0x80042407,
  kAsrCriticalDisksTooSmall = 0x80042408,
  kWriterStatusNotAvailable = 0x80042409,
  kAsrDynamicVhdNotSupported = 0x8004240A,
  kCriticalVolumeOnInvalidDisk = 0x80042411,
  kAsrDiskForSystemNotFound = 0x80042412,
  kAsrNoPhysicalDiskAvailable = 0x80042413,
  kAsrFixedDiskAvailableAfterExclusion = 0x80042414,
  kAsrCriticalDiskCannotBeExcluded = 0x80042415,
  kAsrSystemPartitionHidden = 0x80042416,
  kFssTimeout = 0x80042417,
  // Not of VSS, but what a provider may return.
  kAccessDenied = 0x80070005,
  kOutOfMemory = 0x8007000E,
  kInvalidArgument = 0x80070057,
};

struct CodeInfo {
  Code code;
  std::string_view name;    // "VSS_E_BAD_STATE"
  absl::StatusCode status;  // what it becomes
  std::string_view reason;  // stable reason, proto/umbra/v1/error_reasons.proto
  bool retryable;           // the same request may work later (RetryAdvice)
  std::string_view advice;  // for people
};

// Every code above but kOk, by number.
std::span<const CodeInfo> AllCodes();
// nullptr when the code is none of ours.
const CodeInfo* FindCode(Code code);

// Microsoft's advice for transient codes.
struct RetryAdvice {
  absl::Duration wait = absl::Minutes(10);
  int retry_count_max = 3;
};

// An error with this code, its Status code and reason.
absl::Status MakeError(Code code, std::string message);

template <typename... Args>
absl::Status Error(Code code, fmt::format_string<Args...> format, Args&&... args) {
  return MakeError(code, fmt::format(format, std::forward<Args>(args)...));
}

// `status` with `code` attached: Status code, reason and text stay those of the cause. OK stays OK.
absl::Status WithCode(const absl::Status& status, Code code);

// The code that `status` carries; kOk when it is OK or carries none.
Code CodeOf(const absl::Status& status);

// `status`, as a writer's handler returned it, with the code that a writer would give SetWriterFailure: its own when it
// carries one, otherwise by Status code (RESOURCE_EXHAUSTED kWriterErrorOutOfResources, DEADLINE_EXCEEDED
// kWriterErrorTimeout, UNAVAILABLE and ABORTED kWriterErrorRetryable, anything else kWriterErrorNonRetryable).
absl::Status AsWriterError(const absl::Status& status);

// The same for a provider: its own code when it is one that providers may return; without one RESOURCE_EXHAUSTED
// becomes kInsufficientStorage, INVALID_ARGUMENT kInvalidArgument, PERMISSION_DENIED kAccessDenied; anything else
// kUnexpectedProviderError.
absl::Status AsProviderError(const absl::Status& status);

// Whether trying the same again later may work: by the code, or by the Status code when it carries none.
bool IsRetryable(const absl::Status& status);

// "VSS_E_BAD_STATE (0x80042301)".
std::string Describe(Code code);

}  // namespace umbra::vss

#endif  // UMBRA_AGENT_VSS_ERRORS_H_
