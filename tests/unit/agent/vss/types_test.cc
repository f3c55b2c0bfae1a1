// Proves the numeric values that documents and Windows share, the GUID forms, and the mapping between VSS codes and
// Status.
#include "agent/vss/types.h"

#include <gtest/gtest.h>

#include "agent/vss/errors.h"
#include "storage/base/status.h"

namespace umbra::vss {
namespace {

using base::ReasonOf;

TEST(Guid, ReadsEveryFormAndPrintsOne) {
  const auto plain = Guid::Parse("66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  ASSERT_TRUE(plain.has_value());
  EXPECT_EQ(plain, Guid::Parse("{66841CD4-6DED-4F4B-8F17-FD23F8DDC3DE}"));
  EXPECT_EQ(plain->ToString(), "66841cd4-6ded-4f4b-8f17-fd23f8ddc3de");
  EXPECT_EQ(plain->ToUpperString(), "66841CD4-6DED-4F4B-8F17-FD23F8DDC3DE");
  EXPECT_FALSE(plain->is_null());
  EXPECT_TRUE(Guid().is_null());
}

TEST(Guid, RefusesWhatIsNone) {
  for (const char* text :
       {"", "66841cd4", "66841cd4-6ded-4f4b-8f17-fd23f8ddc3dg", "66841cd4+6ded-4f4b-8f17-fd23f8ddc3de",
        "{66841cd4-6ded-4f4b-8f17-fd23f8ddc3de", "66841cd4-6ded-4f4b-8f17-fd23f8ddc3de "}) {
    EXPECT_FALSE(Guid::Parse(text).has_value()) << text;
  }
}

TEST(Types, HaveMicrosoftsNumbers) {
  EXPECT_EQ(static_cast<int>(WriterState::kWaitingForBackupComplete), 5);
  EXPECT_EQ(static_cast<int>(WriterState::kFailedAtPostRestore), 14);
  EXPECT_EQ(static_cast<int>(WriterState::kFailedAtBackupShutdown), 15);
  EXPECT_EQ(static_cast<int>(SnapshotState::kCreated), 12);
  EXPECT_EQ(static_cast<int>(SnapshotState::kPostCommitted), 15);
  EXPECT_EQ(static_cast<int>(FileRestoreStatus::kAll), 2);
  EXPECT_EQ(static_cast<int>(RestoreMethod::kRestoreStopStart), 8);
  EXPECT_EQ(static_cast<int>(BackupType::kCopy), 5);
  EXPECT_EQ(kAttrNoAutoRecovery, 2u);
  EXPECT_EQ(kFileSpecDefault, 3855u);
  EXPECT_EQ(kContextClientAccessible, kAttrPersistent | kAttrClientAccessible | kAttrNoAutoRelease | kAttrNoWriters);
  EXPECT_EQ(NameOf(WriterState::kFailedAtFreeze), "FAILED_AT_FREEZE");
  EXPECT_EQ(NameOf(SnapshotState::kPostCommitted), "POSTCOMMITTED");
}

TEST(Errors, AreListedOnceInOrderWithAReason) {
  uint32_t before = 0;
  for (const CodeInfo& info : AllCodes()) {
    EXPECT_GT(static_cast<uint32_t>(info.code), before) << info.name;
    before = static_cast<uint32_t>(info.code);
    EXPECT_TRUE(info.name.starts_with("VSS_E_") || static_cast<uint32_t>(info.code) >= 0x80070000) << info.name;
    EXPECT_NE(info.status, absl::StatusCode::kOk);
    EXPECT_FALSE(info.reason.empty());
    EXPECT_FALSE(info.advice.empty());
    EXPECT_EQ(FindCode(info.code), &info);
  }
  EXPECT_EQ(FindCode(Code::kOk), nullptr);
}

// vsserror.h, one line each: number, name, what it becomes, whether the same may work later.
TEST(Errors, HaveMicrosoftsNumbersAndOneMeaning) {
  using S = absl::StatusCode;
  struct Line {
    uint32_t number;
    std::string_view name;
    S status;
    bool retryable;
  };
  const Line lines[] = {
      {0x80042301, "VSS_E_BAD_STATE", S::kFailedPrecondition, false},
      {0x80042302, "VSS_E_UNEXPECTED", S::kInternal, false},
      {0x80042303, "VSS_E_PROVIDER_ALREADY_REGISTERED", S::kAlreadyExists, false},
      {0x80042304, "VSS_E_PROVIDER_NOT_REGISTERED", S::kNotFound, false},
      {0x80042306, "VSS_E_PROVIDER_VETO", S::kUnavailable, true},
      {0x80042307, "VSS_E_PROVIDER_IN_USE", S::kUnavailable, true},
      {0x80042308, "VSS_E_OBJECT_NOT_FOUND", S::kNotFound, false},
      {0x8004230C, "VSS_E_VOLUME_NOT_SUPPORTED", S::kFailedPrecondition, false},
      {0x8004230D, "VSS_E_OBJECT_ALREADY_EXISTS", S::kAlreadyExists, false},
      {0x8004230E, "VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER", S::kFailedPrecondition, false},
      {0x8004230F, "VSS_E_UNEXPECTED_PROVIDER_ERROR", S::kUnavailable, true},
      {0x80042310, "VSS_E_CORRUPT_XML_DOCUMENT", S::kInvalidArgument, false},
      {0x80042311, "VSS_E_INVALID_XML_DOCUMENT", S::kInvalidArgument, false},
      {0x80042312, "VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED", S::kResourceExhausted, false},
      {0x80042313, "VSS_E_FLUSH_WRITES_TIMEOUT", S::kUnavailable, true},
      {0x80042314, "VSS_E_HOLD_WRITES_TIMEOUT", S::kUnavailable, true},
      {0x80042315, "VSS_E_UNEXPECTED_WRITER_ERROR", S::kInternal, false},
      {0x80042316, "VSS_E_SNAPSHOT_SET_IN_PROGRESS", S::kUnavailable, true},
      {0x80042317, "VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED", S::kResourceExhausted, false},
      {0x80042318, "VSS_E_WRITER_INFRASTRUCTURE", S::kInternal, false},
      {0x80042319, "VSS_E_WRITER_NOT_RESPONDING", S::kUnavailable, true},
      {0x8004231A, "VSS_E_WRITER_ALREADY_SUBSCRIBED", S::kAlreadyExists, false},
      {0x8004231B, "VSS_E_UNSUPPORTED_CONTEXT", S::kInvalidArgument, false},
      {0x8004231D, "VSS_E_VOLUME_IN_USE", S::kUnavailable, true},
      {0x8004231E, "VSS_E_MAXIMUM_DIFFAREA_ASSOCIATIONS_REACHED", S::kResourceExhausted, false},
      {0x8004231F, "VSS_E_INSUFFICIENT_STORAGE", S::kResourceExhausted, false},
      {0x80042320, "VSS_E_NO_SNAPSHOTS_IMPORTED", S::kNotFound, false},
      {0x80042321, "VSS_E_SOME_SNAPSHOTS_NOT_IMPORTED", S::kFailedPrecondition, false},
      {0x80042322, "VSS_E_MAXIMUM_NUMBER_OF_REMOTE_MACHINES_REACHED", S::kResourceExhausted, false},
      {0x80042323, "VSS_E_REMOTE_SERVER_UNAVAILABLE", S::kUnavailable, true},
      {0x80042324, "VSS_E_REMOTE_SERVER_UNSUPPORTED", S::kFailedPrecondition, false},
      {0x80042325, "VSS_E_REVERT_IN_PROGRESS", S::kUnavailable, true},
      {0x80042326, "VSS_E_REVERT_VOLUME_LOST", S::kDataLoss, false},
      {0x80042327, "VSS_E_REBOOT_REQUIRED", S::kFailedPrecondition, false},
      {0x80042328, "VSS_E_TRANSACTION_FREEZE_TIMEOUT", S::kUnavailable, true},
      {0x80042329, "VSS_E_TRANSACTION_THAW_TIMEOUT", S::kUnavailable, true},
      {0x8004232A, "VSS_E_UNSELECTED_VOLUME", S::kFailedPrecondition, false},
      {0x8004232B, "VSS_E_SNAPSHOT_NOT_IN_SET", S::kNotFound, false},
      {0x8004232C, "VSS_E_NESTED_VOLUME_LIMIT", S::kFailedPrecondition, false},
      {0x8004232D, "VSS_E_VOLUME_NOT_LOCAL", S::kFailedPrecondition, false},
      {0x8004232E, "VSS_E_CLUSTER_TIMEOUT", S::kUnavailable, true},
      {0x8004232F, "VSS_E_NOT_SUPPORTED", S::kUnimplemented, false},
      {0x80042336, "VSS_E_WRITERERROR_PARTIAL_FAILURE", S::kFailedPrecondition, false},
      {0x800423F0, "VSS_E_WRITERERROR_INCONSISTENTSNAPSHOT", S::kFailedPrecondition, false},
      {0x800423F1, "VSS_E_WRITERERROR_OUTOFRESOURCES", S::kResourceExhausted, true},
      {0x800423F2, "VSS_E_WRITERERROR_TIMEOUT", S::kDeadlineExceeded, true},
      {0x800423F3, "VSS_E_WRITERERROR_RETRYABLE", S::kUnavailable, true},
      {0x800423F4, "VSS_E_WRITERERROR_NONRETRYABLE", S::kFailedPrecondition, false},
      {0x800423F5, "VSS_E_WRITERERROR_RECOVERY_FAILED", S::kFailedPrecondition, false},
      {0x800423F6, "VSS_E_BREAK_REVERT_ID_FAILED", S::kInternal, false},
      {0x800423F7, "VSS_E_LEGACY_PROVIDER", S::kFailedPrecondition, false},
      {0x800423F8, "VSS_E_MISSING_DISK", S::kNotFound, false},
      {0x800423F9, "VSS_E_MISSING_HIDDEN_VOLUME", S::kNotFound, false},
      {0x800423FA, "VSS_E_MISSING_VOLUME", S::kNotFound, false},
      {0x800423FB, "VSS_E_AUTORECOVERY_FAILED", S::kFailedPrecondition, false},
      {0x800423FC, "VSS_E_DYNAMIC_DISK_ERROR", S::kFailedPrecondition, false},
      {0x800423FD, "VSS_E_NONTRANSPORTABLE_BCD", S::kInvalidArgument, false},
      {0x800423FE, "VSS_E_CANNOT_REVERT_DISKID", S::kFailedPrecondition, false},
      {0x800423FF, "VSS_E_RESYNC_IN_PROGRESS", S::kUnavailable, true},
      {0x80042400, "VSS_E_CLUSTER_ERROR", S::kFailedPrecondition, false},
      {0x80042401, "VSS_E_ASRERROR_DISK_ASSIGNMENT_FAILED", S::kFailedPrecondition, false},
      {0x80042402, "VSS_E_ASRERROR_DISK_RECREATION_FAILED", S::kFailedPrecondition, false},
      {0x80042403, "VSS_E_ASRERROR_NO_ARCPATH", S::kFailedPrecondition, false},
      {0x80042404, "VSS_E_ASRERROR_MISSING_DYNDISK", S::kFailedPrecondition, false},
      {0x80042405, "VSS_E_ASRERROR_SHARED_CRIDISK", S::kFailedPrecondition, false},
      {0x80042406, "VSS_E_ASRERROR_DATADISK_RDISK0", S::kFailedPrecondition, false},
      {0x80042407, "VSS_E_ASRERROR_RDISK0_TOOSMALL", S::kFailedPrecondition, false},
      {0x80042408, "VSS_E_ASRERROR_CRITICAL_DISKS_TOO_SMALL", S::kFailedPrecondition, false},
      {0x80042409, "VSS_E_WRITER_STATUS_NOT_AVAILABLE", S::kUnavailable, true},
      {0x8004240A, "VSS_E_ASRERROR_DYNAMIC_VHD_NOT_SUPPORTED", S::kFailedPrecondition, false},
      {0x80042411, "VSS_E_CRITICAL_VOLUME_ON_INVALID_DISK", S::kFailedPrecondition, false},
      {0x80042412, "VSS_E_ASRERROR_RDISK_FOR_SYSTEM_DISK_NOT_FOUND", S::kFailedPrecondition, false},
      {0x80042413, "VSS_E_ASRERROR_NO_PHYSICAL_DISK_AVAILABLE", S::kFailedPrecondition, false},
      {0x80042414, "VSS_E_ASRERROR_FIXED_PHYSICAL_DISK_AVAILABLE_AFTER_DISK_EXCLUSION", S::kFailedPrecondition, false},
      {0x80042415, "VSS_E_ASRERROR_CRITICAL_DISK_CANNOT_BE_EXCLUDED", S::kFailedPrecondition, false},
      {0x80042416, "VSS_E_ASRERROR_SYSTEM_PARTITION_HIDDEN", S::kFailedPrecondition, false},
      {0x80042417, "VSS_E_FSS_TIMEOUT", S::kUnavailable, true},
      {0x80070005, "E_ACCESSDENIED", S::kPermissionDenied, false},
      {0x8007000E, "E_OUTOFMEMORY", S::kResourceExhausted, true},
      {0x80070057, "E_INVALIDARG", S::kInvalidArgument, false},
  };
  ASSERT_EQ(AllCodes().size(), std::size(lines));
  for (size_t i = 0; i < std::size(lines); ++i) {
    const CodeInfo& info = AllCodes()[i];
    EXPECT_EQ(static_cast<uint32_t>(info.code), lines[i].number) << info.name;
    EXPECT_EQ(info.name, lines[i].name);
    EXPECT_EQ(info.status, lines[i].status) << info.name;
    EXPECT_EQ(info.retryable, lines[i].retryable) << info.name;
    const absl::Status error = Error(info.code, "x");
    EXPECT_EQ(error.code(), lines[i].status);
    EXPECT_EQ(IsRetryable(error), lines[i].retryable);
    EXPECT_EQ(CodeOf(error), info.code);
  }
}

TEST(Errors, KeepCodeAndReasonThroughAnnotate) {
  const absl::Status error = base::Annotate(Error(Code::kSnapshotSetInProgress, "busy"), "backup");
  EXPECT_EQ(CodeOf(error), Code::kSnapshotSetInProgress);
  EXPECT_EQ(ReasonOf(error), "VSS_SNAPSHOT_SET_IN_PROGRESS");
  EXPECT_EQ(error.code(), absl::StatusCode::kUnavailable);
  EXPECT_EQ(base::MessageOf(error), "backup: busy");
  EXPECT_TRUE(IsRetryable(error));
  EXPECT_EQ(Describe(Code::kHoldWritesTimeout), "VSS_E_HOLD_WRITES_TIMEOUT (0x80042314)");
}

TEST(Errors, OfAWriterKeepTheCauseAndGetTheCodeThatFitsIt) {
  const auto code = [](absl::StatusCode status) {
    return CodeOf(AsWriterError(base::MakeError(status, "CAUSE", "x")));
  };
  EXPECT_EQ(code(absl::StatusCode::kResourceExhausted), Code::kWriterErrorOutOfResources);
  EXPECT_EQ(code(absl::StatusCode::kDeadlineExceeded), Code::kWriterErrorTimeout);
  EXPECT_EQ(code(absl::StatusCode::kUnavailable), Code::kWriterErrorRetryable);
  EXPECT_EQ(code(absl::StatusCode::kAborted), Code::kWriterErrorRetryable);
  EXPECT_EQ(code(absl::StatusCode::kFailedPrecondition), Code::kWriterErrorNonRetryable);
  const absl::Status error = AsWriterError(base::MakeError(absl::StatusCode::kAborted, "GUEST_FREEZE_FAILED", "no"));
  EXPECT_EQ(ReasonOf(error), "GUEST_FREEZE_FAILED");
  EXPECT_EQ(AsWriterError(Error(Code::kWriterErrorRecoveryFailed, "x")), Error(Code::kWriterErrorRecoveryFailed, "x"));
  EXPECT_TRUE(AsWriterError(absl::OkStatus()).ok());
}

TEST(Errors, OfAProviderAreLegalOnesOrUnexpected) {
  EXPECT_EQ(CodeOf(AsProviderError(Error(Code::kProviderVeto, "x"))), Code::kProviderVeto);
  EXPECT_EQ(CodeOf(AsProviderError(Error(Code::kWriterErrorTimeout, "x"))), Code::kUnexpectedProviderError);
  const absl::Status full = base::MakeError(absl::StatusCode::kResourceExhausted, "SCRATCH_FULL", "x");
  EXPECT_EQ(CodeOf(AsProviderError(full)), Code::kInsufficientStorage);
  EXPECT_EQ(ReasonOf(AsProviderError(full)), "SCRATCH_FULL");
  EXPECT_EQ(CodeOf(AsProviderError(absl::InternalError("x"))), Code::kUnexpectedProviderError);
  EXPECT_EQ(CodeOf(AsProviderError(absl::InvalidArgumentError("x"))), Code::kInvalidArgument);
  EXPECT_EQ(CodeOf(AsProviderError(absl::PermissionDeniedError("x"))), Code::kAccessDenied);
  EXPECT_EQ(CodeOf(AsProviderError(Error(Code::kOutOfMemory, "x"))), Code::kOutOfMemory);
}

TEST(Errors, RetryAdviceIsMicrosofts) {
  EXPECT_EQ(RetryAdvice().wait, absl::Minutes(10));
  EXPECT_EQ(RetryAdvice().retry_count_max, 3);
  EXPECT_FALSE(IsRetryable(Error(Code::kWriterErrorNonRetryable, "x")));
  EXPECT_TRUE(IsRetryable(Error(Code::kWriterErrorTimeout, "x")));
  EXPECT_TRUE(IsRetryable(absl::UnavailableError("x")));
  EXPECT_FALSE(IsRetryable(absl::NotFoundError("x")));
}

}  // namespace
}  // namespace umbra::vss
